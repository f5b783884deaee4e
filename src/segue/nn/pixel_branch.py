"""The semantic branch of Panoptic FPN (Kirillov et al., CVPR 2019, section 3): the class of every pixel, read from the
same pyramid as the regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.pixel_losses import PixelLossSettings, pixel_loss
from segue.structures import Categories


@dataclass(frozen=True)
class BranchSettings:
    """Recipe values of the semantic branch.

    Attributes:
        channels: of its convolutions; 128 is the published branch.
        things: a class for each thing category, ``apart``, or one for all of them ``together``, as published.
        weight: of its loss beside those of the regions (section 4.1).
        loss: what is minimised; without ``balance``.
    """

    channels: int = 128
    things: Literal["apart", "together"] = "apart"
    weight: float = 0.5
    loss: PixelLossSettings = field(default_factory=PixelLossSettings)

    def __post_init__(self) -> None:
        if self.channels < 2:
            raise ValueError("channels must be at least 2")
        if self.loss.balance:
            raise ValueError("balance is for semantic networks only; set it to 0")


class SemanticBranch(nn.Module):
    """Every level is brought to the finest one's resolution step by step; their sum gives the classes.

    A level of stride s has max(1, log2(s / finest)) steps of 3x3 convolution, group norm, ReLU and, where it is coarser
    than the finest, bilinear upsampling by 2.
    """

    row: Tensor  # (K,) int64: the output that stands for each category
    category: Tensor  # (outputs,) int64: the category that each output stands for, -1 for "any thing"

    def __init__(self, channels: int, strides: Sequence[int], categories: Categories, settings: BranchSettings) -> None:
        super().__init__()
        self.settings, self.stride = settings, strides[0]
        self.levels = nn.ModuleList(
            level_steps(channels, settings.channels, (stride // strides[0]).bit_length() - 1) for stride in strides
        )
        row, category = class_rows([c.isthing for c in categories], settings.things == "together")
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("category", category, persistent=False)
        self.logits = nn.Conv2d(settings.channels, len(category), 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (B, C, H_i, W_i), finest first -> logits (B, outputs, H_0, W_0)."""
        total = self.levels[0](levels[0])
        for steps, level in zip(list(self.levels)[1:], levels[1:], strict=True):
            total = total + steps(level)
        logits: Tensor = self.logits(total)
        return logits.float()

    def losses(self, raw: Tensor, semantic: Tensor | None) -> dict[str, Tensor]:
        """Cross-entropy of the upsampled logits; 0 without label maps.

        Args:
            raw: (B, outputs, H / stride, W / stride).
            semantic: (B, H, W) int64 category indices, -1 where unlabelled.
        """
        if semantic is None:
            return {"semantic": raw.sum() * 0}
        labels = torch.where(semantic < 0, semantic, self.row[semantic.clamp(min=0)])
        weights = torch.ones(len(self.category), device=raw.device)
        loss = pixel_loss(enlarge(raw, self.stride), labels, weights, self.settings.loss)
        return {"semantic": self.settings.weight * loss}

    def decode(self, raw: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The class of every pixel of one picture: `label` of its `probabilities`."""
        return self.label(self.probabilities(raw, shown, size))

    def tensors(self, raw: Tensor, shown: tuple[int, int]) -> dict[str, Tensor]:
        """``semantic`` (B, H, W) int32 categories, -1 for "any thing", and ``confidence`` (B, H, W)."""
        logits = enlarge(raw, self.stride)[:, :, : shown[0], : shown[1]]
        confidence, row = logits.softmax(1).max(1)
        return {"semantic": self.category[row].int(), "confidence": confidence}

    def probabilities(self, raw: Tensor, shown: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """The probability of every output in every pixel of one picture.

        Args:
            raw: (outputs, h, w) of the padded picture.
            shown: (height, width) of the picture as the network saw it, without padding.
            size: (height, width) that it has.

        Returns:
            (outputs, H, W) float32.
        """
        logits = enlarge(raw[None], self.stride)[:, :, : shown[0], : shown[1]]
        if shown != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits[0].softmax(0)

    def label(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest class of every pixel.

        Args:
            probabilities: (outputs, H, W), on any device.

        Returns:
            (H, W) int16 category indices, -1 for "any thing", and (H, W) float32 their probability.
        """
        confidence, row = probabilities.max(0)
        return self.category.to(row.device)[row].short(), confidence.clamp(max=1.0)


def level_steps(channels: int, width: int, doublings: int) -> nn.Sequential:
    """(B, channels, h, w) -> (B, width, h * 2 ** doublings, w * 2 ** doublings)."""
    groups = math.gcd(32, width, width // 2)  # two channels or more in each: of a single number the norm makes 0
    steps: list[nn.Module] = []
    for step in range(max(1, doublings)):
        steps += [
            nn.Conv2d(width if step else channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(groups, width),
            nn.ReLU(inplace=True),
        ]
        if doublings:
            steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*steps)


def class_rows(things: Sequence[bool], together: bool) -> tuple[Tensor, Tensor]:
    """Which of K categories are things -> output of each category (K,), category of each output, -1 for "any thing"."""
    if not together:
        every = torch.arange(len(things))
        return every, every
    is_stuff = ~torch.tensor(things, dtype=torch.bool)
    row = is_stuff.cumsum(0) * is_stuff  # things share output 0, as in Detectron2
    return row, torch.cat([torch.tensor([-1]), is_stuff.nonzero()[:, 0]])


def enlarge(logits: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) -> (B, C, factor * h, factor * w), bilinear."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)
