"""Scores of semantic maps: IoU and accuracy from one confusion matrix over the whole data set, and boundary F1."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.errors import DataError
from segue.metrics.boundary import boundary_f1
from segue.metrics.checks import check_classes
from segue.structures import Categories, Scene


class SemanticScores:
    """Scores of semantic maps, one picture at a time; pixels without truth do not count.

    `compute` gives, with the counts of all pictures added up before any division:
    ``semantic/mIoU``, the mean IoU of the classes that occur in truth or prediction, and ``semantic/IoU_NAME`` of each;
    ``semantic/accuracy``, the share of pixels that are right; ``semantic/class_accuracy``, its mean over the classes of
    the truth; ``semantic/fwIoU``, the mean IoU weighted by pixels of truth (Long et al., CVPR 2015, section 5); and
    ``semantic/boundary_F1``, the mean of `boundary_f1` over the pictures that have a boundary. A pixel predicted as no
    class (-1) is wrong. What would be 0 / 0 is left out: everything where no pixel has a truth.

    Args:
        categories: of truth and predictions alike.

    Attributes:
        counts: (K, K + 1) int64 pixels so far, true class by predicted class; the last column is "no class".
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self.counts = torch.zeros(len(categories), len(categories) + 1, dtype=torch.int64)
        self._boundaries: list[float] = []

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: other classes, different sizes, a scene without a semantic map, or labels outside the classes.
        """
        if predicted.size != truth.size:
            what = f"the prediction is {predicted.size}, the annotation {truth.size}"
            raise DataError(what, where=truth.file or predicted.file, cure="predict on the picture as it was annotated")
        found, real = (labels_of(scene, self.categories) for scene in (predicted, truth))
        self.counts += confusion(found, real, len(self.categories))
        f1 = boundary_f1(found, real, len(self.categories))
        self._boundaries += [] if f1 is None else [f1]

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        counts = self.counts.double()
        true, total = counts.sum(1), counts.sum()
        if not total:
            return {}
        hits, values = counts.diagonal(), iou(counts)
        seen, occurs = true > 0, ~values.isnan()
        numbers = {
            "mIoU": values[occurs].mean(),
            "accuracy": hits.sum() / total,
            "class_accuracy": (hits / true)[seen].mean(),
            "fwIoU": (true * values)[seen].sum() / total,
        }
        if self._boundaries:
            numbers["boundary_F1"] = torch.tensor(self._boundaries, dtype=torch.float64).mean()
        names = [category.name for category in self.categories]
        numbers |= {f"IoU_{name}": value for name, value, ok in zip(names, values, occurs, strict=True) if ok}
        return {f"semantic/{name}": float(value) for name, value in numbers.items()}


def labels_of(scene: Scene, categories: Categories) -> Tensor:
    """(H, W) int64 semantic map of a scene, on the CPU; raises `DataError` as `SemanticScores.update`."""
    check_classes(scene, categories)
    if scene.semantic is None:
        raise DataError("no semantic map", where=scene.file, cure="score pictures that have one")
    if scene.semantic.is_floating_point():
        raise DataError(f"a semantic map of {scene.semantic.dtype}", where=scene.file, cure="use whole class indices")
    labels = scene.semantic.detach().cpu().long()
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= len(categories):
        what = f"label {low if low < -1 else high} is none of the {len(categories)} classes"
        raise DataError(what, where=scene.file, cure="use -1 for pixels without a class")
    return labels


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(K, K + 1) int64 pixels of each true class predicted as each class, or as none in the last column.

    Args:
        predicted: int64 class indices, -1 for no class.
        truth: of the same shape; -1 is left out.
        classes: K.
    """
    known = truth >= 0
    found = predicted[known]
    cells = truth[known] * (classes + 1) + found.where(found >= 0, classes)
    return torch.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou(counts: Tensor) -> Tensor:
    """(K,) float64 intersection over union of each class from (K, K) or (K, K + 1) counts; NaN where there is none."""
    counts = counts.double()
    hits = counts.diagonal()
    return hits / (counts.sum(1) + counts[:, : len(counts)].sum(0) - hits)
