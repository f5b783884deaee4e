"""Boxes: which class is in a proposal, and where exactly (Fast R-CNN, section 2; FPN, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.geometry import Geometry
from segue.drawing import draw_boxes, object_colors, region_labels
from segue.metrics.coco_ap import CocoAP
from segue.nn.conventions import Conventions
from segue.nn.losses import smooth_l1
from segue.nn.matching import gather_rows
from segue.nn.norm import NormKind, initialise_convolutions, normed
from segue.ops import clip_boxes, decode_boxes, encode_boxes, nms_keep
from segue.structures import Categories, Field, Regions, Scene
from segue.tasks.task import Detections, RegionTask, Sampled

CODER = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class BoxSettings:
    """Recipe values of the box head.

    Attributes:
        channels: of the fully connected layers.
        layers: of these, one or two.
        convolutions: 3x3 layers before them, with as many channels as the pyramid.
        norm: after each of those, which then has no bias; None for none.
        spare: rows of the classifier beside classes and background that stand for nothing, but have a share in the
            softmax: numbers that COCO never used, in public weights. They are the last.
        score: detections below it are dropped.
        nms: IoU above which the lesser of two detections of a class goes.
        detections: most detections per image.
    """

    channels: int = 1024
    layers: Literal[1, 2] = 2
    convolutions: int = 0
    norm: NormKind | None = None
    spare: int = 0
    score: float = 0.05
    nms: float = 0.5
    detections: int = 100


class BoxHead(nn.Module):
    """Fully connected layers, then class logits and one box refinement per class."""

    pooled = 7

    def __init__(self, channels: int, categories: Categories, conventions: Conventions, settings: BoxSettings) -> None:
        super().__init__()
        self.conventions, self.settings, self.classes = conventions, settings, len(categories)
        self.first = int(conventions.background_first)  # row of class 0
        s, bias = settings, settings.norm is None
        self.convolutions = nn.ModuleList(
            normed(nn.Conv2d(channels, channels, 3, padding=1, bias=bias), s.norm) for _ in range(s.convolutions)
        )
        self.fc1 = nn.Linear(channels * self.pooled**2, s.channels)
        self.fc2 = nn.Linear(s.channels, s.channels) if s.layers == 2 else None
        self.logits = nn.Linear(s.channels, self.classes + 1 + s.spare)
        self.deltas = nn.Linear(s.channels, 4 * (self.classes + self.first))
        initialise_convolutions(self.convolutions)
        for full in (self.fc1, self.fc2):
            if full is not None:
                nn.init.kaiming_uniform_(full.weight, a=1)
                nn.init.zeros_(full.bias)
        for layer, std in ((self.logits, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, 7, 7) -> class logits (R, K + 1 + spare), box deltas (R, K, 4)."""
        x = rois
        for convolution in self.convolutions:
            x = convolution(x).relu_()  # (R, C, 7, 7)
        x = F.relu(self.fc1(x.flatten(1)))
        if self.fc2 is not None:
            x = F.relu(self.fc2(x))
        deltas = self.deltas(x).view(x.shape[0], -1, 4)[:, self.first :]
        return self.logits(x).float(), deltas.float()

    def losses(self, raw: tuple[Tensor, Tensor], regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Cross-entropy over all sampled regions; the true class's box distance over those with an object.

        A class whose objects are not annotated in a region's picture is no choice there: it neither gains nor loses.
        """
        logits, deltas = only_known(raw[0], regions.known, self.first), raw[1]
        background = 0 if self.first else self.classes
        target = torch.where(regions.positive, regions.labels + self.first, background)
        count = regions.valid.sum().clamp(min=1)
        classes = F.cross_entropy(logits, target, reduction="none")
        rows = torch.arange(len(target), device=target.device)
        own = deltas[rows, regions.labels.clamp(0, self.classes - 1)]  # (R, 4)
        distance = (
            own.sum(1) * 0
        )  # without any object every weight still gets a gradient, as data-parallel training needs
        if len(truth):
            goals = encode_boxes(truth.boxes[regions.matched.clamp(0, len(truth) - 1)], regions.boxes, CODER)
            distance = smooth_l1(own, goals, self.conventions.box_beta).sum(1)
        return {
            "classes": (classes * regions.valid).sum() / count,
            "boxes": distance.where(regions.positive, torch.zeros_like(distance)).sum() / count,
        }

    def select(self, raw: tuple[Tensor, Tensor], proposals: Tensor, valid: Tensor, sizes: Tensor) -> Detections:
        """Turn proposals (B, P, 4), of which some are ``valid`` (B, P), into padded detections.

        Every class of every proposal is a candidate; of them the best ``4 * P`` per image go through NMS per class.
        ``sizes`` (B, 2) are heights and widths to clip to.
        """
        b, p = valid.shape
        k, s = self.classes, self.settings
        scores = raw[0].softmax(1)[:, self.first : self.first + k].reshape(b, p * k)
        candidates = scores.masked_fill(~valid.repeat_interleave(k, 1) | ~(scores > s.score), -1.0)
        top, index = best_first(candidates, p * min(4, k))  # (B, M)
        deltas = gather_rows(raw[1].reshape(b, p * k, 4), index)
        boxes = decode_boxes(deltas, gather_rows(proposals, index // k), CODER)
        boxes = clip_boxes(boxes, sizes[:, None, :])
        labels = index % k
        usable = (top > s.score) & ((boxes[..., 2:] - boxes[..., :2]) > 1e-2).all(2)
        groups = labels + torch.arange(b, device=labels.device)[:, None] * k
        keep = nms_keep(boxes.reshape(-1, 4), top.reshape(-1), s.nms, groups.reshape(-1), usable.reshape(-1))
        best, order = best_first(top.masked_fill(~keep.view(b, -1), -1.0), s.detections)
        return Detections(gather_rows(boxes, order), best.clamp(min=0), labels.gather(1, order), best >= 0)

    def decode(self, raw: Any, regions: Regions, size: tuple[int, int]) -> Field:
        """The boxes as they are: `select` has done the work."""
        return regions.boxes


def best_first(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of each row (B, N), or all N, and their places; of equal ones the earlier first.

    Proposals thinner than a cell may have the same features, and so the same scores; which of them NMS keeps must not
    be left to chance.
    """
    top, index = values.sort(dim=1, descending=True, stable=True)
    return top[:, :count], index[:, :count]


def only_known(logits: Tensor, known: Tensor | None, first: int) -> Tensor:
    """Class logits (R, K + 1 or more) without a chance for classes that are not ``known`` (R, K); all else has one.

    The row of class 0 is ``first``, 0 or 1; background has the other end, and rows to spare come last.
    """
    if known is None:
        return logits
    after = logits.shape[1] - known.shape[1] - first
    return logits.masked_fill(~F.pad(known, (first, after), value=True), -torch.inf)


def parse(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Tensor:
    """COCO's ``bbox`` x, y, width, height -> (N, 4) xyxy."""
    xywh = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).reshape(-1, 4)
    return torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)


def transform(boxes: Field, geometry: Geometry) -> Field:
    """The boxes in the changed picture, not clipped."""
    assert isinstance(boxes, Tensor)
    return geometry.boxes(boxes)


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """Outlines and, where there is room, class and score; nothing over many small objects that have masks."""
    boxes = scene.regions.boxes
    if scene.regions.masks is not None and len(boxes) > 8 and float((boxes[:, 2:] - boxes[:, :2]).median()) < 40:
        return image
    return draw_boxes(image, boxes, object_colors(scene), region_labels(scene))


def to_json(regions: Regions) -> list[dict[str, Any]]:
    """COCO's ``bbox`` x, y, width, height."""
    boxes = regions.boxes
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    return [{"bbox": [round(v, 3) for v in row]} for row in xywh.tolist()]


BOXES = RegionTask(
    name="boxes",
    settings=BoxSettings,
    head=BoxHead,
    parse=parse,
    transform=transform,
    metrics=(partial(CocoAP, group="boxes"),),
    draw=draw,
    to_json=to_json,
    selects=True,
)
