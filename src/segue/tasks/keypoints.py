"""Keypoints: where the named points of an object lie (Mask R-CNN, He et al. 2017, section 5).

Each category has its own keypoints, any number of them. In a field (N, K, 3) K is that of the category with the most;
the rows of others, and of points that are not labelled, are zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.geometry import Geometry
from segue.data.results import is_points
from segue.drawing import draw_keypoints
from segue.errors import DataError, RecipeError
from segue.metrics.keypoints import PCK, PIXEL_CENTRE, KeypointAP
from segue.nn.conventions import Conventions
from segue.ops import keypoint_peaks, keypoint_targets, keypoint_windows, move_points, resize
from segue.structures import Categories, Field, Regions, Scene
from segue.tasks.task import RegionTask, Sampled

CELLS = 56
"""Of a keypoint's map per axis."""

DRAWN = 0.05
"""Predicted keypoints with a score above this are drawn."""


@dataclass(frozen=True)
class KeypointSettings:
    """Recipe values of the keypoint head.

    Attributes:
        channels: of its convolutions.
        convolutions: 3x3 layers before the upsampling.
        equal_objects: every object has the same weight in the loss, however many keypoints it has; else every keypoint
            has, as published, and a category with few of them learns slowly beside one with many.
    """

    channels: int = 512
    convolutions: int = 8
    equal_objects: bool = False


class KeypointHead(nn.Module):
    """3x3 convolutions at 14x14, a transposed convolution to 28x28, bilinear to 56x56, one map per keypoint.

    Every category has maps of its own, one range after the other; which are a region's follows from its label.
    """

    pooled = 14
    maps: Tensor  # (categories, K) int64: the map of each category's keypoints, -1 where it has fewer than K

    def __init__(
        self, channels: int, categories: Categories, conventions: Conventions, settings: KeypointSettings
    ) -> None:
        super().__init__()
        self.conventions, self.equal_objects = conventions, settings.equal_objects
        table = map_table([len(category.keypoints) for category in categories])
        if not table.numel():
            raise RecipeError(
                "no category has keypoints",
                where="network.tasks.keypoints",
                cure="leave the task out, or name a category's 'keypoints' in the annotation file",
            )
        self.register_buffer("maps", table, persistent=False)
        widths = [channels] + [settings.channels] * settings.convolutions
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.logits = nn.ConvTranspose2d(widths[-1], int(table.max()) + 1, 4, 2, padding=1)
        for layer in (*self.convolutions, self.logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, rois: Tensor) -> Tensor:
        """(R, C, 14, 14) -> logits (R, keypoints of all categories, 56, 56)."""
        x = rois
        for convolution in self.convolutions:
            x = convolution(x).relu_()  # (R, C, 14, 14)
        return resize(self.logits(x).float(), (CELLS, CELLS), "bilinear")

    def losses(self, raw: Tensor, regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Cross-entropy over a map's cells, the mean over labelled keypoints inside their regions; 0 without any.

        Where the recipe wants equal objects, the mean over the objects' means.
        """
        if truth.keypoints is None or len(truth) == 0:
            return {"keypoints": raw.sum() * 0}
        index = regions.matched.clamp(0, len(truth) - 1)
        points = move_points(truth.keypoints[index], -self.conventions.keypoint_shift)
        maps = self.maps[regions.labels.clamp(0, len(self.maps) - 1)][:, : points.shape[1]]  # (R, K)
        cells, valid = keypoint_targets(points[:, : maps.shape[1]], regions.boxes, CELLS)
        row, column = (valid & (maps >= 0) & regions.positive[:, None]).nonzero(as_tuple=True)
        own = raw[row, maps[row, column]].flatten(1)  # (V, 3136)
        losses = F.cross_entropy(own, cells[row, column], reduction="none")
        weights = torch.ones_like(losses)
        if self.equal_objects:
            weights = 1 / torch.bincount(row, minlength=len(raw))[row]
        return {"keypoints": (losses * weights).sum() / weights.sum().clamp(min=1)}

    def decode(self, raw: Tensor, regions: Regions, size: tuple[int, int], shown: Tensor | None = None) -> Field:
        """(N, K, 3) x, y and score of each detection's own keypoints, by the conventions' rule; zeros for the rest.

        Peaks are looked for on the pixels of the boxes (N, 4) that were ``shown``; None means the regions' own.
        """
        labels, boxes = regions.labels, regions.boxes
        rows = (self.maps[labels] >= 0).any(1).nonzero()[:, 0]  # regions with keypoints
        points = self._points(raw[rows], labels[rows], (boxes if shown is None else shown)[rows])
        if shown is not None:
            points[..., :2] = moved(points[..., :2], shown[rows], boxes[rows])
        points = self._shifted(points, labels[rows])
        return points.new_zeros(len(labels), *points.shape[1:]).index_copy(0, rows, points)

    def tensors(self, raw: Tensor, labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``keypoints`` (R, K, 3), as of `decode`, of boxes (R, 4) of classes ``labels`` (R,)."""
        return {"keypoints": self._shifted(self._points(raw, labels, boxes), labels)}

    def _points(self, raw: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Where each class's own keypoints are in its boxes (R, 4), as the network counts pixels: (R, K, 3)."""
        maps = self.maps[labels]  # (R, K)
        own = raw[torch.arange(raw.shape[0], device=raw.device)[:, None], maps.clamp(min=0)]  # (R, K, 56, 56)
        if self.conventions.keypoint_reading == "window":
            return keypoint_windows(own, boxes)
        points = keypoint_peaks(own, boxes)
        if self.conventions.keypoint_reading == "logit":
            return points
        shares = (points[..., 2] - own.flatten(2).logsumexp(2)).exp()
        return torch.cat([points[..., :2], shares[..., None]], 2)

    def _shifted(self, points: Tensor, labels: Tensor) -> Tensor:
        """The points where we count them; zeros for keypoints that a class does not have."""
        return move_points(points, self.conventions.keypoint_shift) * (self.maps[labels] >= 0)[..., None]


def moved(points: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Points (N, K, 2) of boxes ``before`` (N, 4) at the same place in boxes ``after``."""
    sides, new_sides = (box[:, 2:] - box[:, :2] for box in (before, after))
    scale = new_sides / sides.clamp(min=1e-6)
    return (points - before[:, None, :2]) * scale[:, None] + after[:, None, :2]


def map_table(counts: Sequence[int]) -> Tensor:
    """Numbers of keypoints of C categories -> (C, K) int64 index of each one's map, -1 from a category's number on."""
    number = torch.tensor(counts, dtype=torch.int64)[:, None]
    place = torch.arange(max(counts, default=0))
    return torch.where(place < number, number.cumsum(0) - number + place, -1)


def parse(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Tensor | None:
    """COCO's ``keypoints`` (x, y, v each) -> (N, K, 3), K as of the longest list; None where no record has any.

    COCO's numbers name pixels; here the centre of the first pixel is at one half. Records with a ``score`` are
    predictions, whose v is a score, too; else it is 0 (not labelled), 1 (occluded) or 2.

    Raises:
        DataError: a list that is not of finite triples, or another visibility.
    """
    if annotations and not any("keypoints" in a for a in annotations):
        return None
    lists = [_checked(a) for a in annotations]
    longest = max(map(len, lists), default=0)
    rows = [row + [0.0] * (longest - len(row)) for row in lists]
    points = torch.tensor(rows, dtype=torch.float32).view(len(rows), longest // 3, 3)
    if not any("score" in a for a in annotations):
        points = points * (points[..., 2:] > 0)
    return move_points(points, PIXEL_CENTRE)


def _checked(annotation: Mapping[str, Any]) -> list[float]:
    values = annotation.get("keypoints") or []
    where = f"annotation {annotation.get('id', '')}".rstrip()
    if not is_points(values):
        raise DataError("keypoints are not triples of finite numbers", where=where, cure="give x, y, v for each")
    wrong = [v for v in values[2::3] if v not in (0, 1, 2)] if "score" not in annotation else []
    if wrong:
        cure = "0 is not labelled, 1 occluded, 2 visible"
        raise DataError(f"keypoint visibility {wrong[0]!r} is not 0, 1 or 2", where=where, cure=cure)
    return list(values)


def transform(points: Field, geometry: Geometry) -> Field:
    """The keypoints in the changed picture; those outside of it are no longer there."""
    assert isinstance(points, Tensor)
    xy = geometry.points(points[..., :2])
    h, w = geometry.size
    inside = ((xy >= 0) & (xy <= xy.new_tensor([w, h]))).all(-1, keepdim=True)
    moved = torch.cat([xy, points[..., 2:]], dim=-1)
    return moved.where(inside & points.any(-1, keepdim=True), torch.zeros_like(moved))


def mirror(regions: Regions, categories: Categories) -> Field:
    """The keypoints with each category's left and right ones exchanged."""
    points = regions.keypoints
    assert points is not None
    if not len(points):
        return points  # of no width, where a picture has no objects
    order = torch.arange(points.shape[1], device=points.device).repeat(len(categories), 1)  # (C, K)
    for row, category in zip(order, categories, strict=True):
        for a, b in category.flip_pairs:
            row[a], row[b] = b, a
    return points.gather(1, order[regions.labels][..., None].expand(-1, -1, 3))


def unknown(example: Field, number: int) -> Tensor:
    """Keypoints that are not labelled."""
    assert isinstance(example, Tensor)
    return example.new_zeros(number, *example.shape[1:])


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """The skeleton of every object; annotated keypoints that are occluded are rings."""
    regions, points = scene.regions, scene.regions.keypoints
    if points is None:
        return image
    points = points.clone()
    hollow = (points[..., 2] == 1) & (regions.scores is None)
    if regions.scores is not None:
        points[..., 2] *= points[..., 2] > DRAWN
    return draw_keypoints(image, points, hollow, [scene.categories[label] for label in regions.labels.tolist()])


def to_json(regions: Regions) -> list[dict[str, Any]]:
    """COCO's ``keypoints``; predicted ones end with the category's last, and are left out where it has none."""
    if regions.keypoints is None:
        return [{} for _ in range(len(regions))]
    points = move_points(regions.keypoints.double(), -PIXEL_CENTRE)
    if regions.scores is None:
        return [{"keypoints": _triples(row)} for row in points]
    counts = (points.any(-1) * torch.arange(1, points.shape[1] + 1)).amax(1) if points.numel() else [0] * len(points)
    rows = zip(points, map(int, counts), strict=True)
    return [{"keypoints": _triples(row[:count])} if count else {} for row, count in rows]


def _triples(points: Tensor) -> list[float]:
    """(K, 3) -> 3K numbers: coordinates to 1/1000 of a pixel, scores to float32's digits, whole numbers as such."""
    numbers = [round(value, 6 if i % 3 == 2 else 3) for i, value in enumerate(points.flatten().tolist())]
    return [int(value) if value == int(value) else value for value in numbers]


KEYPOINTS = RegionTask(
    name="keypoints",
    settings=KeypointSettings,
    head=KeypointHead,
    parse=parse,
    transform=transform,
    metrics=(KeypointAP, PCK),
    draw=draw,
    to_json=to_json,
    mirror=mirror,
    unknown=unknown,
    shown=True,
)
