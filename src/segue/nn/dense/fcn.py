"""Fully convolutional networks (Long, Shelhamer & Darrell 2015): FCN-32s, FCN-16s and FCN-8s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from segue.nn.dense.layers import initialise
from segue.nn.dense.network import DenseNetwork
from segue.nn.resnet import BackboneSettings, ResNet
from segue.nn.vgg import VGG
from segue.ops.upsample import bilinear_kernel

DEPTHS: dict[str, Literal[18, 34, 50]] = {"resnet18": 18, "resnet34": 34, "resnet50": 50}

# Where 100 pixels of padding put things. Centres, in pixels of the picture: cell i of VGG's map of stride s lies at
# s * i + (s - 1) / 2 - 99, of fc6, which drops three cells, at 32 * i + 12.5. A transposed convolution without padding
# (kernel 2s, stride s) puts the centre of cell i at s * i + s - 0.5. What is left between the two is cropped.
PAPER_CROPS = {32: 19, 16: 27, 8: 31}  # of the full-size scores, by the stride of the finest skip
PAPER_SKIPS = {16: 5, 8: 9}  # of the scores of a skip, by its stride


@dataclass(frozen=True)
class FCNSettings:
    """Recipe values of FCN.

    Attributes:
        trunk: ``vgg16`` with its two fully connected layers turned into convolutions, or the stages of a ResNet.
        stride: of the finest map that is scored: 32, or 16 or 8 with scores of finer maps added (FCN-32s, 16s, 8s).
        width: channels of the trunk's first stage; 64 is the published network. VGG's two fully connected layers have
            64 times as many.
        padding: ``paper`` surrounds the picture with 100 zeros and crops the scores; ``same`` pads each convolution so
            that maps keep their place, which costs far less for small pictures. For VGG; a ResNet has ``same``.
        dropout: after each of VGG's fully connected layers, in training.
        norm: batch norm after VGG's convolutions, or ``none`` as published.
        upsampling: ``frozen`` bilinear filters, as in the released networks, or ``learned`` from there.
    """

    trunk: Literal["vgg16", "resnet18", "resnet34", "resnet50"] = "vgg16"
    stride: Literal[32, 16, 8] = 8
    width: int = 64
    padding: Literal["paper", "same"] = "paper"
    dropout: float = 0.5
    norm: Literal["none", "batch"] = "none"
    upsampling: Literal["frozen", "learned"] = "frozen"


class FCN(DenseNetwork):
    """Scores of the coarsest map, doubled and added to those of the next finer ones, then brought to the picture's size
    (section 4.2, figure 3). Takes pictures of any size.

    Every scoring layer starts at zero (section 4.3), so that a skip begins by changing nothing.
    """

    def __init__(self, classes: int, settings: FCNSettings) -> None:
        super().__init__()
        s = settings
        paper = s.trunk == "vgg16" and s.padding == "paper"
        self.trunk, self.head = make_trunk(s, classes, paper)
        strides = [stride for stride in (16, 8) if stride >= s.stride]
        *finer, _ = self.trunk.channels
        self.skips = nn.ModuleList(zero_score(c, classes) for c, _ in zip(reversed(finer), strides, strict=False))
        factors = [2] * len(strides) + [s.stride]
        learned = s.upsampling == "learned"
        self.upsample = nn.ModuleList(bilinear_upsampling(classes, f, not paper, learned) for f in factors)
        self.skip_crops = [PAPER_SKIPS[stride] if paper else 0 for stride in strides]
        self.crop = PAPER_CROPS[s.stride] if paper else 0

    @property
    def period(self) -> int:
        """As of `DenseNetwork`."""
        return 32

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W) float32."""
        *finer, coarsest = self.trunk(images)
        skips = [score(x) for score, x in zip(self.skips, reversed(finer), strict=False)]
        scores = [self.head(coarsest), *skips]
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 would blur what is interpolated here
            full = self._fuse([x.float() for x in scores])
        h, w = images.shape[-2:]
        return full[..., self.crop : self.crop + h, self.crop : self.crop + w]

    def _fuse(self, scores: Sequence[Tensor]) -> Tensor:
        """Scores, each (B, K, ...) twice as fine as the one before -> their sum at the picture's resolution."""
        x, *skips = scores
        *doubles, last = self.upsample
        for skip, double, crop in zip(skips, doubles, self.skip_crops, strict=True):
            up, fine = double(x), skip[..., crop:, crop:]
            h, w = min(up.shape[2], fine.shape[2]), min(up.shape[3], fine.shape[3])
            x = up[..., :h, :w] + fine[..., :h, :w]
        full: Tensor = last(x)
        return full


def make_trunk(settings: FCNSettings, classes: int, paper: bool) -> tuple[VGG | ResNet, nn.Module]:
    """What makes an FCN's maps, and the head that scores the coarsest of them."""
    s = settings
    if s.trunk != "vgg16":
        resnet = ResNet(BackboneSettings(depth=DEPTHS[s.trunk], width=s.width))
        return resnet, zero_score(resnet.channels[-1], classes)
    inner = 64 * s.width
    trunk = VGG(s.width, s.norm, padding=100 if paper else 1)
    head = nn.Sequential(
        nn.Conv2d(trunk.channels[-1], inner, 7, padding=0 if paper else 3),
        nn.ReLU(inplace=True),
        nn.Dropout(s.dropout),
        nn.Conv2d(inner, inner, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(s.dropout),
    )
    initialise(trunk)
    initialise(head)
    return trunk, head.append(zero_score(inner, classes))


def zero_score(channels: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution to scores that starts at zero."""
    score = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(score.weight)
    nn.init.zeros_(score.bias)  # type: ignore[arg-type]
    return score


def bilinear_upsampling(classes: int, factor: int, centred: bool, learned: bool) -> nn.ConvTranspose2d:
    """Upsampling by an even factor that treats every class alike and on its own: (B, K, h, w) -> (B, K, f * h, f * w).

    Without ``centred`` nothing is cut off and each side has ``factor`` pixels more.
    """
    padding = factor // 2 if centred else 0
    up = nn.ConvTranspose2d(classes, classes, 2 * factor, factor, padding, groups=classes, bias=False)
    up.weight.data.copy_(bilinear_kernel(2 * factor))
    return up.requires_grad_(learned)
