"""Masks: which pixels of the box belong to the object (Mask R-CNN, He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.geometry import Geometry
from segue.data.rle import decode_segmentations, encode_masks
from segue.drawing import draw_masks, object_colors
from segue.metrics.coco_ap import CocoAP
from segue.metrics.matching import Matching
from segue.nn.conventions import Conventions
from segue.nn.norm import NormKind, initialise_convolutions, normed
from segue.ops import mask_targets, paste_masks
from segue.structures import Categories, Field, Masks, Regions, Scene
from segue.tasks.task import RegionTask, Sampled


@dataclass(frozen=True)
class MaskSettings:
    """Recipe values of the mask head.

    Attributes:
        channels: of its convolutions.
        convolutions: 3x3 layers before the upsampling.
        norm: after each of those, which then has no bias; None for none, as published.
    """

    channels: int = 256
    convolutions: int = 4
    norm: NormKind | None = None


class MaskHead(nn.Module):
    """3x3 convolutions at 14x14, a transposed convolution to 28x28, one mask per class (figure 4, right)."""

    pooled = 14

    def __init__(self, channels: int, categories: Categories, conventions: Conventions, settings: MaskSettings) -> None:
        super().__init__()
        self.conventions, self.first = conventions, int(conventions.background_first)
        widths = [channels] + [settings.channels] * settings.convolutions
        norm, bias = settings.norm, settings.norm is None
        self.convolutions = nn.ModuleList(
            normed(nn.Conv2d(before, after, 3, padding=1, bias=bias), norm) for before, after in pairwise(widths)
        )
        self.upsample = nn.ConvTranspose2d(widths[-1], settings.channels, 2, 2)
        self.logits = nn.Conv2d(settings.channels, len(categories) + self.first, 1)
        initialise_convolutions(self.convolutions)
        initialise_convolutions(self.upsample)
        nn.init.normal_(self.logits.weight, std=0.001)
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]

    def forward(self, rois: Tensor) -> Tensor:
        """(R, C, 14, 14) -> mask logits (R, K, 28, 28)."""
        x = rois
        for convolution in self.convolutions:
            x = convolution(x).relu_()  # (R, C, 14, 14)
        x = self.upsample(x).relu_()  # (R, C, 28, 28)
        logits: Tensor = self.logits(x)
        return logits[:, self.first :].float()

    def losses(self, raw: Tensor, regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Mean binary cross-entropy of the true class's mask over regions whose object has one (section 3)."""
        if truth.masks is None or len(truth) == 0:
            return {"masks": raw.sum() * 0}
        index = regions.matched.clamp(0, len(truth) - 1)
        with torch.no_grad():
            goals = mask_targets(truth.masks, index, regions.boxes, raw.shape[-1], self.conventions.binary_mask_targets)
        rows = torch.arange(len(raw), device=raw.device)
        own = raw[rows, regions.labels.clamp(0, raw.shape[1] - 1)]  # (R, 28, 28)
        per_region = F.binary_cross_entropy_with_logits(own, goals.to(own), reduction="none").mean((1, 2))
        annotated = regions.positive & (truth.masks.areas_of_windows > 0)[index]
        per_region = per_region.where(annotated, torch.zeros_like(per_region))
        return {"masks": per_region.sum() / annotated.sum().clamp(min=1)}

    def decode(self, raw: Tensor, regions: Regions, size: tuple[int, int]) -> Field:
        """The mask of each detection's own class, pasted into the picture."""
        return paste_masks(self._own(raw, regions.labels), regions.boxes, size, self.conventions.paste_at_centres)

    def tensors(self, raw: Tensor, labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``masks`` (R, 28, 28), the probabilities inside the boxes (R, 4) of classes ``labels`` (R,)."""
        return {"masks": self._own(raw, labels)}

    def _own(self, raw: Tensor, labels: Tensor) -> Tensor:
        return raw[torch.arange(raw.shape[0], device=raw.device), labels].sigmoid()


def parse(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Masks | None:
    """COCO's ``segmentation`` (polygons or run lengths) -> masks; None unless every annotation has one."""
    if not all(a.get("segmentation") for a in annotations):
        return None
    where = f"annotation {annotations[0].get('id', '')}" if annotations else ""
    return decode_segmentations([a["segmentation"] for a in annotations], size, where)


def transform(masks: Field, geometry: Geometry) -> Field:
    """The masks in the changed picture."""
    assert isinstance(masks, Masks)
    return geometry.masks(masks)


def unknown(example: Field, number: int) -> Masks:
    """Empty masks."""
    assert isinstance(example, Masks)
    return example.with_boxes(example.boxes.new_zeros(number, 4))


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """A tint and a contour for every object."""
    if scene.regions.masks is None:
        return image
    return draw_masks(image, scene.regions.masks, object_colors(scene))


def to_json(regions: Regions) -> list[dict[str, Any]]:
    """COCO's compressed run lengths."""
    if regions.masks is None:
        return [{} for _ in range(len(regions))]
    return [{"segmentation": rle} for rle in encode_masks(regions.masks)]


MASKS = RegionTask(
    name="masks",
    settings=MaskSettings,
    head=MaskHead,
    parse=parse,
    transform=transform,
    metrics=(partial(CocoAP, group="masks"), Matching),
    draw=draw,
    to_json=to_json,
    unknown=unknown,
)
