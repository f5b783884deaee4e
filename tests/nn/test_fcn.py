"""FCN: does a pixel's score stand where the pixel is, and does the network start as the paper says?"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.fcn import FCN, FCNSettings


def mean_pool(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """In place of max pooling: keeps a ramp a ramp, and its centres."""
    return F.avg_pool2d(x, size, ceil_mode=True), x


def make_linear(network: FCN, scored: int) -> None:
    """Every convolution copies its middle pixel, channel 0 to all; of the scores only those of one map count."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            middle = module.kernel_size[0] // 2
            module.weight.data[:, 0, middle, middle] = 1
    for i, score in enumerate([network.head[-1], *network.skips]):  # type: ignore[index,misc]
        score.weight.data *= i == scored


@pytest.mark.parametrize("padding", ["paper", "same"])
@pytest.mark.parametrize(("stride", "scored"), [(32, 0), (16, 0), (16, 1), (8, 0), (8, 1), (8, 2)])
def test_scores_of_every_map_lie_on_the_pixels_they_come_from(
    padding: Any, stride: Any, scored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture whose pixels are their own coordinates must come back as it is, away from the border."""
    monkeypatch.setattr("segue.nn.vgg.max_pool", mean_pool)
    network = FCN(1, FCNSettings(stride=stride, width=1, padding=padding)).eval()
    make_linear(network, scored)
    rows, columns = torch.arange(224.0)[:, None], torch.arange(250.0)[None]
    picture = 1 + rows + 3 * columns  # positive, so that ReLU lets it pass
    with torch.no_grad():
        scores = network(picture.expand(1, 3, -1, -1))[0, 0]
    inside = slice(64, -64)
    torch.testing.assert_close(scores[inside, inside], picture[inside, inside], rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(("stride", "crop", "skips"), [(32, 19, []), (16, 27, [5]), (8, 31, [5, 9])])
def test_crops_are_those_of_the_released_networks(stride: Any, crop: int, skips: list[int]) -> None:
    network = FCN(2, FCNSettings(stride=stride, width=1))
    assert (network.crop, network.skip_crops) == (crop, skips)


@pytest.mark.parametrize("trunk", ["vgg16", "resnet18"])
def test_the_scores_start_at_zero(trunk: Any) -> None:
    network = FCN(2, FCNSettings(trunk=trunk, width=2, padding="same")).eval()
    assert not network(torch.randn(1, 3, 40, 40)).any()


def test_classes_are_upsampled_alike_and_apart() -> None:
    up = FCN(3, FCNSettings(width=1, stride=16, padding="same")).upsample[0]
    x = torch.zeros(1, 3, 6, 6)
    x[0, 1] = torch.rand(6, 6)
    y = up(x)
    assert not y[0, [0, 2]].any()
    twice = F.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(y[..., 1:-1, 1:-1], twice[..., 1:-1, 1:-1])


@pytest.mark.parametrize(("upsampling", "trained"), [("frozen", False), ("learned", True)])
def test_upsampling_is_trained_only_where_asked(upsampling: Any, trained: bool) -> None:
    network = FCN(2, FCNSettings(width=1, upsampling=upsampling))
    assert all(p.requires_grad == trained for p in network.upsample.parameters())
