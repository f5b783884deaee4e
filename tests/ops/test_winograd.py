"""Winograd's convolution against the direct one in double precision."""

import pytest
import torch
from torch.nn import functional as F

from segue.ops.winograd import BLOCK, winograd_conv, winograd_weight

SIZES = [(1, 1, 1), (2, 3, 5), (1, 4, 4), (3, 7, 9), (1, 9, 4 * BLOCK + 3), (40, 5, 6), (1, 70, 50)]


@pytest.mark.parametrize(("images", "height", "width"), SIZES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_is_the_convolution_at_every_size(images: int, height: int, width: int, channels_last: bool) -> None:
    chance = torch.Generator().manual_seed(height)
    x = torch.randn(images, 5, height, width, generator=chance, dtype=torch.float64)
    weight, bias = torch.randn(7, 5, 3, 3, generator=chance).double(), torch.randn(7, generator=chance).double()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    found = winograd_conv(x, winograd_weight(weight), bias)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-11)


def test_residual_and_relu_come_in_this_order() -> None:
    chance = torch.Generator().manual_seed(0)
    x, residual = torch.randn(2, 2, 4, 9, 10, generator=chance, dtype=torch.float64)
    weight = torch.randn(4, 4, 3, 3, generator=chance).double()
    expected = F.conv2d(x, weight, padding=1)
    moved = winograd_weight(weight)
    torch.testing.assert_close(winograd_conv(x, moved, relu=True), expected.relu())
    torch.testing.assert_close(winograd_conv(x, moved, relu=True, residual=residual), (expected + residual).relu())
    torch.testing.assert_close(winograd_conv(x, moved, residual=residual), expected + residual)


def test_in_32_bits_the_error_is_a_hundred_thousandth_of_the_largest_value() -> None:
    chance = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 128, 30, 30, generator=chance), torch.randn(128, 128, 3, 3, generator=chance)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    apart = (winograd_conv(x, winograd_weight(weight)) - expected).abs().max() / expected.abs().max()
    assert 0 < apart < 2e-5


def test_no_pictures() -> None:
    assert winograd_conv(torch.zeros(0, 3, 8, 8), winograd_weight(torch.zeros(2, 3, 3, 3))).shape == (0, 2, 8, 8)
