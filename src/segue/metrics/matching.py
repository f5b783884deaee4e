"""How many objects are found: TP / (TP + FP + FN), the score of cell segmentation.

As StarDist's ``matching_dataset`` counts it (Schmidt et al. 2018, section 3; github.com/stardist/stardist,
``matching.py``): in each picture predictions and objects are paired one to one so that as many pairs as possible
overlap enough; counts are summed over the data set before the division.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segue.metrics.checks import check_classes, check_predictions, masks_of
from segue.ops.masks import mask_intersection, mask_iou
from segue.structures import Categories, Scene

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 95, 5))  # .5, .55, ... .9
SCORE_THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))


class Counts(NamedTuple):
    """Objects found, predictions in vain, objects missed."""

    tp: int
    fp: int
    fn: int


class ImageCounts(NamedTuple):
    """The counts of one picture at the lowest IoU threshold."""

    file: str | None
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Overlap:
    """How P predictions of a picture lie over its T annotated objects, crowds not among them.

    Attributes:
        iou: (P, T) mask IoU, 0 where the classes differ.
        scores: (P,).
        in_crowd: (P,) bool, more than half of the prediction lies in crowd regions of its class.
    """

    iou: NDArray[Any]
    scores: NDArray[Any]
    in_crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, predicted: Scene, truth: Scene) -> Overlap:
        """Compare one picture; raises `DataError` for predictions without finite scores, and regions without masks."""
        check_predictions(predicted)
        masks, objects, regions = masks_of(predicted), masks_of(truth), predicted.regions
        same = regions.labels[:, None] == truth.regions.labels  # (P, T)
        crowd = truth.regions.crowd
        crowd = torch.zeros_like(truth.regions.labels, dtype=torch.bool) if crowd is None else crowd
        inside = (mask_intersection(masks, objects[crowd]) * same[:, crowd]).sum(1)  # pixels
        iou = mask_iou(masks, objects[~crowd]) * same[:, ~crowd]
        scores = regions.boxes.new_zeros(0) if regions.scores is None else regions.scores
        return cls(iou.numpy(force=True), scores.numpy(force=True), (inside > 0.5 * masks.area).numpy(force=True))

    def count(self, iou_threshold: float, score_threshold: float) -> Counts:
        """Pair one to one, as many as reach the IoU as possible. Unpaired predictions in a crowd do not count."""
        from scipy.optimize import linear_sum_assignment  # half a second, which predicting need not wait for

        kept = self.scores >= score_threshold
        iou, in_crowd = self.iou[kept], self.in_crowd[kept]
        enough = iou >= iou_threshold
        gain = enough + iou / (2 * max(1, *iou.shape))  # one more pair outweighs any better overlap
        rows, columns = linear_sum_assignment(gain, maximize=True)
        paired = rows[enough[rows, columns]]
        in_vain = ~in_crowd
        in_vain[paired] = False
        return Counts(len(paired), int(in_vain.sum()), iou.shape[1] - len(paired))


class Matching:
    """TP / (TP + FP + FN) of masks, one picture at a time.

    `compute` gives ``matching/AP50`` ... ``matching/AP90``, their mean ``matching/AP``, and at the IoU of .5
    ``matching/precision50`` and ``matching/recall50``. Counts are added over classes; a prediction can only find
    an object of its class. What would be 0 / 0 is left out: ``recall50`` where there are no objects, say.

    Args:
        categories: of truth and predictions alike.
        iou_thresholds: rising.
        threshold: predictions with a lower score do not exist; `best_threshold` chooses it on data.
    """

    def __init__(
        self, categories: Categories, iou_thresholds: Sequence[float] = IOU_THRESHOLDS, threshold: float = 0.5
    ) -> None:
        self.categories, self.iou_thresholds, self.threshold = categories, tuple(iou_thresholds), threshold
        self.images: list[ImageCounts] = []
        self._sums = np.zeros((len(self.iou_thresholds), 3), np.int64)  # TP, FP, FN

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture; raises `DataError` as `Overlap.of`, and for other classes."""
        for scene in (predicted, truth):
            check_classes(scene, self.categories)
        overlap = Overlap.of(predicted, truth)
        counts = [overlap.count(t, self.threshold) for t in self.iou_thresholds]
        self._sums += np.array(counts)
        self.images.append(ImageCounts(truth.file or predicted.file, *counts[0]))

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        if not self._sums.any():
            return {}
        scores = self._sums[:, 0] / self._sums.sum(1)
        names = [f"{100 * t:.0f}" for t in self.iou_thresholds]
        numbers = {"matching/AP": float(scores.mean())}
        numbers |= {f"matching/AP{name}": float(score) for name, score in zip(names, scores, strict=True)}
        tp, fp, fn = self._sums[0].tolist()
        parts = {"precision": tp + fp, "recall": tp + fn}
        return numbers | {f"matching/{part}{names[0]}": tp / total for part, total in parts.items() if total}

    def worst(self, count: int = 10) -> list[ImageCounts]:
        """The pictures with the lowest TP / (TP + FP + FN) at the lowest IoU threshold, worst first."""
        return sorted(self.images, key=lambda image: (_accuracy(image[1:]), -image.fp - image.fn))[:count]


def best_threshold(
    pairs: Iterable[tuple[Scene, Scene]], candidates: Sequence[float] = SCORE_THRESHOLDS, iou_threshold: float = 0.5
) -> tuple[float, float]:
    """The score threshold with the highest TP / (TP + FP + FN), and that value; the lowest of equals.

    One pass over ``pairs`` of prediction (with all its scores) and truth.
    """
    sums = np.zeros((len(candidates), 3), np.int64)
    for predicted, truth in pairs:
        overlap = Overlap.of(predicted, truth)
        sums += np.array([overlap.count(iou_threshold, score) for score in candidates])
    values = [_accuracy(row) for row in sums.tolist()]
    best = max(range(len(candidates)), key=lambda i: values[i])
    return candidates[best], values[best]


def _accuracy(counts: Sequence[int]) -> float:
    """TP / (TP + FP + FN); 1 where there is nothing to find and nothing was predicted."""
    return counts[0] / sum(counts) if any(counts) else 1.0
