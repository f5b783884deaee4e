"""U-Net (Ronneberger et al. 2015): an encoder-decoder whose every level hands its features across."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.network import DenseNetwork
from segue.nn.norm import NormKind, make_norm


@dataclass(frozen=True)
class UNetSettings:
    """Recipe values of the U-Net.

    Attributes:
        width: channels of the finest level; each coarser one has twice as many. 64 is the published network.
        depth: times that the resolution is halved.
        norm: ``batch`` (trained), ``frozen`` or ``group``.
    """

    width: int = 64
    depth: int = 4
    norm: NormKind = "batch"

    def __post_init__(self) -> None:
        if self.width < 1 or not 1 <= self.depth <= 8:
            raise ValueError("width must be at least 1, and depth from 1 to 8")


class UNet(DenseNetwork):
    """Two 3x3 convolutions per level; 2x2 max pooling down, 2x2 transposed convolution up, then the level's own
    features from the way down beside those from below (section 2 of the paper).

    The paper convolves without padding, so its 572 pixels give 388 scores; here every convolution pads by one pixel and
    is normalised, so that every pixel of a picture gets a score.
    """

    def __init__(self, classes: int, settings: UNetSettings) -> None:
        super().__init__()
        s = settings
        widths = [s.width * 2**i for i in range(s.depth + 1)]
        self.stride = 2**s.depth
        self.down = nn.ModuleList(double_convolution(a, b, s.norm) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(double_convolution(2 * w, w, s.norm) for w in reversed(widths[:-1]))
        self.score = nn.Conv2d(s.width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of ``stride`` -> logits (B, K, H, W)."""
        x, skips = images, []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)  # (B, width * 2^i, H / 2^i, W / 2^i)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        scores: Tensor = self.score(x)
        return scores


def double_convolution(channels: int, out: int, norm: NormKind) -> nn.Sequential:
    """Two 3x3 convolutions, each with norm and ReLU."""
    return nn.Sequential(*convolution(channels, out, norm), *convolution(out, out, norm))


def convolution(channels: int, out: int, norm: NormKind, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the resolution, with norm and ReLU, and He's initial weights."""
    conv = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, make_norm(norm, out), nn.ReLU(inplace=True))
