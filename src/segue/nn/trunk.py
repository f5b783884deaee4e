"""The trunk: backbone and pyramid, run once per picture."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.conventions import Conventions
from segue.nn.fpn import FPN, PyramidSettings
from segue.nn.resnet import BackboneSettings, ResNet


class Trunk(nn.Module):
    """ResNet and FPN.

    Attributes:
        channels: of every level.
        strides: pixels of the image per cell, finest level first; the last level is for proposals only.
    """

    def __init__(self, backbone: BackboneSettings, pyramid: PyramidSettings, conventions: Conventions) -> None:
        super().__init__()
        self.backbone = ResNet(backbone, conventions.stride_in_1x1, conventions.frozen_norm_eps)
        self.pyramid = FPN(self.backbone.channels, pyramid)
        self.colours = pyramid.colours
        self.channels = pyramid.channels + 3 * pyramid.colours
        self.strides = [*self.backbone.strides, 2 * self.backbone.strides[-1]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised -> five maps (B, channels, H / strides[i], W / strides[i])."""
        levels: list[Tensor] = self.pyramid(self.backbone(images))
        if not self.colours:
            return levels
        return [torch.cat(both, 1) for both in zip(levels, self._colours(images, levels[0].dtype), strict=True)]

    def _colours(self, images: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
        """The mean of the pixels of each level's cells, (B, 3, H / strides[i], W / strides[i])."""
        before, mean = 1, images.to(dtype)
        for stride in self.strides:
            mean, before = F.avg_pool2d(mean, stride // before, ceil_mode=True), stride
            yield mean
