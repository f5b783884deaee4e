"""A residual U-Net: the ResNet of the region network as encoder, a light decoder across all its stages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.unet import convolution, double_convolution
from segue.nn.norm import NormKind
from segue.nn.resnet import BackboneSettings, ResNet


@dataclass(frozen=True)
class ResUNetSettings:
    """Recipe values of the residual U-Net.

    Attributes:
        depth: of the ResNet, 18 to 101.
        width: channels of its first stage; 64 is the published ResNet.
        norm: ``batch`` (trained), ``frozen`` or ``group``.
        stem_pool: the max pooling after the first convolution. Without it every map is twice as fine.
        decoder: channels of the decoder's finest level; a level of stride s has twice as many as one of stride s / 2,
            up to ``widest``.
        widest: most channels of a decoder level.
        dropout: share of channels dropped before the scores, in training.
    """

    depth: Literal[18, 34, 50, 101] = 18
    width: int = 64
    norm: NormKind = "batch"
    stem_pool: bool = False
    decoder: int = 32
    widest: int = 128
    dropout: float = 0.1


class ResUNet(DenseNetwork):
    """Encoder, a summary of the whole picture added to its coarsest map (ParseNet, Liu et al. 2015), and a decoder that
    upsamples bilinearly, takes in the encoder's stage of the same stride, and convolves. The scores are made on the
    finest stage and brought to the picture's size bilinearly.
    """

    def __init__(self, classes: int, settings: ResUNetSettings) -> None:
        super().__init__()
        s = settings
        backbone = BackboneSettings(depth=s.depth, width=s.width, norm=s.norm, stem_pool=s.stem_pool)
        self.encoder = ResNet(backbone)
        self.stride = self.encoder.strides[-1]
        widths = [min(s.decoder * 2**i, s.widest) for i in range(4)]
        stages = zip(self.encoder.channels, widths, strict=True)
        self.across = nn.ModuleList(convolution(a, b, s.norm, 1) for a, b in stages)
        self.summary = nn.Conv2d(widths[-1], widths[-1], 1)
        self.merge = nn.ModuleList(double_convolution(coarse + fine, fine, s.norm) for fine, coarse in pairwise(widths))
        self.score = nn.Sequential(nn.Dropout2d(s.dropout), nn.Conv2d(widths[0], classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of ``stride`` -> logits (B, K, H, W)."""
        maps = [across(x) for across, x in zip(self.across, self.encoder(images), strict=True)]
        x = maps[-1]
        x = x + self.summary(x.mean((2, 3), keepdim=True))
        for merge, skip in zip(reversed(self.merge), reversed(maps[:-1]), strict=True):
            up = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = merge(torch.cat([skip, up], 1))  # (B, decoder * 2^i, ...) at the stride of the skip
        scores: Tensor = self.score(x)
        return F.interpolate(scores.float(), images.shape[-2:], mode="bilinear", align_corners=False)
