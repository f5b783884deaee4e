"""The trunk: backbone and pyramid, run once per picture."""

from __future__ import annotations

from torch import Tensor, nn

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
        self.channels = pyramid.channels
        self.strides = [*self.backbone.strides, 2 * self.backbone.strides[-1]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised -> five maps (B, channels, H / strides[i], W / strides[i])."""
        levels: list[Tensor] = self.pyramid(self.backbone(images))
        return levels
