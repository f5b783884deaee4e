"""FC-DenseNet, "the one hundred layers tiramisu" (Jegou et al. 2017): a U of densely connected blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.network import DenseNetwork

GROWTH = {56: 12, 67: 16, 103: 16}  # section 4.1 and table 2
LAYERS = {56: (4,) * 11, 67: (5,) * 11, 103: (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)}


@dataclass(frozen=True)
class FCDenseNetSettings:
    """Recipe values of FC-DenseNet.

    Attributes:
        depth: the published network whose layers and growth are meant: 56, 67 or 103 convolutions.
        layers: of each block, from the first going down through the bottom to the last going up, an odd number of
            blocks; empty means those of ``depth``.
        growth: new maps per layer; 0 means that of ``depth``.
        first: maps of the first convolution.
        dropout: share of values dropped after each convolution inside, in training.
    """

    depth: Literal[56, 67, 103] = 103
    layers: tuple[int, ...] = ()
    growth: int = 0
    first: int = 48
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.layers and len(self.layers) % 2 == 0:
            raise ValueError("layers must be an odd number: blocks going down, one at the bottom, as many going up")


class DenseBlock(nn.Module):
    """Layers that each see the block's input and all maps made before them.

    Attributes:
        new: channels that its layers make together.
        width: channels of the input and these together.
    """

    def __init__(self, channels: int, layers: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.new, self.width = layers * growth, channels + layers * growth
        self.layers = nn.ModuleList(layer(channels + i * growth, growth, 3, dropout) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the new maps (B, new, H, W)."""
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps[1:], 1)


class FCDenseNet(DenseNetwork):
    """A 3x3 convolution, dense blocks with pooling between them, and dense blocks with transposed convolutions between
    them on the way up, each with the maps of its level from the way down beside (figure 1, tables 1 and 2).

    On the way up only the new maps of a block go on to the next level: with the block's input among them the maps would
    grow beyond measure (section 3.2).

    In evaluation batch norm uses its running averages. The released code used the statistics of the test batch, ten
    pictures, instead; its published scores include that. Pooling rounds odd sides up, where the released code rounds
    them down, so that a picture of any size will do.
    """

    def __init__(self, classes: int, settings: FCDenseNetSettings) -> None:
        super().__init__()
        s = settings
        counts, growth = s.layers or LAYERS[s.depth], s.growth or GROWTH[s.depth]
        levels = len(counts) // 2
        self.first = nn.Conv2d(3, s.first, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        channels, skips = s.first, []
        for count in counts[:levels]:
            block = DenseBlock(channels, count, growth, s.dropout)
            channels = block.width
            skips.append(channels)
            self.down.append(block)
            self.shrink.append(layer(channels, channels, 1, s.dropout))
        self.bottom = block = DenseBlock(channels, counts[levels], growth, s.dropout)
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for count, skip in zip(counts[levels + 1 :], reversed(skips), strict=True):
            self.grow.append(nn.ConvTranspose2d(block.new, block.new, 3, stride=2))
            block = DenseBlock(block.new + skip, count, growth, s.dropout)
            self.up.append(block)
        self.score = nn.Conv2d(block.width, classes, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")  # section 4.1: HeUniform
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def period(self) -> int:
        """As of `DenseNetwork`."""
        return 1 << len(self.shrink)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W)."""
        x, skips = self.first(images), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = torch.cat([x, block(x)], 1)
            skips.append(x)
            x = F.max_pool2d(shrink(x), 2, ceil_mode=True)
        new = self.bottom(x)
        for grow, block, skip in zip(self.grow, self.up, reversed(skips), strict=True):
            x = torch.cat([centre_crop(grow(new), skip.shape[-2:]), skip], 1)
            new = block(x)
        scores: Tensor = self.score(torch.cat([x, new], 1))
        return scores


def layer(channels: int, out: int, size: int, dropout: float) -> nn.Sequential:
    """Norm, ReLU, convolution that keeps the resolution, dropout."""
    conv = nn.Conv2d(channels, out, size, padding=size // 2)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv, nn.Dropout(dropout))


def centre_crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """(..., H, W) -> the middle (..., h, w); of an odd rest the larger part goes at the bottom and right."""
    h, w = size
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]
