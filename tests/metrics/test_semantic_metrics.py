from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from segue.errors import DataError
from segue.metrics.boundary import boundary_f1, class_edges
from segue.metrics.semantic import SemanticScores, confusion
from segue.structures import Categories, Regions, Scene

NAMES = ["sky", "road", "car", "tree", "pole"]
CLASSES = Categories.from_names(NAMES)
K = len(CLASSES)
GROUPS = ("mIoU", "accuracy", "class_accuracy", "fwIoU")

seeds = st.integers(0, 10_000)


def scene(labels: Tensor | None, size: tuple[int, int] | None = None, categories: Categories = CLASSES) -> Scene:
    size = size or (tuple(labels.shape) if labels is not None else (4, 6))  # type: ignore[assignment]
    nothing = Regions(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return Scene(size, categories, nothing, semantic=labels, file="a.png")


def score(*pairs: tuple[Tensor, Tensor]) -> dict[str, float]:
    metric = SemanticScores(CLASSES)
    for predicted, truth in pairs:
        metric.update(scene(predicted), scene(truth))
    numbers = metric.compute()
    assert all(0 <= value <= 1 for value in numbers.values())  # never NaN
    return {name.removeprefix("semantic/"): value for name, value in numbers.items()}


def random_maps(seed: int, low: int = -1, classes: int = K, size: tuple[int, int] = (9, 12)) -> tuple[Tensor, Tensor]:
    """Prediction from ``low`` and truth from -1 up to a random class, in patches of 3 x 3 pixels, so with borders."""
    chance = torch.Generator().manual_seed(seed)
    high = int(torch.randint(1, classes + 1, (1,), generator=chance))
    cells = (size[0] // 3, size[1] // 3)
    maps = [torch.randint(least, high, cells, generator=chance) for least in (low, -1)]
    predicted, truth = (m.repeat_interleave(3, 0).repeat_interleave(3, 1).to(torch.int16) for m in maps)
    return predicted, truth


def test_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [2, 2, -1, -1]], dtype=torch.int16)
    predicted = torch.tensor([[0, 0, 1, 1], [2, -1, 0, 3]], dtype=torch.int16)
    numbers = score((predicted, truth))
    assert numbers["IoU_sky"] == pytest.approx(2 / 3)
    assert numbers["IoU_road"] == pytest.approx(1 / 2)
    assert numbers["IoU_car"] == pytest.approx(1 / 2)  # a pixel without a class is missing
    assert "IoU_tree" not in numbers  # predicted on a pixel without truth only
    assert numbers["mIoU"] == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["class_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert numbers["fwIoU"] == pytest.approx((3 * 2 / 3 + 1 * 1 / 2 + 2 * 1 / 2) / 6)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_equal_to_torchmetrics(seed: int) -> None:
    predicted, truth = (m.long() for m in random_maps(seed, low=0))
    if (truth < 0).all():
        return
    options = {"num_classes": K, "ignore_index": -1}
    iou = multiclass_jaccard_index(predicted, truth, average="none", **options)
    recall = multiclass_accuracy(predicted, truth, average="none", **options)
    numbers = score((predicted, truth))
    present = truth[truth >= 0].unique()
    occurring = torch.cat([truth[truth >= 0], predicted[truth >= 0]]).unique()
    assert [numbers[f"IoU_{NAMES[k]}"] for k in occurring] == pytest.approx(iou[occurring].tolist())
    assert numbers["mIoU"] == pytest.approx(multiclass_jaccard_index(predicted, truth, average="macro", **options))
    assert numbers["fwIoU"] == pytest.approx(multiclass_jaccard_index(predicted, truth, average="weighted", **options))
    assert numbers["accuracy"] == pytest.approx(multiclass_accuracy(predicted, truth, average="micro", **options))
    assert numbers["class_accuracy"] == pytest.approx(float(recall[present].mean()))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_counts_equal_counting_one_by_one(seed: int) -> None:
    predicted, truth = (m.long() for m in random_maps(seed))
    expected = torch.zeros(K, K + 1, dtype=torch.int64)
    for found, real in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if real >= 0:
            expected[real, found if found >= 0 else K] += 1
    assert torch.equal(confusion(predicted, truth, K), expected)


def test_pictures_are_added_before_the_division() -> None:
    """Two pictures score like the one they make together; the mean of their mIoUs would be another number."""
    a, b = random_maps(1), random_maps(2)
    together = score((torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])))
    apart = score(a, b)
    assert [apart[name] for name in GROUPS] == pytest.approx([together[name] for name in GROUPS])
    assert apart["mIoU"] != pytest.approx((score(a)["mIoU"] + score(b)["mIoU"]) / 2)
    assert score(b, a) == pytest.approx(apart)


def test_counts_stay_whole_beyond_single_precision() -> None:
    metric = SemanticScores(CLASSES)
    metric.counts[0, 0] = 2**40
    metric.counts[0, 1] = 1
    assert metric.counts.dtype == torch.int64
    assert metric.compute()["semantic/accuracy"] == 2**40 / (2**40 + 1) < 1


def test_nothing_to_score_gives_no_number() -> None:
    unknown = torch.full((4, 6), -1)
    assert score() == {}
    assert score((torch.zeros(4, 6).long(), unknown)) == {}


def test_a_picture_without_truth_changes_nothing() -> None:
    pair = random_maps(3)
    assert score(pair, (pair[0], torch.full_like(pair[0], -1))) == score(pair)


def test_predictions_of_no_class_are_all_wrong() -> None:
    _, truth = random_maps(5)
    numbers = score((torch.full_like(truth, -1), truth))
    assert "boundary_F1" in numbers
    assert set(numbers.values()) == {0.0}


def test_right_predictions_score_one_whatever_lies_under_void() -> None:
    predicted, truth = random_maps(5)
    assert (truth < 0).any()
    numbers = score((truth.where(truth >= 0, predicted.clamp(min=0)), truth))
    assert "boundary_F1" in numbers
    assert set(numbers.values()) == {1.0}


MAP = torch.zeros(4, 6, dtype=torch.int16)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        (scene(MAP), scene(torch.zeros(4, 7, dtype=torch.int16))),
        (scene(MAP), scene(None)),
        (scene(None), scene(MAP)),
        (scene(MAP, categories=Categories.from_names(["cell"])), scene(MAP)),
        (scene(MAP), scene(MAP, categories=Categories.from_names(NAMES[::-1]))),
        (scene(MAP + K), scene(MAP)),
        (scene(MAP), scene(MAP + K)),
        (scene(MAP - 2), scene(MAP)),
        (scene(MAP), scene(MAP - 2)),
        (scene(MAP * torch.nan), scene(MAP)),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted: Scene, truth: Scene) -> None:
    metric = SemanticScores(CLASSES)
    with pytest.raises(DataError, match=r"a\.png"):
        metric.update(predicted, truth)
    assert metric.compute() == {}


def slow_f1(predicted: Tensor, truth: Tensor, tolerance: float) -> float | None:
    """Boundary F1 pixel by pixel."""
    known = {(y, x) for y, x in (truth >= 0).nonzero().tolist()}

    def edges(labels: Tensor, k: int) -> list[tuple[int, int]]:
        return [
            (y, x)
            for y, x in known
            if labels[y, x] == k
            and any(q in known and labels[q] != k for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)))
        ]

    def share(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        near = sum(any(math.dist(p, q) <= tolerance for q in others) for p in points)
        return near / len(points) if points else 0.0

    values = []
    for k in range(K):
        found, real = edges(predicted, k), edges(truth, k)
        if found or real:
            p, r = share(found, real), share(real, found)
            values.append(2 * p * r / (p + r) if p + r else 0.0)
    return sum(values) / len(values) if values else None


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.9, 1.0, 1.5, 2.0, math.sqrt(5)]))
def test_boundary_f1_equals_its_definition(seed: int, tolerance: float) -> None:
    predicted, truth = (m.long() for m in random_maps(seed))
    predicted = predicted.roll(seed % 3, 1)
    expected = slow_f1(predicted, truth, tolerance)
    found = boundary_f1(predicted, truth, K, tolerance)
    assert found == expected if expected is None else found == pytest.approx(expected)


def halves(height: int, width: int, column: int) -> Tensor:
    """Class 0 left of a column, 1 from there on."""
    return (torch.arange(width) >= column).long().expand(height, width).contiguous()


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_a_border_may_be_off_by_the_tolerance(shift: int, expected: float) -> None:
    truth = halves(120, 160, 80)  # 0.75 % of the diagonal of 200 pixels is 1.5
    assert boundary_f1(halves(120, 160, 80 + shift), truth, 2) == expected


def test_half_a_border_found() -> None:
    truth = halves(20, 30, 15)
    predicted = truth.clone()
    predicted[:10] = 2
    # Classes 0 and 1 are found along ten of twenty rows; the row that faces class 2 has 14 more pixels of each.
    f1 = 2 * (10 / 20) * (10 / 24) / (10 / 20 + 10 / 24)
    assert boundary_f1(predicted, truth, 3, tolerance=0) == pytest.approx((f1 + f1 + 0) / 3)
    predicted[:10] = -1  # bounds them just as well, but is no class to score
    assert boundary_f1(predicted, truth, 3, tolerance=0) == pytest.approx((f1 + f1) / 2)


def test_borders_to_void_and_rim_do_not_count() -> None:
    labels = halves(10, 10, 5)
    assert not class_edges(torch.zeros(10, 10).long(), torch.ones(10, 10, dtype=torch.bool)).any()
    assert class_edges(labels, torch.ones(10, 10, dtype=torch.bool)).sum() == 20
    hidden = torch.ones(10, 10, dtype=torch.bool)
    hidden[:, 5] = False
    assert not class_edges(labels, hidden).any()
    assert boundary_f1(labels, labels.where(hidden, -1), 2) is None


def test_boundary_f1_is_the_mean_of_pictures_with_borders() -> None:
    right, plain = halves(9, 9, 4), torch.zeros(9, 9).long()
    wrong = halves(9, 9, 8)
    assert score((right, right), (right, wrong), (plain, plain))["boundary_F1"] == 0.5
    assert "boundary_F1" not in score((plain, plain))


def test_maps_of_any_integer_type_and_file_score_alike() -> None:
    predicted, truth = random_maps(6)
    assert score((predicted.long(), truth)) == score((predicted, truth))
    first, second = SemanticScores(CLASSES), SemanticScores(CLASSES)
    first.update(scene(predicted), scene(truth))
    second.update(replace(scene(predicted), file=None), replace(scene(truth), file=None))
    assert torch.equal(first.counts, second.counts)
