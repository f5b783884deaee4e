"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019), with the numbers of COCO's panopticapi."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.errors import DataError
from segue.metrics.checks import check_classes
from segue.ops.panoptic import check_areas, map_runs
from segue.structures import Categories, Scene, Segments


class PanopticQuality:
    """Panoptic, segmentation and recognition quality, one picture at a time.

    `compute` gives ``panoptic/PQ``, ``panoptic/SQ`` and ``panoptic/RQ``: means over the classes that occur in truth or
    prediction, each from its sums over all pictures; the same over things and over stuff with ``_things`` and
    ``_stuff`` at the end. What would be 0 / 0 is left out.

    Args:
        categories: of truth and predictions alike.

    Attributes:
        sums: (K, 4) float64 so far, as of `panoptic_sums`; `panoptic_quality` makes the numbers of each class of it.
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self.sums = torch.zeros(len(categories), 4, dtype=torch.float64)

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: other classes, different sizes, a scene without a panoptic map, or a map and segments that
                disagree.
        """
        if predicted.size != truth.size:
            what = f"the prediction is {predicted.size}, the annotation {truth.size}"
            raise DataError(what, where=truth.file or predicted.file, cure="predict on the picture as it was annotated")
        (found, segments), (real, annotated) = (_panoptic(scene, self.categories) for scene in (predicted, truth))
        try:
            self.sums += panoptic_sums(found, segments, real, annotated, len(self.categories))
        except DataError as error:
            raise DataError(error.what, where=truth.file or predicted.file, cure=error.cure) from None

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        things = torch.tensor([category.isthing for category in self.categories], dtype=torch.bool)
        numbers: dict[str, float] = {}
        for ending, group in (("", torch.ones_like(things)), ("_things", things), ("_stuff", ~things)):
            occurs = group & (self.sums[:, 1:].sum(1) > 0)
            if bool(occurs.any()):
                means = panoptic_quality(self.sums[occurs]).mean(0).tolist()
                numbers |= {
                    f"panoptic/{name}{ending}": mean for name, mean in zip(("PQ", "SQ", "RQ"), means, strict=True)
                }
        return numbers


def panoptic_quality(sums: Tensor) -> Tensor:
    """(K, 3) PQ, SQ and RQ of each class from its `panoptic_sums` (K, 4); 0 for a class that does not occur."""
    iou, hits, extra, missed = sums.unbind(1)
    total = (hits + extra / 2 + missed / 2).clamp(min=0.5)
    return torch.stack([iou / total, iou / hits.clamp(min=1), hits / total], dim=1)


def panoptic_sums(predicted: Tensor, found: Segments, truth: Tensor, annotated: Segments, classes: int) -> Tensor:
    """(K, 4) float64 for each class: sum of the IoUs of its matches, their number, and its FP and FN.

    Segments of one class with an IoU over 1/2 match; there is one such partner at most. Void (0 in the truth) does not
    count in the union, nor as a false positive a segment that lies on void and crowd of its class for more than half.
    Of several crowd segments of a class in one picture only the last counts so, as in panopticapi.

    Args:
        predicted: (H, W) int32 or int64 map on the CPU.
        found: its segments.
        truth: likewise.
        annotated: its segments, with their areas as annotated; those that are None are counted.
        classes: K.

    Raises:
        DataError: a number that is in a map and not among its segments, or the other way round.
    """
    shared = _shared(predicted, found, truth, annotated)  # numpy: the steps are many and small
    labels, known, crowd = (t.numpy() for t in (found.labels, annotated.labels, annotated.is_crowd()))
    area, on_void, both = shared.sum(0)[1:], shared[0, 1:], shared[1:, 1:]
    real = shared.sum(1)[1:] if annotated.areas is None else annotated.areas.numpy()
    with np.errstate(divide="ignore", invalid="ignore"):  # annotated areas may be anything
        iou = both / (area + real[:, None] - both - on_void)
    matches = (iou > 0.5) & (known[:, None] == labels) & ~crowd[:, None]
    last = np.full(classes, -1)
    np.maximum.at(last, known[crowd], np.flatnonzero(crowd))
    row = last[labels]
    on_crowd = shared[row + 1, np.arange(len(found)) + 1] * (row >= 0)
    extra = ~matches.any(0) & ~((on_void + on_crowd) / area > 0.5)
    missed = ~matches.any(1) & ~crowd
    owner = known[matches.nonzero()[0]]
    counts = [np.bincount(of, minlength=classes) for of in (owner, labels[extra], known[missed])]
    overlaps = np.bincount(owner, iou[matches], minlength=classes)
    return torch.from_numpy(np.stack([overlaps, *counts], axis=1)).double()  # without segments they are whole numbers


def _shared(predicted: Tensor, found: Segments, truth: Tensor, annotated: Segments) -> NDArray[np.float64]:
    """(N + 1, M + 1) pixels of each true segment on each predicted one; row and column 0 are void."""
    lengths, (real, ids) = map_runs(truth, predicted)
    n, m = len(annotated) + 1, len(found) + 1
    cells = (annotated.places(real) + 1) * m + found.places(ids) + 1
    shared = cells.bincount(lengths.double(), minlength=n * m).view(n, m)
    check_areas(shared.sum(1)[1:], annotated)
    check_areas(shared.sum(0)[1:], found)
    return shared.numpy()


def _panoptic(scene: Scene, categories: Categories) -> tuple[Tensor, Segments]:
    """(H, W) panoptic map of a scene and its segments, on the CPU."""
    check_classes(scene, categories)
    if scene.panoptic is None or scene.segments is None:
        raise DataError("no panoptic map", where=scene.file, cure="score pictures that have one")
    if scene.panoptic.is_floating_point():
        raise DataError(f"a panoptic map of {scene.panoptic.dtype}", where=scene.file, cure="use whole segment ids")
    return scene.panoptic.detach().cpu(), scene.segments.to("cpu")
