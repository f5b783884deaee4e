from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.errors import DataError
from segue.ops import panoptic
from segue.ops.panoptic import MergeLimits, map_runs, merge_panoptic, segment_areas, segment_boxes
from segue.structures import Categories, Category, Masks, Regions, Segments

SKY, CAT, DOG, SAND = range(4)
CLASSES = Categories(
    (Category("sky", 2, isthing=False), Category("cat", 5), Category("dog", 9), Category("sand", 7, isthing=False))
)
LOOSE = MergeLimits(stuff_area=1)

seeds = st.integers(0, 10_000)


def instances(dense: Tensor, labels: list[int], scores: list[float]) -> Regions:
    masks = Masks.from_dense(dense)
    return Regions(masks.boxes.float(), torch.tensor(labels, dtype=torch.int64), torch.tensor(scores), masks=masks)


def bars(*spans: tuple[int, int], width: int = 12) -> Tensor:
    """(N, 1, width) bool: pixels from start to end of one line."""
    x = torch.arange(width)
    return torch.stack([(x >= a) & (x < b) for a, b in spans])[:, None]


def line(*classes: int) -> Tensor:
    return torch.tensor([classes], dtype=torch.int16)


def test_by_hand() -> None:
    semantic = line(SKY, SKY, SKY, CAT, CAT, CAT, SAND, SAND, SAND, SAND, -1, -1)
    regions = instances(bars((4, 8), (2, 6)), [CAT, DOG], [0.7, 0.9])
    panoptic, segments = merge_panoptic(regions, semantic, CLASSES, LOOSE)
    assert panoptic.tolist() == [[3, 3, 1, 1, 1, 1, 2, 2, 4, 4, 0, 0]]  # the dog is better, so it has the overlap
    assert segments.labels.tolist() == [DOG, CAT, SKY, SAND]
    assert segments.scores is not None
    assert segments.scores.tolist() == pytest.approx([0.9, 0.7, 1.0, 1.0])


def test_pixels_of_a_thing_class_without_instance_stay_void() -> None:
    panoptic, segments = merge_panoptic(Regions.empty(), line(CAT, DOG, SKY, -1), CLASSES, LOOSE)
    assert panoptic.tolist() == [[0, 0, 1, 0]]
    assert segments.labels.tolist() == [SKY]


@pytest.mark.parametrize(("score", "kept"), [(0.5, 1), (0.499, 0)])
def test_the_least_score_is_enough(score: float, kept: int) -> None:
    regions = instances(bars((0, 3)), [CAT], [score])
    assert len(merge_panoptic(regions, line(*[-1] * 12), CLASSES, LOOSE)[1]) == kept


@pytest.mark.parametrize(("start", "kept"), [(3, [1, 2]), (2, [1])])
def test_half_covered_is_kept_and_more_is_not(start: int, kept: list[int]) -> None:
    regions = instances(bars((0, 5), (start, start + 4)), [CAT, CAT], [0.9, 0.8])
    panoptic, segments = merge_panoptic(regions, line(*[-1] * 12), CLASSES, LOOSE)
    assert segments.ids.tolist() == kept
    assert (panoptic[0, 5:7] > 0).tolist() == [len(kept) == 2] * 2


def test_a_dropped_instance_covers_nobody() -> None:
    regions = instances(bars((0, 6), (2, 9), (6, 10)), [CAT, DOG, CAT], [0.9, 0.8, 0.7])
    panoptic, segments = merge_panoptic(regions, line(*[-1] * 12), CLASSES, LOOSE)
    assert panoptic.tolist() == [[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0]]
    assert segments.labels.tolist() == [CAT, CAT]


@pytest.mark.parametrize(("limit", "kept"), [(3, [SKY, SAND]), (4, [SAND]), (6, [])])
def test_stuff_needs_its_area_after_the_instances(limit: int, kept: list[int]) -> None:
    semantic = line(*[SKY] * 6, *[SAND] * 6)
    regions = instances(bars((0, 3), (11, 12)), [CAT, CAT], [0.9, 0.9])
    panoptic, segments = merge_panoptic(regions, semantic, CLASSES, MergeLimits(stuff_area=limit))
    assert segments.labels.tolist() == [CAT, CAT, *kept]
    assert int((panoptic == 0).sum()) == 3 * (SKY not in kept) + 5 * (SAND not in kept)


def test_of_equal_scores_the_first_wins() -> None:
    regions = instances(bars((0, 4), (2, 6)), [DOG, CAT], [0.75, 0.75])
    panoptic, segments = merge_panoptic(regions, line(*[-1] * 12), CLASSES, LOOSE)
    assert panoptic[0, :6].tolist() == [1, 1, 1, 1, 2, 2]
    assert segments.labels.tolist() == [DOG, CAT]


def test_the_score_of_stuff_is_its_mean_confidence() -> None:
    confidence = torch.tensor([[0.5, 0.6, 1.0, 0.2]])
    regions = instances(bars((2, 3), width=4), [CAT], [0.9])
    _, segments = merge_panoptic(regions, line(SKY, SKY, SKY, SAND), CLASSES, LOOSE, confidence)
    assert segments.scores is not None
    assert segments.scores.tolist() == pytest.approx([0.9, 0.55, 0.2])


def test_empty_masks_and_covered_ones_give_no_segment() -> None:
    regions = instances(bars((0, 4), (3, 3), (1, 3)), [CAT, CAT, DOG], [0.9, 0.9, 0.8])
    panoptic, segments = merge_panoptic(regions, line(*[-1] * 12), CLASSES, MergeLimits(overlap=1.0, stuff_area=1))
    assert segments.labels.tolist() == [CAT]
    assert segment_areas(panoptic, segments).tolist() == [4]


def slow_merge(regions: Regions, semantic: Tensor, limits: MergeLimits) -> list[list[tuple[int, int]]]:
    """The rules of panopticapi's combine script, pixel by pixel: (class, number among its kind) of each, (-1, 0) void.

    What covers an instance are the whole masks of the instances before it.
    """
    assert regions.scores is not None
    h, w = semantic.shape
    found = [[(-1, 0)] * w for _ in range(h)]
    pixels = [{(int(y), int(x)) for y, x in mask.nonzero()} for mask in regions.masks or []]
    used: set[tuple[int, int]] = set()
    chosen = [i for i in range(len(regions)) if float(regions.scores[i]) >= limits.score]
    number = 0
    for i in sorted(chosen, key=lambda i: -float(regions.scores[i])):
        if not pixels[i] or len(pixels[i] & used) / len(pixels[i]) > limits.overlap:
            continue
        number += 1
        for y, x in pixels[i] - used:
            found[y][x] = (int(regions.labels[i]), number)
        used |= pixels[i]
    for label, category in enumerate(CLASSES):
        left = [(y, x) for y in range(h) for x in range(w) if found[y][x] == (-1, 0) and int(semantic[y, x]) == label]
        if not category.isthing and len(left) >= limits.stuff_area:
            for y, x in left:
                found[y][x] = (label, 0)
    return found


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_equal_to_the_slow_rules(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    h, w, n = 7, 9, seed % 8
    low = torch.rand(n, 2, 1, 1, generator=chance) * torch.tensor([h, w]).view(2, 1, 1) * 0.7
    high = low + 1 + torch.rand(n, 2, 1, 1, generator=chance) * 5
    y, x = torch.arange(h)[:, None], torch.arange(w)
    dense = (y >= low[:, 0]) & (y < high[:, 0]) & (x >= low[:, 1]) & (x < high[:, 1])
    scores = (torch.rand(n, generator=chance) * 10).round() / 10  # with ties
    regions = instances(dense, torch.randint(CAT, SAND, (n,), generator=chance).tolist(), scores.tolist())
    semantic = torch.randint(-1, 4, (3, 3), generator=chance).repeat_interleave(3, 0).repeat_interleave(3, 1)[:h, :w]
    limits = MergeLimits(score=0.3, overlap=[0.3, 0.5][seed % 2], stuff_area=1 + seed % 12)
    panoptic, segments = merge_panoptic(regions, semantic.to(torch.int16), CLASSES, limits)
    expected = slow_merge(regions, semantic, limits)
    label = torch.cat([torch.tensor([-1]), segments.labels])[panoptic.long()]
    things = sum(CLASSES[k].isthing for k in segments.labels.tolist())
    number = torch.where(panoptic <= things, panoptic, 0)
    assert torch.stack([label, number], dim=-1).tolist() == [[list(cell) for cell in row] for row in expected]
    assert segments.ids.tolist() == list(range(1, len(segments) + 1))
    assert int(segment_areas(panoptic, segments).sum()) == int((panoptic > 0).sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "without masks or scores"),
        ({"masks": None}, "without masks or scores"),
        ({"masks": Masks.from_dense(bars((0, 3), width=5))}, r"\(1, 5\) canvas, the classes on \(1, 12\)"),
    ],
)
def test_instances_that_cannot_be_merged(change: dict[str, Masks | None], message: str) -> None:
    regions = replace(instances(bars((0, 3)), [CAT], [0.9]), **change)
    with pytest.raises(DataError, match=message):
        merge_panoptic(regions, line(*[-1] * 12), CLASSES, LOOSE)


def test_a_pixel_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(DataError, match="class 4 of a pixel is none of 4"):
        merge_panoptic(Regions.empty(), line(0, 4), CLASSES, LOOSE)


@given(seeds, st.sampled_from([1, 2, 5, 1 << 15]))
def test_runs_say_every_pixel(seed: int, block: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    size = (1 + seed % 3, 1 + seed % 7)
    maps = [torch.randint(0, 2, size, generator=chance, dtype=dtype) for dtype in (torch.int32, torch.int64)]
    with patch.object(panoptic, "BLOCK", block):
        lengths, values = map_runs(*maps)
    for plane, runs in zip(maps, values, strict=True):
        assert torch.equal(runs.repeat_interleave(lengths), plane.flatten().long())
    pairs = torch.stack(values)
    assert bool((pairs[:, 1:] != pairs[:, :-1]).any(0).all())  # no run could be longer


@given(seeds)
def test_areas_and_boxes_of_segments(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    plane = torch.randint(0, 5, (4, 6), generator=chance) * 70_001
    ids = plane[plane > 0].unique()[torch.randperm(len(plane[plane > 0].unique()), generator=chance)]
    segments = Segments(ids, torch.zeros_like(ids))
    masks = Masks.from_dense(torch.stack([plane == number for number in ids.tolist()]))
    assert torch.equal(segment_areas(plane, segments), masks.area)
    assert torch.equal(segment_boxes(plane, segments), masks.boxes)


def test_maps_that_contradict_their_segments() -> None:
    plane = torch.tensor([[0, 7, 7], [9, 9, 0]])
    with pytest.raises(DataError, match="number 9 is in the panoptic map, but is none"):
        segment_areas(plane, Segments(torch.tensor([7]), torch.tensor([0])))
    with pytest.raises(DataError, match="number 7 is in the panoptic map, but is none"):
        segment_areas(plane, Segments(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64)))
    with pytest.raises(DataError, match="segment 8 has no pixel"):
        segment_areas(plane, Segments(torch.tensor([7, 8, 9]), torch.tensor([0, 0, 0])))


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        ([1, 1], [0, 0], "segment 1 occurs more than once"),
        ([0, 1], [0, 0], "count 1 to"),
        ([1, 2**24], [0, 0], "count 1 to"),
        ([1, 2], [0], "2 segments but labels of shape"),
        ([[1]], [[0]], "must be"),
    ],
)
def test_impossible_segments(ids: list[int], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Segments(torch.tensor(ids), torch.tensor(labels))
