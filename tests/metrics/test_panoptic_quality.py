from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.data.images import image_size
from segue.data.panoptic import PanopticFile, open_panoptic
from segue.errors import DataError
from segue.metrics.panoptic import PanopticQuality, panoptic_quality, panoptic_sums
from segue.structures import Categories, Category, Regions, Scene, Segments

CAT, DOG, SKY, SAND = range(4)
CLASSES = Categories(
    (Category("cat", 5), Category("dog", 9), Category("sky", 2, isthing=False), Category("sand", 7, isthing=False))
)

seeds = st.integers(0, 10_000)
Sums = list[list[float]]


def segments(labels: dict[int, int], crowd: Sequence[int] = (), areas: Sequence[int] | None = None) -> Segments:
    """From ``{id: label}``, the ids of crowds, and areas in the order of the ids."""
    ids = torch.tensor(list(labels), dtype=torch.int64)
    return Segments(
        ids,
        torch.tensor(list(labels.values()), dtype=torch.int64),
        crowd=torch.tensor([i in crowd for i in labels], dtype=torch.bool),
        areas=None if areas is None else torch.tensor(areas),
    )


def scene(panoptic: Tensor | None, parts: Segments | None, categories: Categories = CLASSES) -> Scene:
    size = (1, 4) if panoptic is None else (panoptic.shape[0], panoptic.shape[1])
    return Scene(size, categories, Regions.empty(), panoptic=panoptic, segments=parts, file="a.png")


def line(text: str) -> Tensor:
    """One line of single-digit ids; 0 is void."""
    return torch.tensor([[int(digit) for digit in text]], dtype=torch.int32)


def sums(predicted: str, found: dict[int, int], truth: str, annotated: Segments) -> Sums:
    return panoptic_sums(line(predicted), segments(found), line(truth), annotated, len(CLASSES)).tolist()


def test_matches_need_more_than_half() -> None:
    real = segments({1: CAT})
    assert sums("1110", {1: CAT}, "1111", real)[CAT] == [0.75, 1, 0, 0]
    void_in_prediction = sums("1100", {1: CAT}, "1111", real)
    assert void_in_prediction[CAT] == [0, 0, 1, 1]  # an IoU of exactly one half is no match
    assert sums("1111", {1: DOG}, "1111", real) == [[0, 0, 0, 1], [0, 0, 1, 0], [0] * 4, [0] * 4]


def test_void_of_the_truth_is_no_part_of_the_union() -> None:
    assert sums("111111", {1: CAT}, "110000", segments({1: CAT}))[CAT] == [1, 1, 0, 0]


@pytest.mark.parametrize(("predicted", "extra"), [("002220", 0), ("022200", 0), ("222200", 1), ("022000", 1)])
def test_a_segment_mostly_on_void_is_no_false_positive(predicted: str, extra: int) -> None:
    assert sums(predicted, {2: DOG}, "110000", segments({1: CAT}))[DOG][2] == extra


def test_crowds_are_neither_missed_nor_matched() -> None:
    real = segments({1: CAT}, crowd=[1])
    assert sums("0000", {}, "1111", real) == [[0] * 4] * 4
    assert sums("1111", {1: CAT}, "1111", real) == [[0] * 4] * 4
    assert sums("1111", {1: DOG}, "1111", real)[DOG] == [0, 0, 1, 0]  # the crowd of another class excuses nothing


def test_only_the_last_crowd_of_a_class_excuses() -> None:
    first_listed, last_listed = segments({1: CAT, 2: CAT}, crowd=[1, 2]), segments({2: CAT, 1: CAT}, crowd=[1, 2])
    assert sums("777700", {7: CAT}, "111122", first_listed)[CAT] == [0, 0, 1, 0]
    assert sums("777700", {7: CAT}, "111122", last_listed)[CAT] == [0, 0, 0, 0]


def test_void_and_crowd_count_together() -> None:
    real = segments({1: CAT, 3: SKY}, crowd=[1])
    assert sums("77777", {7: CAT}, "10133", real)[CAT] == [0, 0, 0, 0]
    assert sums("77777", {7: CAT}, "13133", real)[CAT] == [0, 0, 1, 0]


def test_crowd_stays_in_the_union() -> None:
    real = segments({1: CAT, 2: CAT}, crowd=[2])
    assert sums("1111", {1: CAT}, "1112", real)[CAT] == [0.75, 1, 0, 0]


def test_the_area_of_the_truth_is_the_annotated_one() -> None:
    assert sums("1110", {1: CAT}, "1110", segments({1: CAT}, areas=[4]))[CAT] == [0.75, 1, 0, 0]


def slow_sums(predicted: Tensor, found: Segments, truth: Tensor, annotated: Segments) -> Sums:
    """The rules one by one, on sets of pixels."""

    def pixels(plane: Tensor, number: int) -> set[tuple[int, ...]]:
        return {tuple(place) for place in (plane == number).nonzero().tolist()}

    result: Sums = [[0.0] * 4 for _ in CLASSES]
    void, crowds, matched, rest = pixels(truth, 0), {}, set(), []
    real = list(zip(annotated.ids.tolist(), annotated.labels.tolist(), annotated.is_crowd().tolist(), strict=True))
    for number, label, crowd in real:
        if crowd:
            crowds[label] = pixels(truth, number)
    for number, label in zip(found.ids.tolist(), found.labels.tolist(), strict=True):
        mine, partners = pixels(predicted, number), []
        for other, other_label, crowd in real:
            theirs = pixels(truth, other)
            iou = len(mine & theirs) / len((mine | theirs) - (void - theirs))
            if iou > 0.5 and label == other_label and not crowd:
                partners.append((other, iou))
        rest += [] if partners else [(label, mine)]
        for other, iou in partners:
            matched.add(other)
            result[label][0] += iou
            result[label][1] += 1
    for label, mine in rest:
        result[label][2] += len(mine & (void | crowds.get(label, set()))) / len(mine) <= 0.5
    for number, label, crowd in real:
        result[label][3] += number not in matched and not crowd
    return result


def random_map(chance: torch.Generator, size: tuple[int, int], most: int) -> tuple[Tensor, Segments]:
    """Rectangles over each other on void, with large ids in any order."""
    plane = torch.zeros(size, dtype=torch.int32)
    for number in range(int(torch.randint(0, most + 1, (1,), generator=chance))):
        y, x = (int(torch.randint(0, side, (1,), generator=chance)) for side in size)
        h, w = (int(torch.randint(1, side + 1, (1,), generator=chance)) for side in size)
        plane[y : y + h, x : x + w] = 1 + (number * 7_919_113) % (2**24 - 1)
    ids = plane[plane > 0].unique().long()
    ids = ids[torch.randperm(len(ids), generator=chance)]
    labels = torch.randint(0, len(CLASSES), ids.shape, generator=chance)
    return plane, Segments(ids, labels, crowd=torch.rand(ids.shape, generator=chance) < 0.3)


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_equal_to_the_slow_rules(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    truth, annotated = random_map(chance, (5, 6), 6)
    predicted, found = random_map(chance, (5, 6), 6)
    if seed % 2 and len(annotated):  # much of the truth is found
        predicted = torch.where(torch.rand(5, 6, generator=chance) < 0.8, truth, 0)
        kept = torch.isin(annotated.ids, predicted.long())
        found = Segments(annotated.ids[kept], annotated.labels[kept])
    ours = panoptic_sums(predicted, found, truth, annotated, len(CLASSES))
    slow = torch.tensor(slow_sums(predicted, found, truth, annotated), dtype=torch.float64)
    torch.testing.assert_close(ours, slow, rtol=0, atol=1e-12)


def test_qualities_of_a_class() -> None:
    table = torch.tensor([[1.5, 2, 1, 3], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
    expected = [[1.5 / 4, 0.75, 0.5], [0, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(panoptic_quality(table), torch.tensor(expected, dtype=torch.float64))


def test_means_are_over_the_classes_that_occur() -> None:
    metric = PanopticQuality(CLASSES)
    assert metric.compute() == {}
    truth = scene(line("11223333"), segments({1: CAT, 2: DOG, 3: SKY}))
    metric.update(scene(line("11000033"), segments({1: CAT, 3: SKY})), truth)
    assert metric.compute() == {
        "panoptic/PQ": pytest.approx(1 / 3),
        "panoptic/SQ": pytest.approx(1 / 3),
        "panoptic/RQ": pytest.approx(1 / 3),
        "panoptic/PQ_things": pytest.approx(1 / 2),
        "panoptic/SQ_things": pytest.approx(1 / 2),
        "panoptic/RQ_things": pytest.approx(1 / 2),
        "panoptic/PQ_stuff": 0,
        "panoptic/SQ_stuff": 0,
        "panoptic/RQ_stuff": 0,
    }


def test_a_picture_with_only_stuff_has_no_numbers_of_things() -> None:
    metric = PanopticQuality(CLASSES)
    both = scene(line("3334"), segments({3: SKY, 4: SAND}))
    metric.update(both, both)
    assert metric.compute() == {f"panoptic/{name}{end}": 1 for name in ("PQ", "SQ", "RQ") for end in ("", "_stuff")}


def test_sums_go_over_all_pictures() -> None:
    metric = PanopticQuality(CLASSES)
    truth = scene(line("1111"), segments({1: CAT}))
    metric.update(scene(line("1110"), segments({1: CAT})), truth)
    metric.update(scene(line("0000"), segments({})), truth)
    numbers = metric.compute()
    assert numbers["panoptic/PQ"] == pytest.approx(0.75 / 1.5)
    assert numbers["panoptic/SQ"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (scene(line("1122"), segments({1: CAT})), r"a\.png: number 2 is in the panoptic map, but is none"),
        (scene(line("1111"), segments({1: CAT, 2: CAT})), r"a\.png: segment 2 has no pixel"),
        (scene(line("11111"), segments({1: CAT})), "predict on the picture as it was annotated"),
        (scene(None, None), "no panoptic map"),
        (scene(line("1111").float(), segments({1: CAT})), "a panoptic map of torch.float32"),
        (scene(line("1111"), segments({1: CAT}), Categories.from_names(["cat", "dog", "sky", "sand"])), None),
        (scene(line("1111"), segments({1: CAT}), Categories.from_names(["cat", "dog", "sky", "mud"])), "its classes"),
    ],
)
def test_scenes_that_cannot_be_scored(predicted: Scene, message: str | None) -> None:
    metric = PanopticQuality(CLASSES)
    truth = scene(line("1111"), segments({1: CAT}))
    if message is None:
        metric.update(predicted, truth)
        return
    with pytest.raises(DataError, match=message):
        metric.update(predicted, truth)
    assert not metric.sums.any()


def test_scenes_hold_map_and_segments_together() -> None:
    with pytest.raises(DataError, match="one is missing"):
        scene(line("1111"), None)
    with pytest.raises(DataError, match="a label is outside the 4 categories"):
        scene(line("1111"), segments({1: 4}))


@pytest.fixture
def samples(real_data) -> tuple[PanopticFile, list[Scene]]:
    """The two pictures of panopticapi's sample data."""
    folder: Path = real_data("panoptic_samples")
    file = open_panoptic(folder / "panoptic_examples.json")
    return file, [of_sample(*file.read(picture, image_size(place)), file) for picture, place in file.maps.items()]


def of_sample(plane: Tensor, parts: Segments, file: PanopticFile) -> Scene:
    return Scene((plane.shape[0], plane.shape[1]), file.categories, Regions.empty(), panoptic=plane, segments=parts)


def rolled(truth: Scene, shift: tuple[int, int]) -> tuple[Tensor, Segments]:
    assert truth.panoptic is not None
    assert truth.segments is not None
    return truth.panoptic.roll(shift, (0, 1)), truth.segments


def without_crowd(truth: Scene) -> tuple[Tensor, Segments]:
    assert truth.panoptic is not None
    assert truth.segments is not None
    crowd = truth.segments.is_crowd()
    plane = torch.where(torch.isin(truth.panoptic, truth.segments.ids[crowd]), 0, truth.panoptic)
    return plane, Segments(truth.segments.ids[~crowd], truth.segments.labels[~crowd])


def filled(truth: Scene) -> tuple[Tensor, Segments]:
    assert truth.panoptic is not None
    assert truth.segments is not None
    assert truth.segments.areas is not None
    largest = truth.segments.ids[truth.segments.areas.argmax()]
    return torch.where(truth.panoptic == 0, largest, truth.panoptic), truth.segments


def test_references_of_panopticapi(samples) -> None:
    file, truths = samples
    shifted = {
        (3, 5): [0.5774278, 0.6420027, 0.7766608, 0.3712988, 0.5004485, 0.5533217, 0.7835569, 0.7835569, 1.0],
        (10, 20): [0.1760854, 0.2417808, 0.2551020, 0.0055911, 0.1369819, 0.0102041, 0.3465797, 0.3465797, 0.5],
    }
    cases = [(change, [1.0] * 9) for change in (lambda truth: (truth.panoptic, truth.segments), without_crowd, filled)]
    cases += [(lambda truth, s=shift: rolled(truth, s), expected) for shift, expected in shifted.items()]
    for change, expected in cases:
        metric = PanopticQuality(file.categories)
        for truth in truths:
            metric.update(of_sample(*change(truth), file), truth)
        numbers = metric.compute()
        keys = [f"panoptic/{name}{end}" for end in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ")]
        assert [numbers[key] for key in keys] == pytest.approx(expected, rel=0, abs=1e-7)
        things = torch.tensor([category.isthing for category in file.categories])
        occurring = metric.sums[:, 1:].sum(1) > 0
        assert [int((occurring & things).sum()), int((occurring & ~things).sum())] == [4, 4]
