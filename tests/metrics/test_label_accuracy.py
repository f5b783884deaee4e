"""How often the label of a picture is right."""

import pytest

from segue.errors import DataError
from segue.metrics.label import LabelAccuracy
from segue.structures import Categories, Regions, Scene

CATEGORIES = Categories.from_names(["mug", "car"])


def scene(label: str | None, categories: Categories = CATEGORIES) -> Scene:
    return Scene((4, 6), categories, Regions.empty(), label=label)


def test_the_share_of_labelled_pictures_that_are_right() -> None:
    metric = LabelAccuracy(CATEGORIES)
    assert metric.compute() == {}
    for predicted, truth in [("mug", "mug"), ("car", "mug"), (None, "car"), ("car", "car"), ("mug", None)]:
        metric.update(scene(predicted), scene(truth))
    assert metric.compute() == {"label/top1": 0.5}


def test_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="its classes are not those of the metric"):
        LabelAccuracy(CATEGORIES).update(scene("mug"), scene("mug", Categories.from_names(["mug"])))
