"""How often the one word for a picture is right."""

from __future__ import annotations

from segue.metrics.checks import check_classes
from segue.structures import Categories, Scene


class LabelAccuracy:
    """``label/top1``: the share of labelled pictures whose predicted label is theirs.

    A picture without a true label does not count; one without a predicted label is wrong.

    Args:
        categories: of truth and predictions alike.
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self._right: list[bool] = []

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture; raises `DataError` for other classes."""
        for scene in (predicted, truth):
            check_classes(scene, self.categories)
        if truth.label is not None:
            self._right.append(predicted.label == truth.label)

    def compute(self) -> dict[str, float]:
        """The number so far; none without a labelled picture."""
        return {"label/top1": sum(self._right) / len(self._right)} if self._right else {}
