"""Average precision of meshes, and of boxes and masks of the same objects (Mesh R-CNN, ICCV 2019, section 4.2).

The rules are those of the released evaluation (``pix3d_evaluation.py``, ``metrics.py``), which knows one object per
picture, and their like for pictures with several.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segue.errors import DataError, UsageError
from segue.metrics.checks import check_classes, check_predictions
from segue.metrics.ranking import all_point_ap, greedy
from segue.metrics.shapes import MESH_RCNN, SAMPLES, ShapeScores, has_surface, score_pairs
from segue.ops.boxes import box_iou, crowd_iou
from segue.ops.masks import mask_iou
from segue.ops.placing import placed
from segue.structures import Categories, Mesh, Regions, Scene

OVERLAP = 0.5  # IoU of boxes and masks that are right
RIGHT = 0.5  # F1 of meshes that are right,
RIGHT_AT = 0.3  # at this distance
PENDING = 64  # pairs of meshes that wait to be scored together: no more, or they would fill the memory
COLUMNS = ("chamfer", "normals", *(f"F1_{t:g}" for t in MESH_RCNN.thresholds))


@dataclass(frozen=True)
class Protocol:
    """Which predictions are looked at.

    Attributes:
        near: the IoU of boxes from which on a mesh can be that of an object of its class, at most a half.
        counted: the IoU of boxes with an object of any class from which on a prediction exists; None counts all.
        equal: whether an IoU equal to a limit reaches it.
    """

    near: float
    counted: float | None
    equal: bool

    def __post_init__(self) -> None:
        if not 0 < self.near <= OVERLAP:
            raise UsageError(f"near is {self.near}", cure=f"give an IoU above 0 and up to {OVERLAP}")

    def reaches(self, iou: Tensor, limit: float) -> Tensor:
        """Where an IoU is enough; bool of its shape."""
        return iou >= limit if self.equal else iou > limit


SEGUE = Protocol(near=0.5, counted=None, equal=True)
"""Of pictures whose objects are all annotated: the mesh must be right and in a box that is, and boxes as in COCO."""

PIX3D = Protocol(near=0.3, counted=0.3, equal=False)
"""As published, where one object of a picture is annotated of many that may be there."""


@dataclass(frozen=True)
class _Picture:
    """P predictions of a picture, the surest first, and its T objects.

    Attributes:
        labels: (P,) int64.
        scores: (P,).
        excused: (P,) bool, lies on what does not count.
        objects: (T,) int64 labels.
        boxes: (P, T) float64 IoU, 0 where the classes differ.
        masks: (P, T) likewise; None where masks are missing.
        near: (P, T) bool, the meshes are compared.
        first: place of the first compared pair among those of all pictures; the others follow, row by row.
    """

    labels: Tensor
    scores: Tensor
    excused: Tensor
    objects: Tensor
    boxes: Tensor
    masks: Tensor | None
    near: Tensor
    first: int

    def spread(self, values: Tensor) -> Tensor:
        """(P, T, ...): of a table (S, ...) over the pairs of all pictures, the rows of this one's pairs; else 0."""
        own = values.new_zeros(*self.near.shape, *values.shape[1:])
        own[self.near] = values[self.first : self.first + int(self.near.sum())]
        return own


class MeshAP:
    """Average precision of meshes and how near they come, one picture at a time.

    `compute` gives ``meshes/AP``, ``meshes/AP_box`` and ``meshes/AP_mask`` in [0, 1]: the area under the curve of
    precision, made monotone, over recall, the mean over the classes that occur. By falling score, each prediction
    takes the free object of its class that its box (for masks: its mask) overlaps most of those for which it is right:
    where the boxes' IoU is a half; where the masks' is; for meshes, where F1 at 0.3 is above a half and the boxes are
    near each other (`Protocol`). Each of the three takes for itself. AP_mask is left out where masks are missing.

    ``meshes/chamfer``, ``meshes/normals``, ``meshes/F1_0.1``, ``F1_0.3`` and ``F1_0.5`` are means over the objects
    whose boxes are found, as of `ShapeScores`, at a size where the object's longest edge is 10. Predictions without any
    surface have an F1 of 0 and are not among the first two.

    A picture does not tell how far away an object stands. Each prediction is therefore `placed` where the middle of the
    object is that it is compared with, and seen by its camera; the extent in depth stays the prediction's.

    Crowds, and objects whose mesh has no surface, as their shape is not known, are neither found nor missed, and
    predictions of their class on them are not in vain. Pictures whose truth has regions but no meshes are left out.

    Args:
        categories: of truth and predictions alike.
        protocol: `SEGUE` or `PIX3D`. Two pictures of Pix3D do not count in its tables; its reader knows them.
        samples: points on each surface.
    """

    def __init__(self, categories: Categories, protocol: Protocol = SEGUE, samples: int = SAMPLES) -> None:
        self.categories, self.protocol, self.samples = categories, protocol, samples
        self._pictures: list[_Picture] = []
        self._pending: list[tuple[Mesh, Mesh]] = []
        self._shapes: list[ShapeScores] = []

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: predictions without finite scores or boxes, or without meshes; other classes.
        """
        for scene in (predicted, truth):
            check_classes(scene, self.categories)
        check_predictions(predicted)
        if truth.regions.meshes is None and len(truth.regions):
            return
        if predicted.regions.meshes is None and len(predicted.regions):
            raise DataError("regions without meshes cannot be scored", where=predicted.file, cure="give all a mesh")
        objects, rest = _divided(truth.regions.to("cpu"))
        found = _counted(predicted.regions.to("cpu"), objects, self.protocol)
        picture = _compared(found, objects, rest, self.protocol, len(self._shapes) + len(self._pending))
        self._pictures.append(picture)
        guesses, goals = found.meshes or [], objects.meshes or []
        self._pending += [(_aligned(guesses[p], goals[t]), goals[t]) for p, t in picture.near.nonzero().tolist()]
        if len(self._pending) >= PENDING:
            self._score()

    def compute(self) -> dict[str, float]:
        """The numbers so far; nothing where there is nothing to find."""
        self._score()
        if not any(len(picture.objects) for picture in self._pictures):
            return {}
        rows = [(shape.chamfer, shape.normals, *shape.f1) for shape in self._shapes]
        tables = [p.spread(torch.tensor(rows, dtype=torch.float64).view(-1, len(COLUMNS))) for p in self._pictures]
        f1 = COLUMNS.index(f"F1_{RIGHT_AT:g}")
        right = self.protocol.reaches
        boxes = [greedy(p.boxes, right(p.boxes, OVERLAP)) for p in self._pictures]
        masks = [greedy(p.masks, right(p.masks, OVERLAP)) for p in self._pictures if p.masks is not None]
        meshes = [greedy(p.boxes, t[..., f1] > RIGHT) for p, t in zip(self._pictures, tables, strict=True)]
        numbers = {"meshes/AP": self._mean_ap(meshes), "meshes/AP_box": self._mean_ap(boxes)}
        if len(masks) == len(boxes):
            numbers["meshes/AP_mask"] = self._mean_ap(masks)
        matched = torch.cat([t[taken >= 0, taken[taken >= 0]] for t, taken in zip(tables, boxes, strict=True)])
        return numbers | {
            f"meshes/{name}": float(values.nanmean())
            for name, values in zip(COLUMNS, matched.unbind(1), strict=True)
            if not bool(values.isnan().all())
        }

    def _score(self) -> None:
        """Score the pairs that wait."""
        self._shapes += score_pairs(self._pending, MESH_RCNN, self.samples)
        self._pending.clear()

    def _mean_ap(self, taken: list[Tensor]) -> float:
        """From the object (P,) of each prediction of each picture, or -1."""
        hit = torch.cat(taken) >= 0
        counts = hit | ~torch.cat([picture.excused for picture in self._pictures])
        scores = torch.cat([picture.scores for picture in self._pictures])
        labels = torch.cat([picture.labels for picture in self._pictures])
        order = scores[counts].argsort(descending=True, stable=True)
        hit, labels = hit[counts][order], labels[counts][order]
        totals = torch.cat([picture.objects for picture in self._pictures]).bincount().tolist()
        values = [all_point_ap(hit[labels == label], total) for label, total in enumerate(totals) if total]
        return sum(values) / len(values)


def _divided(regions: Regions) -> tuple[Regions, Regions]:
    """The objects to find, and those that do not count."""
    known = torch.tensor([has_surface(mesh) for mesh in regions.meshes or []], dtype=torch.bool)
    known = known if regions.crowd is None else known & ~regions.crowd
    return regions.select(known), regions.select(~known)


def _counted(found: Regions, objects: Regions, protocol: Protocol) -> Regions:
    """The predictions that exist, the surest first."""
    if found.scores is None:
        return found
    found = found.select(found.scores.argsort(descending=True, stable=True))
    if protocol.counted is None:
        return found
    return found.select(protocol.reaches(_box_iou(found, objects), protocol.counted).any(1))


def _compared(found: Regions, objects: Regions, rest: Regions, protocol: Protocol, first: int) -> _Picture:
    same = found.labels[:, None] == objects.labels
    boxes = _box_iou(found, objects) * same
    masks = _mask_iou(found, objects)
    crowd = torch.zeros(len(rest), dtype=torch.bool) if rest.crowd is None else rest.crowd
    on_rest = torch.where(crowd, crowd_iou(found.boxes.double(), rest.boxes.double()), _box_iou(found, rest))
    return _Picture(
        labels=found.labels,
        scores=found.boxes.new_zeros(0) if found.scores is None else found.scores,
        excused=(protocol.reaches(on_rest, OVERLAP) & (found.labels[:, None] == rest.labels)).any(1),
        objects=objects.labels,
        boxes=boxes,
        masks=None if masks is None else masks * same,
        near=protocol.reaches(boxes, protocol.near),
        first=first,
    )


def _box_iou(a: Regions, b: Regions) -> Tensor:
    return box_iou(a.boxes.double(), b.boxes.double())


def _mask_iou(a: Regions, b: Regions) -> Tensor | None:
    """(N, M) float64; None where regions have no masks."""
    if not len(a) or not len(b):
        missing = any(len(regions) and regions.masks is None for regions in (a, b))
        return None if missing else torch.zeros(len(a), len(b), dtype=torch.float64)
    return None if a.masks is None or b.masks is None else mask_iou(a.masks, b.masks).double()


def _aligned(guess: Mesh, goal: Mesh) -> Mesh:
    """A prediction where the object is that it is compared with, as far as that has a camera and is ahead of it."""
    middle = sum(goal.depths) / 2
    camera = goal.camera or guess.camera
    return guess if camera is None or middle <= 0 else placed(guess, camera, middle)
