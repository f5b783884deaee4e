"""The ways to double a map's resolution inside a network, by name and with one signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from segue.ops.upsample import Interpolation, bed_of_nails, bilinear_kernel, max_unpool, resize

UpsamplerKind = Literal["bed_of_nails", "nearest", "bilinear", "bicubic", "max_unpool", "transposed"]


class Upsampler(nn.Module, ABC):
    """Undoes the halving of the 2x2 max pooling that it is paired with, in resolution. Subclasses write ``forward``."""

    @abstractmethod
    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """A map twice as fine.

        Args:
            x: (B, C, h, w).
            indices: (B, C, h, w) int64, where the paired pooling found its values; only "max_unpool" looks at them.
            size: (H, W) of what was pooled: 2h or 2h - 1, and 2w or 2w - 1.

        Returns:
            (B, C, H, W).
        """


class BedOfNails(Upsampler):
    """Each value and three zeros, which the next convolution fills."""

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """As `Upsampler.forward`."""
        return bed_of_nails(x, 2)[..., : size[0], : size[1]]


class Interpolate(Upsampler):
    """Nearest neighbour, bilinear or bicubic."""

    def __init__(self, kind: Interpolation) -> None:
        super().__init__()
        self.kind: Interpolation = kind

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """As `Upsampler.forward`."""
        return resize(x, size, self.kind)


class MaxUnpool(Upsampler):
    """Each value where the paired pooling found its maximum, and zeros, which the next convolution fills."""

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """As `Upsampler.forward`."""
        return max_unpool(x, indices, size)


class TransposedConvolution(Upsampler):
    """A learned 4x4 filter between every two channels, stride 2; at first bilinear, each channel from itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 4, 2, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.conv.weight[range(channels), range(channels)] = bilinear_kernel(4)

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """As `Upsampler.forward`."""
        up: Tensor = self.conv(x)
        return up[..., : size[0], : size[1]]


def make_upsampler(kind: UpsamplerKind, channels: int) -> Upsampler:
    """The upsampler of this name for maps of ``channels``."""
    if kind == "bed_of_nails":
        return BedOfNails()
    if kind == "max_unpool":
        return MaxUnpool()
    if kind == "transposed":
        return TransposedConvolution(channels)
    return Interpolate(kind)
