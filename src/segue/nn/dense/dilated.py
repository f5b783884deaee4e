"""FCN and DeepLabv3 heads on a dilated ResNet, as torchvision builds and publishes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.layers import PointBatchNorm, initialise
from segue.nn.dense.network import DenseNetwork
from segue.nn.norm import NormKind
from segue.nn.resnet import BackboneSettings, ResNet


@dataclass(frozen=True)
class DilatedSettings:
    """Recipe values of a dilated network.

    Attributes:
        depth: of the ResNet; torchvision has 50 and 101.
        width: channels of its first stage; 64 is the published network. The heads scale along.
        norm: of the ResNet; the heads always have batch norm.
        auxiliary: weight of the loss of a second head on the last but one stage, which only training uses. 0 leaves
            this head out.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: int = 64
    norm: NormKind = "batch"
    auxiliary: float = 0.5


@dataclass(frozen=True)
class DeepLabV3Settings(DilatedSettings):
    """Recipe values of DeepLabv3: those of every dilated network, and the rates.

    Attributes:
        depth: of the ResNet; torchvision has 50 and 101.
        width: channels of its first stage; 64 is the published network. The heads scale along.
        norm: of the ResNet; the heads always have batch norm.
        auxiliary: weight of the loss of a second head on the last but one stage, which only training uses. 0 leaves
            this head out.
        rates: dilations of the 3x3 convolutions side by side, in cells of 8 pixels.
    """

    rates: tuple[int, ...] = (12, 24, 36)


class DilatedNetwork(DenseNetwork):
    """A ResNet whose last two stages dilate, so that its maps stay at stride 8; a head; bilinear upsampling to the
    picture's size. Takes pictures of any size.

    Args:
        classes: scores per pixel.
        settings: see there.
        make_head: ``(channels, classes)`` -> what turns the last stage (B, channels, h, w) into scores (B, K, h, w).
    """

    def __init__(self, classes: int, settings: DilatedSettings, make_head: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        s = settings
        self.backbone = ResNet(BackboneSettings(depth=s.depth, width=s.width, norm=s.norm), dilated=2)
        self.classifier = make_head(self.backbone.channels[3], classes)
        initialise(self.classifier)
        self.auxiliary = s.auxiliary
        self.aux_classifier: nn.Module | None = None
        if s.auxiliary:
            self.aux_classifier = fcn_head(self.backbone.channels[2], classes)
            initialise(self.aux_classifier)

    @property
    def period(self) -> int:
        """As of `DenseNetwork`."""
        return 8

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W) float32."""
        return enlarge(self.classifier(self.backbone(images)[3]), images)

    def training_logits(self, images: Tensor) -> list[tuple[Tensor, float]]:
        """As of `DenseNetwork`: the scores, and those of the auxiliary head with its weight."""
        *_, aux, last = self.backbone(images)
        outputs = [(enlarge(self.classifier(last), images), 1.0)]
        if self.aux_classifier is not None:
            outputs.append((enlarge(self.aux_classifier(aux), images), self.auxiliary))
        return outputs


class FCNDilated(DilatedNetwork):
    """One 3x3 convolution and the scores (torchvision's ``fcn_resnet50``)."""

    def __init__(self, classes: int, settings: DilatedSettings) -> None:
        super().__init__(classes, settings, fcn_head)


class DeepLabV3(DilatedNetwork):
    """Atrous spatial pyramid pooling (Chen et al. 2017, section 3.3; torchvision's ``deeplabv3_resnet50``)."""

    def __init__(self, classes: int, settings: DeepLabV3Settings) -> None:
        super().__init__(classes, settings, partial(deeplab_head, width=4 * settings.width, rates=settings.rates))


class Pyramid(nn.Module):
    """The map seen through a 1x1, through 3x3 convolutions of several dilations, and as one mean, side by side.

    The mean of a single picture is one value per channel, for which there are no batch statistics: a training batch of
    one normalises it by the running averages (see `PointBatchNorm`).
    """

    def __init__(self, channels: int, out: int, rates: Sequence[int]) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, out, 1, bias=False)
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv, PointBatchNorm(out), nn.ReLU(inplace=True))
        views = [convolution(channels, out, 1), *(convolution(channels, out, 3, rate) for rate in rates), mean]
        self.convs = nn.ModuleList(views)
        self.project = nn.Sequential(*convolution(len(views) * out, out, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, out, h, w)."""
        views = [view(x) for view in self.convs]
        views[-1] = views[-1].expand_as(views[0])
        projected: Tensor = self.project(torch.cat(views, 1))
        return projected


def fcn_head(channels: int, classes: int) -> nn.Sequential:
    """A 3x3 convolution to a quarter of the channels, and the scores."""
    return nn.Sequential(
        *convolution(channels, channels // 4, 3), nn.Dropout(0.1), nn.Conv2d(channels // 4, classes, 1)
    )


def deeplab_head(channels: int, classes: int, width: int, rates: Sequence[int]) -> nn.Sequential:
    """The pyramid of ``rates``, a 3x3 convolution, each to ``width`` channels, and the scores."""
    return nn.Sequential(Pyramid(channels, width, rates), *convolution(width, width, 3), nn.Conv2d(width, classes, 1))


def convolution(channels: int, out: int, size: int, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the resolution, with batch norm and ReLU."""
    conv = nn.Conv2d(channels, out, size, 1, dilation * (size // 2), dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def enlarge(scores: Tensor, images: Tensor) -> Tensor:
    """Scores (B, K, h, w) at the pictures' size, bilinearly, in float32."""
    return F.interpolate(scores.float(), images.shape[-2:], mode="bilinear", align_corners=False)
