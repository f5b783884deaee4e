from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_scenes import CLASSES, scene

from segue.errors import DataError
from segue.metrics.matching import Matching, Overlap, best_threshold
from segue.structures import Categories, Scene

LEFT, RIGHT, BOTH = (10, 10, 20, 20), (20, 10, 30, 20), (10, 10, 30, 20)


def score(predicted: Scene, truth: Scene, **options: Any) -> dict[str, float]:
    metric = Matching(CLASSES, **options)
    metric.update(predicted, truth)
    return metric.compute()


@pytest.mark.parametrize(
    ("predicted", "objects", "values"),
    [
        ([LEFT, RIGHT], [LEFT, RIGHT], {"AP50": 1.0, "AP90": 1.0, "AP": 1.0, "precision50": 1.0, "recall50": 1.0}),
        ([(12, 10, 22, 20)], [LEFT], {"AP50": 1.0, "AP65": 1.0, "AP70": 0.0, "AP": 4 / 9}),  # shifted: IoU 80 / 120
        ([LEFT, RIGHT], [BOTH], {"AP50": 1 / 2, "AP55": 0.0, "precision50": 0.5, "recall50": 1.0}),  # split
        ([BOTH], [LEFT, RIGHT], {"AP50": 1 / 2, "AP55": 0.0, "precision50": 1.0, "recall50": 0.5}),  # merged
        ([LEFT, LEFT], [LEFT], {"AP50": 1 / 2, "AP90": 1 / 2}),  # found twice
        ([], [LEFT], {"AP50": 0.0, "AP": 0.0, "recall50": 0.0}),
        ([LEFT], [], {"AP50": 0.0, "AP": 0.0, "precision50": 0.0}),
    ],
    ids=["perfect", "shifted", "split", "merged", "twice", "empty prediction", "empty truth"],
)
def test_by_hand(predicted: Any, objects: Any, values: dict[str, float]) -> None:
    numbers = score(scene(predicted, [0.9] * len(predicted)), scene(objects))
    assert {name: numbers[f"matching/{name}"] for name in values} == pytest.approx(values)
    assert ("matching/precision50" in numbers) == bool(predicted)
    assert ("matching/recall50" in numbers) == bool(objects)


def test_empty_input() -> None:
    assert Matching(CLASSES).compute() == {}
    assert score(scene([], []), scene([])) == {}


@pytest.mark.parametrize("percent", range(50, 95, 5))
def test_an_iou_equal_to_the_threshold_is_enough(percent: int) -> None:
    numbers = score(scene([(0, 0, percent, 1)], [0.9]), scene([(0, 0, 100, 1)]))
    assert [numbers[f"matching/AP{p}"] for p in range(50, 95, 5)] == [float(p <= percent) for p in range(50, 95, 5)]


def test_more_pairs_beat_better_pairs() -> None:
    # The first prediction overlaps the first object best (10 / 12); only with the second object are there two pairs.
    objects = [(0, 0, 10, 1), (4, 0, 14, 1)]
    predicted = [(0, 0, 12, 1), (0, 0, 7, 1)]  # IoU 10/12 and 8/14; 7/10 and 3/14
    numbers = score(scene(predicted, [0.9, 0.8]), scene(objects))
    assert numbers["matching/AP50"] == 1.0
    assert numbers["matching/AP60"] == pytest.approx(1 / 3)


spans = st.tuples(st.integers(0, 8), st.integers(1, 8)).map(lambda pair: (pair[0], 0, pair[0] + pair[1], 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(spans, max_size=4), st.lists(spans, max_size=4), st.sampled_from([0.5, 0.65, 0.8]))
def test_pairing_is_the_best_of_all(predicted: list[Any], objects: list[Any], threshold: float) -> None:
    def iou(a: Any, b: Any) -> float:
        shared = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        return shared / (a[2] - a[0] + b[2] - b[0] - shared)

    few, many = sorted([predicted, objects], key=len)
    best = max(sum(iou(a, b) >= threshold for a, b in zip(few, p, strict=False)) for p in permutations(many))
    counts = Overlap.of(scene(predicted, [0.9] * len(predicted)), scene(objects)).count(threshold, 0.5)
    assert counts == (best, len(predicted) - best, len(objects) - best)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.permutations(range(3)))
def test_order_does_not_matter(first: list[int], second: list[int]) -> None:
    predicted, objects = [LEFT, (11, 10, 22, 20), BOTH, (40, 40, 60, 60)], [LEFT, RIGHT, (41, 41, 60, 60)]
    scores = [0.9, 0.8, 0.7, 0.6]
    turned = scene([predicted[i] for i in first], [scores[i] for i in first])
    assert score(turned, scene([objects[i] for i in second])) == score(scene(predicted, scores), scene(objects))


def test_the_right_place_with_the_wrong_class_is_wrong_twice() -> None:
    metric = Matching(CLASSES)
    metric.update(scene([LEFT], [0.9], labels=[1]), scene([LEFT], labels=[0]))
    assert metric.images[0][1:] == (0, 1, 1)


def test_crowds_excuse_and_are_not_missed() -> None:
    truth = scene([LEFT, (50, 0, 100, 50)], crowd=[False, True])
    inside, across, outside = (60, 10, 70, 20), (46, 10, 56, 20), (40, 10, 54, 20)  # 100 %, 60 %, 29 % in the crowd
    counts = Overlap.of(scene([LEFT, inside, across, outside], [0.9] * 4), truth).count(0.5, 0.5)
    assert counts == (1, 1, 0)
    other_class = Overlap.of(scene([inside], [0.9], labels=[1]), truth).count(0.5, 0.5)
    assert other_class == (0, 1, 1)


def test_low_scores_do_not_exist() -> None:
    predicted = scene([LEFT, RIGHT], [0.5, 0.4])
    assert score(predicted, scene([LEFT]))["matching/AP50"] == 1.0
    assert score(predicted, scene([LEFT]), threshold=0.3)["matching/AP50"] == 0.5


def test_counts_are_summed_before_the_division() -> None:
    metric = Matching(CLASSES)
    metric.update(scene([LEFT], [0.9]), scene([LEFT], file="good.png"))
    metric.update(scene([LEFT, RIGHT, (40, 40, 50, 50)], [0.9] * 3), scene([(60, 60, 70, 70)], file="bad.png"))
    metric.update(scene([], []), scene([], file="nothing.png"))
    assert metric.compute()["matching/AP50"] == pytest.approx(1 / 5)
    assert [image.file for image in metric.worst(2)] == ["bad.png", "good.png"]
    assert metric.worst()[0] == ("bad.png", 0, 3, 1)


def test_best_threshold_on_data() -> None:
    pairs = [
        (scene([LEFT, RIGHT], [0.9, 0.3]), scene([LEFT])),  # RIGHT is wrong
        (scene([LEFT, RIGHT], [0.6, 0.4]), scene([LEFT, RIGHT])),  # both are right
    ]
    assert best_threshold(pairs) == pytest.approx((0.35, 1.0))
    assert best_threshold(pairs, candidates=[0.2, 0.5]) == pytest.approx((0.2, 3 / 4))


def test_wrong_predictions_are_refused() -> None:
    with pytest.raises(DataError, match="score is not a finite"):
        score(scene([LEFT], [float("nan")]), scene([LEFT]))
    bare = scene([LEFT], [0.9])
    with pytest.raises(DataError, match="without masks"):
        score(replace(bare, regions=replace(bare.regions, masks=None)), scene([LEFT]))
    with pytest.raises(DataError, match="classes"):
        score(replace(bare, categories=Categories.from_names(["x"])), scene([LEFT]))
