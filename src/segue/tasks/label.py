"""The one word for a picture: the class of its main object, told by a head whose one region is the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.records import UNLABELLED, Dataset
from segue.drawing import draw_label
from segue.metrics.label import LabelAccuracy
from segue.nn.norm import initialise_convolutions
from segue.structures import Categories, Scene
from segue.tasks.task import ImageTask

NEUTRAL = (70, 70, 70)
"""Colour of a label that is none of the classes."""


@dataclass(frozen=True)
class LabelSettings:
    """Recipe values of the label head.

    Attributes:
        channels: of the convolutions.
        convolutions: 3x3 layers.
        side: of the features that they read; with 28 instead of 14 these come from a finer level.
        dropout: share of the channels that training leaves out before the first of them, and before the last layer.
    """

    channels: int = 56
    convolutions: int = 2
    side: int = 14
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.channels, self.convolutions, self.side) < 1:
            raise ValueError("channels, convolutions and side must be from 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")


class LabelHead(nn.Module):
    """Convolutions, their mean and highest value in the picture, class logits.

    The main object is the largest: the mean tells how much there is of a class, the highest value what stands out.
    """

    def __init__(self, channels: int, categories: Categories, settings: LabelSettings) -> None:
        super().__init__()
        self.names, self.dropout, self.pooled = categories.names, settings.dropout, settings.side
        widths = [channels] + [settings.channels] * settings.convolutions
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.logits = nn.Linear(2 * widths[-1], len(categories))
        initialise_convolutions(self.convolutions)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.zeros_(self.logits.bias)

    def forward(self, rois: Tensor) -> Tensor:
        """(B, C, side, side) -> class logits (B, K)."""
        x = F.dropout2d(rois, self.dropout, self.training)
        for convolution in self.convolutions:
            x = convolution(x).relu_()  # (B, channels, side, side)
        code = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        logits: Tensor = self.logits(F.dropout(code, self.dropout, self.training))
        return logits.float()

    def losses(self, raw: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, the mean over the pictures that have a label; 0 without any."""
        total = F.cross_entropy(raw, labels, ignore_index=UNLABELLED, reduction="sum")
        return {"label": total / (labels != UNLABELLED).sum().clamp(min=1)}

    def tensors(self, raw: Tensor) -> dict[str, Tensor]:
        """``label`` (B,) int32, the likeliest class of each picture."""
        return {"label": raw.argmax(1).int()}

    def decode(self, raw: Tensor) -> str:
        """Logits (K,) -> the name of the likeliest class."""
        return self.names[int(raw.argmax())]


def annotated(dataset: Dataset) -> bool:
    """Whether any picture has a label."""
    return dataset.labels is not None and any(label is not None for label in dataset.labels)


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """The label in a corner, in the colour of its class."""
    if scene.label is None:
        return image
    colors = {category.name: category.color for category in scene.categories}
    return draw_label(image, scene.label, colors.get(scene.label, NEUTRAL))


def entry(scene: Scene) -> dict[str, Any]:
    """The label."""
    return {"label": scene.label}


LABEL = ImageTask(
    name="label",
    settings=LabelSettings,
    head=LabelHead,
    annotated=annotated,
    metrics=(LabelAccuracy,),
    draw=draw,
    entry=entry,
)
