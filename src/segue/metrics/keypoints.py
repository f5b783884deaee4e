"""Keypoints: average precision over object keypoint similarity (cocoapi, ``cocoeval.py``), and PCK."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from hotcoco import Params, StreamingEval
from torch import Tensor

from segue.errors import DataError
from segue.metrics.checks import check_classes, check_predictions
from segue.metrics.coco_ap import object_areas, summarize, xywh
from segue.ops.boxes import box_iou
from segue.ops.keypoints import move_points
from segue.structures import Categories, Category, Scene

PIXEL_CENTRE = 0.5
"""COCO's keypoints name pixels by their index; everywhere in the package a pixel's centre lies at a half."""

SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "head": 0.079,
    "neck": 0.079,
}
"""By part of the body: COCO's numbers, then CrowdPose's for head and neck."""

OTHER_SIGMA = 0.067
"""The mean of COCO's 17, for keypoints of other names."""

TORSO = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
FOUND = 0.5


def sigmas_of(category: Category) -> tuple[float, ...]:
    """The constants of object keypoint similarity: the category's own, else by the names of its keypoints."""
    names = (name.lower().removeprefix("left_").removeprefix("right_").split("_")[0] for name in category.keypoints)
    return category.sigmas or tuple(SIGMAS.get(name, OTHER_SIGMA) for name in names)


class KeypointAP:
    """AP and AR of keypoints, one picture at a time, each category with its own keypoints and sigmas.

    `compute` gives ``keypoints/AP`` (mean over OKS .50:.05:.95 and over the categories that have keypoints), ``AP50``,
    ``AP75``, ``APm``, ``APl``, and the same of ``AR``, equal to pycocotools where it can do the category. Of a picture
    the 20 best detections of a category count. Objects without a labelled keypoint are neither to be found nor
    mistakes; pictures whose truth has no keypoints at all are left out.
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self._streams = {label: _stream(category) for label, category in enumerate(categories) if category.keypoints}
        self._images = 0
        self._annotations = 0

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: scores, boxes or keypoints that are missing or not finite; other classes.
        """
        check_pair(predicted, truth, self.categories)
        if truth.regions.keypoints is None and len(truth.regions):
            return
        self._images += 1
        h, w = truth.size
        for label, stream in self._streams.items():
            annotated = self._records(truth, label)
            for record in annotated:
                self._annotations += 1
                record["id"] = self._annotations  # COCOeval takes id 0 for "no match"
            stream.update([{"id": self._images, "width": w, "height": h}], annotated, self._records(predicted, label))

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        parts = [summarize(copy.copy(stream).finalize(), "keypoints") for stream in self._streams.values()]
        names = dict.fromkeys(name for part in parts for name in part)
        values = {name: [part[name] for part in parts if name in part] for name in names}
        return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}

    def _records(self, scene: Scene, label: int) -> list[dict[str, Any]]:
        """COCO's annotation, or result without a box, for each region of a category."""
        regions = scene.regions.select(scene.regions.labels == label)
        points = category_points(scene, label)
        flat = move_points(points.double(), -PIXEL_CENTRE).flatten(1).tolist()
        shared = {"image_id": self._images, "category_id": self.categories[label].id}
        if regions.scores is not None:  # without a box, as COCO derives the size from the keypoints
            rows = zip(flat, regions.scores.tolist(), strict=True)
            return [{**shared, "keypoints": row, "score": score} for row, score in rows]
        crowd = torch.zeros(len(regions)) if regions.crowd is None else regions.crowd
        columns = {
            "keypoints": flat,
            "num_keypoints": (points[..., 2] > 0).sum(1).tolist(),
            "area": object_areas(regions).tolist(),
            "bbox": xywh(regions.boxes).tolist(),
            "iscrowd": crowd.long().tolist(),
        }
        return [{**shared, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]


class PCK:
    """Percentage of correct keypoints: those within ``alpha`` times the torso (Yang & Ramanan 2013; LSP's convention).

    The torso is the distance from the left shoulder to the right hip, else from the right shoulder to the left hip;
    objects without either are left out. An object is judged by the best detection of its category whose box has an
    IoU of one half with its own; without any, all its labelled keypoints are wrong. `compute` gives
    ``keypoints/PCK_0.2`` for ``alpha`` 0.2, in [0, 1]: the share of right ones among all labelled keypoints.
    """

    def __init__(self, categories: Categories, alpha: float = 0.2) -> None:
        self.categories, self.alpha = categories, alpha
        self._right = self._labelled = 0

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture; raises as `KeypointAP.update`."""
        check_pair(predicted, truth, self.categories)
        if truth.regions.keypoints is None:
            return
        for label, category in enumerate(self.categories):
            if category.keypoints:
                self._count(predicted, truth, label)

    def compute(self) -> dict[str, float]:
        """The share so far; nothing where no keypoint could be judged."""
        return {f"keypoints/PCK_{self.alpha:g}": self._right / self._labelled} if self._labelled else {}

    def _count(self, predicted: Scene, truth: Scene, label: int) -> None:
        regions = truth.regions.select(truth.regions.labels == label)
        goals = category_points(truth, label)  # (N, K, 3)
        torso = torso_lengths(goals, self.categories[label].keypoints)
        judged = torso > 0 if regions.crowd is None else (torso > 0) & ~regions.crowd
        counted = (goals[..., 2] > 0) & judged[:, None]
        self._labelled += int(counted.sum())
        found = predicted.regions.select(predicted.regions.labels == label)
        if not len(found) or not len(regions) or found.scores is None:
            return
        overlap = box_iou(regions.boxes, found.boxes) >= FOUND  # (N, D)
        best = torch.where(overlap, found.scores, -torch.inf).argmax(1)
        distance = (category_points(predicted, label)[best] - goals)[..., :2].norm(dim=2)
        right = counted & overlap.any(1)[:, None] & (distance <= self.alpha * torso[:, None])
        self._right += int(right.sum())


def torso_lengths(points: Tensor, names: Sequence[str]) -> Tensor:
    """(N,) pixels from shoulder to opposite hip of keypoints (N, K, 3) with these names; 0 where they are not known."""
    lengths = points.new_zeros(len(points))
    for pair in reversed(TORSO):
        if set(pair) <= set(names):
            shoulder, hip = (points[:, names.index(name)] for name in pair)
            known = (shoulder[:, 2] > 0) & (hip[:, 2] > 0)
            lengths = torch.where(known, (shoulder - hip)[:, :2].norm(dim=1), lengths)
    return lengths


def category_points(scene: Scene, label: int) -> Tensor:
    """(N, K, 3) keypoints of a scene's regions of one category, K being the category's own number."""
    own = scene.regions.labels == label
    count = len(scene.categories[label].keypoints)
    points = scene.regions.keypoints
    if points is None:
        points = scene.regions.boxes.new_zeros(len(own), count, 3)
    return torch.nn.functional.pad(points[own], (0, 0, 0, count - points.shape[1]))  # also cuts


def check_pair(predicted: Scene, truth: Scene, categories: Categories) -> None:
    """Raise `DataError` unless both have the metric's classes and the predictions finite scores and keypoints."""
    names = [category.keypoints for category in categories]
    for scene in (predicted, truth):
        check_classes(scene, categories)
        if [category.keypoints for category in scene.categories] != names:
            what = "its classes have other keypoints than the metric's"
            raise DataError(what, where=scene.file, cure="use one list of categories")
    check_predictions(predicted)
    points, labels = predicted.regions.keypoints, set(predicted.regions.labels.tolist())
    missing = points is None and any(categories[label].keypoints for label in labels)
    if missing or (points is not None and not bool(points.isfinite().all())):
        raise DataError("predictions without finite keypoints", where=predicted.file, cure="give each region some")


def _stream(category: Category) -> StreamingEval:
    params = Params("keypoints")
    params.kpt_oks_sigmas = list(sigmas_of(category))
    return StreamingEval([{"id": category.id, "name": category.name}], "keypoints", params=params)
