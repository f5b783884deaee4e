"""Fused layers against the layers that they stand for."""

import pytest
import torch
from torch import Tensor, nn

from segue.nn import fused
from segue.nn.fused import FusedBlock, FusedConv
from segue.nn.norm import FrozenBatchNorm

LAYERS = [
    (4, 8, 1, 1, 1, 1),
    (4, 8, 3, 1, 1, 1),
    (4, 8, 3, 2, 1, 1),
    (4, 8, 3, 1, 2, 2),
    (100, 96, 3, 1, 1, 1),
    (8, 8, 7, 2, 1, 4),
]


def a_norm(kind: str, channels: int) -> nn.Module | None:
    """A norm in use, whose numbers differ from one and zero."""
    if kind == "none":
        return None
    norm = nn.BatchNorm2d(channels).eval() if kind == "batch" else FrozenBatchNorm(channels, 1e-3)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(channels) + 0.5)
    return norm


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("norm", ["none", "batch", "frozen"])
@pytest.mark.parametrize("onednn", [False, True])
@torch.no_grad()
def test_a_fused_convolution_is_its_parts(
    layer: tuple[int, ...], norm: str, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not fused.ONEDNN:
        pytest.skip("this torch has no fused oneDNN convolution")
    monkeypatch.setattr(fused, "ONEDNN", onednn)
    torch.manual_seed(0)
    inputs, outputs, kernel, stride, dilation, groups = layer
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, groups, norm == "none")
    after = a_norm(norm, outputs)
    x = torch.randn(3, inputs, 21, 18)
    plain: Tensor = convolution(x) if after is None else after(convolution(x))
    other = torch.randn_like(plain)
    for relu in (False, True):
        layer_of_both = FusedConv(convolution, after, relu, torch.float32)
        last = torch.relu if relu else torch.clone
        torch.testing.assert_close(layer_of_both(x), last(plain), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(layer_of_both(x, other), last(plain + other), atol=1e-4, rtol=1e-4)
    for dtype in (torch.float32, torch.bfloat16):
        assert FusedConv(convolution, after, True, dtype)(x[:0]).shape == (0, *plain.shape[1:])


@torch.no_grad()
def test_a_wide_layer_goes_winograds_way_where_the_map_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    way = fused.winograd_conv
    monkeypatch.setattr(fused, "winograd_conv", lambda *given: called.append(given[0].shape) or way(*given))
    wide = FusedConv(nn.Conv2d(96, 96, 3, padding=1), None, False, torch.float32)
    wide(torch.zeros(1, 96, 8, 8))
    wide(torch.zeros(1, 96, 32, 32))
    FusedConv(nn.Conv2d(95, 96, 3, padding=1), None, False, torch.float32)(torch.zeros(1, 95, 32, 32))
    FusedConv(nn.Conv2d(96, 96, 3, padding=1), None, False, torch.bfloat16)(torch.zeros(1, 96, 32, 32))
    assert called == [(1, 96, 32, 32)]


@torch.no_grad()
def test_in_16_bits_it_takes_what_comes_and_gives_16_bits() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, 3, padding=1)
    x, other = torch.rand(1, 8, 9, 9), torch.ones(1, 8, 9, 9)
    found = FusedConv(convolution, None, True, torch.bfloat16)(x, other)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), (convolution(x) + other).relu(), atol=0.03, rtol=0.03)


@torch.no_grad()
def test_a_block_adds_its_shortcut_before_the_last_relu() -> None:
    torch.manual_seed(0)
    first, second, short = nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(4, 6, 1, 2)
    layers = [FusedConv(layer, None, True, torch.float32) for layer in (first, second)]
    x = torch.randn(2, 4, 11, 8)
    expected = (second(first(x).relu()) + short(x)).relu()
    torch.testing.assert_close(FusedBlock(layers, short)(x), expected, atol=1e-5, rtol=1e-5)
