from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_scenes import CLASSES, Box, scene

from segue.errors import DataError, UsageError
from segue.metrics import meshes
from segue.metrics.meshes import PIX3D, SEGUE, MeshAP, Protocol
from segue.metrics.ranking import all_point_ap, greedy
from segue.metrics.shapes import MESH_RCNN, PIXEL2MESH, Measure, Surface, point_scores, score_pairs, shape_scores
from segue.ops.placing import placed
from segue.structures import Camera, Categories, Mesh, Scene

CAMERA = Camera(100.0, (50.0, 40.0))
SAMPLES = 300  # as many as a thin strip needs
LEFT, RIGHT, BELOW = (0, 0, 20, 20), (100, 0, 120, 20), (0, 60, 20, 80)
seeds = st.integers(0, 10_000)


def sphere(radius: float, rows: int = 24) -> Mesh:
    """Around (0, 0, 0), of 4 * rows ** 2 triangles, those at the poles without area."""
    polar, turn = torch.linspace(0, math.pi, rows + 1), torch.linspace(0, 2 * math.pi, 2 * rows + 1)
    x, y = polar.sin()[:, None] * turn.cos(), polar.sin()[:, None] * turn.sin()
    vertices = radius * torch.stack([x, y, polar.cos()[:, None].expand_as(x)], dim=2).view(-1, 3)
    corner = (torch.arange(rows)[:, None] * (2 * rows + 1) + torch.arange(2 * rows)).flatten()
    across, down = corner + 1, corner + 2 * rows + 1
    faces = torch.cat([torch.stack([corner, down, across], 1), torch.stack([across, down, down + 1], 1)])
    return Mesh(vertices, faces)


def strip(x: float, y: float, z: float = 2.0) -> Mesh:
    """A thin strip in front of the camera from (0, 0, z) to (x, y, z)."""
    end = torch.tensor([x, y, 0.0])
    side = torch.tensor([-y, x, 0.0]) * 1e-3
    corners = torch.stack([-side, side, end - side, end + side]) + torch.tensor([0.0, 0.0, z])
    return Mesh(corners, torch.tensor([[0, 1, 2], [1, 3, 2]]), CAMERA)


ACROSS, DOWN, NOTHING = strip(1, 0), strip(0, 1), Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))


def with_meshes(plain: Scene, shapes: Sequence[Mesh]) -> Scene:
    return replace(plain, regions=replace(plain.regions, meshes=list(shapes)))


def predicted(
    boxes: Sequence[Box], shapes: Sequence[Mesh], scores: Sequence[float], labels: Sequence[int] | None = None
) -> Scene:
    return with_meshes(scene(boxes, scores, labels), shapes)


def truth(
    boxes: Sequence[Box],
    shapes: Sequence[Mesh],
    labels: Sequence[int] | None = None,
    crowd: Sequence[bool] | None = None,
) -> Scene:
    return with_meshes(scene(boxes, None, labels, crowd), shapes)


def score(*pairs: tuple[Scene, Scene], protocol: Protocol = SEGUE) -> dict[str, float]:
    metric = MeshAP(CLASSES, protocol, SAMPLES)
    for pair in pairs:
        metric.update(*pair)
    return metric.compute()


def precisions(numbers: dict[str, float]) -> tuple[float, float, float]:
    return numbers["meshes/AP"], numbers["meshes/AP_box"], numbers["meshes/AP_mask"]


# Surfaces


@pytest.mark.parametrize("radius", [4.5, 5.0, 5.5])
def test_chamfer_of_concentric_spheres_is_the_gap_twice_and_the_grain_of_the_samples(radius: float) -> None:
    n = 10_000  # the nearest of n points on a sphere lies at a mean squared angle of 4 / n
    scores = shape_scores(sphere(radius, 64), sphere(5, 64), samples=n)
    assert scores.chamfer == pytest.approx(2 * (radius - 5) ** 2 + 8 * radius * 5 / n, rel=0.02)
    assert scores.normals == pytest.approx(1, abs=2e-3)


def test_f1_of_concentric_spheres() -> None:
    scores = shape_scores(sphere(5.2), sphere(5))
    at_hand = 1 - math.exp(-10_000 * (0.3**2 - 0.2**2) / 26 / 4)  # some sample of the other in reach
    assert scores.f1[0] == 0
    assert scores.f1[1] == pytest.approx(at_hand, abs=0.01)
    assert scores.f1[2] == 1


def test_a_point_at_the_threshold_is_not_found() -> None:
    normals = torch.tensor([[0.0, 0.0, 1.0]])
    here, there = Surface(torch.zeros(1, 3), normals), Surface(torch.tensor([[0.0, 0.25, 0.0]]), -normals)
    scores = point_scores(here, there, (0.25, 0.2500001))
    assert scores.f1 == (0, 1)
    assert scores.chamfer == 2 * 0.25**2
    assert scores.normals == 1  # whichever way they point


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    line = torch.tensor([[0.0, 0, 0], [0, 0, 0], [3, 0, 0], [9, 0, 0]])
    ups = torch.tensor([[0.0, 0, 1]]).expand(4, 3)
    scores = point_scores(Surface(line[:1], ups[:1]), Surface(line, ups), (1.0,))
    assert scores.f1 == (pytest.approx(2 * 1 * 0.5 / 1.5),)
    assert scores.chamfer == pytest.approx(0 + (9 + 81) / 4)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_point_scores_equal_those_of_all_distances(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    (p, n), (q, m) = (torch.randn(2, count, 3, generator=chance).double() for count in (40, 60))
    distance = torch.cdist(p, q)
    cosine = (torch.nn.functional.normalize(n, dim=1) @ torch.nn.functional.normalize(m, dim=1).T).abs()
    chamfer, normals, shares = 0.0, 0.0, []
    for side in (1, 0):
        nearest, index = distance.min(side, keepdim=True)
        chamfer += float(nearest.square().mean())
        normals += float(cosine.gather(side, index).mean()) / 2
        shares.append(float((nearest < 0.5).double().mean()))
    scores = point_scores(Surface(p, n), Surface(q, m), (0.5,))
    assert scores.chamfer == pytest.approx(chamfer)
    assert scores.normals == pytest.approx(normals)
    assert scores.f1[0] == pytest.approx(2 * shares[0] * shares[1] / (sum(shares) or 1))


def test_the_size_of_both_does_not_matter_where_the_truth_gets_an_edge_of_10() -> None:
    guess, goal = sphere(1.1), sphere(1)
    small = shape_scores(guess, goal, samples=1000)
    large = shape_scores(guess.moved(8 * guess.vertices), goal.moved(8 * goal.vertices), samples=1000)
    assert large == small
    other = shape_scores(guess, goal.moved(8 * goal.vertices), samples=1000)
    assert other.chamfer > 2 * small.chamfer


def test_a_factor_scales_distances_as_pixel2mesh_does() -> None:
    guess, goal = sphere(1.01), sphere(1)
    plain = shape_scores(guess, goal, Measure((1.0,)), samples=1000)
    scaled = shape_scores(guess, goal, PIXEL2MESH, samples=1000)
    assert scaled.chamfer == pytest.approx(0.57**2 * plain.chamfer, rel=1e-4)
    assert len(scaled.f1) == 2


@pytest.mark.parametrize(
    "broken",
    [NOTHING, replace(ACROSS, faces=ACROSS.faces[:0]), ACROSS.moved(ACROSS.vertices * math.nan), strip(0, 0)],
    ids=["nothing", "no faces", "not a number", "no area"],
)
def test_what_has_no_surface_is_not_like_anything(broken: Mesh) -> None:
    scores = shape_scores(broken, ACROSS)
    assert scores.f1 == (0, 0, 0)
    assert math.isnan(scores.chamfer)
    assert math.isnan(scores.normals)
    numbers = score((predicted([LEFT, RIGHT], [broken, ACROSS], [0.9, 0.8]), truth([LEFT, RIGHT], [ACROSS] * 2)))
    assert numbers["meshes/AP"] == 0.25
    assert numbers["meshes/F1_0.3"] == 0.5
    assert numbers["meshes/normals"] == pytest.approx(1)
    unknown = score((predicted([LEFT], [ACROSS], [0.9]), truth([LEFT], [broken])))
    assert unknown == {}


def test_pairs_score_as_each_for_itself_and_every_time_the_same() -> None:
    pairs = [(ACROSS, DOWN), (ACROSS, ACROSS), (NOTHING, DOWN)]
    scores = score_pairs(pairs, samples=SAMPLES)
    assert scores[:2] == [shape_scores(*pair, samples=SAMPLES) for pair in pairs[:2]]
    assert scores[1].chamfer > 0  # equal surfaces are not sampled at equal points
    assert scores[2].f1 == (0,) * len(MESH_RCNN.thresholds)
    assert score_pairs([]) == []


# Average precision


def test_a_prediction_is_judged_where_the_object_stands() -> None:
    far_off = replace(placed(replace(ACROSS, span=(1.8, 2.2)), Camera(400.0, (9.0, 9.0)), 30.0))
    numbers = score((predicted([LEFT], [far_off], [0.9]), truth([LEFT], [ACROSS])))
    assert precisions(numbers) == (1, 1, 1)
    assert numbers["meshes/chamfer"] < 0.01
    as_measured = score((predicted([LEFT], [replace(far_off, span=None)], [0.9]), truth([LEFT], [ACROSS])))
    assert as_measured["meshes/AP"] == 0


@pytest.mark.parametrize(
    ("found", "shapes", "labels", "expected"),
    [
        ([LEFT, RIGHT], [ACROSS, DOWN], [0, 0], (1, 1, 1)),
        ([LEFT, RIGHT], [DOWN, DOWN], [0, 0], (0.25, 1, 1)),
        ([LEFT, RIGHT], [ACROSS, DOWN], [1, 0], (0.5, 0.5, 0.5)),
        ([LEFT, LEFT], [ACROSS, ACROSS], [0, 0], (0.5, 0.5, 0.5)),  # an object is found once
        ([LEFT, LEFT, RIGHT], [DOWN, ACROSS, DOWN], [0, 0, 0], (2 / 3, 0.5 + 1 / 3, 0.5 + 1 / 3)),
        ([BELOW, LEFT, RIGHT], [ACROSS, ACROSS, DOWN], [0, 0, 0], (2 / 3, 2 / 3, 2 / 3)),
    ],
    ids=["right", "shape", "class", "twice", "wrong shape first", "in vain"],
)
def test_by_hand(found: list[Box], shapes: list[Mesh], labels: list[int], expected: tuple[float, ...]) -> None:
    guesses = predicted(found, shapes, [0.9 - 0.1 * i for i in range(len(found))], labels)
    numbers = score((guesses, truth([LEFT, RIGHT], [ACROSS, DOWN])))
    assert precisions(numbers) == pytest.approx(expected)


def test_means_are_of_the_objects_whose_boxes_are_found() -> None:
    guesses = predicted([LEFT, RIGHT, BELOW], [ACROSS, DOWN, DOWN], [0.9, 0.8, 0.7])
    numbers = score((guesses, truth([LEFT, RIGHT], [ACROSS, ACROSS])))
    scores = score_pairs([(ACROSS, ACROSS), (DOWN, ACROSS)], samples=SAMPLES)
    assert numbers["meshes/chamfer"] == pytest.approx(sum(s.chamfer for s in scores) / 2)
    assert numbers["meshes/normals"] == pytest.approx(sum(s.normals for s in scores) / 2)
    for i, name in enumerate(("F1_0.1", "F1_0.3", "F1_0.5")):
        assert numbers[f"meshes/{name}"] == pytest.approx(sum(s.f1[i] for s in scores) / 2)
    assert set(score((predicted([], [], []), truth([LEFT], [ACROSS])))) == {
        f"meshes/AP{e}" for e in ("", "_box", "_mask")
    }


@pytest.mark.parametrize(
    ("width", "segue", "pix3d"),
    [(12, (1, 1, 1), (1, 1, 1)), (10, (1, 1, 1), (1, 0, 0)), (8, (0, 0, 0), (1, 0, 0)), (6, (0, 0, 0), (0, 0, 0))],
)
def test_limits_of_the_protocols(width: float, segue: tuple[float, ...], pix3d: tuple[float, ...]) -> None:
    pair = predicted([(0, 0, width, 20)], [ACROSS], [0.9]), truth([LEFT], [ACROSS])  # IoU width / 20, also of the masks
    assert precisions(score(pair)) == segue
    assert precisions(score(pair, protocol=PIX3D)) == pix3d


def test_pix3d_looks_only_at_predictions_near_an_object() -> None:
    guesses = predicted([RIGHT, LEFT, LEFT], [ACROSS, DOWN, ACROSS], [0.9, 0.8, 0.7], [0, 1, 0])
    goals = truth([LEFT, BELOW], [ACROSS, DOWN], [0, 1])
    assert precisions(score((guesses, goals), protocol=PIX3D)) == (0.5, 0.5, 0.5)  # the class-1 one is in vain
    assert precisions(score((guesses, goals))) == (0.25, 0.25, 0.25)


def test_classes_that_do_not_occur_do_not_count() -> None:
    guesses = predicted([LEFT, RIGHT], [ACROSS, ACROSS], [0.8, 0.9], [1, 0])
    assert precisions(score((guesses, truth([LEFT], [ACROSS], [1])))) == (1, 1, 1)


def test_crowds_and_unknown_shapes_are_neither_found_nor_missed() -> None:
    goals = truth([LEFT, (100, 0, 180, 80), BELOW], [ACROSS, ACROSS, NOTHING], None, [False, True, False])
    on_them = predicted([RIGHT, BELOW, LEFT], [DOWN, DOWN, ACROSS], [0.9, 0.8, 0.7])
    assert precisions(score((on_them, goals))) == (1, 1, 1)
    others = predicted([RIGHT, BELOW, LEFT], [DOWN, DOWN, ACROSS], [0.9, 0.8, 0.7], [1, 1, 0])
    goals_of_both = truth([LEFT, RIGHT, BELOW, (50, 0, 60, 9)], [ACROSS, ACROSS, NOTHING, DOWN], [0, 0, 0, 1])
    assert precisions(score((others, goals_of_both))) == (0.25, 0.25, 0.25)  # of another class they excuse nothing


def test_scores_rank_across_pictures() -> None:
    wrong = predicted([LEFT], [DOWN], [0.5]), truth([LEFT], [ACROSS])
    for sure, expected in ((0.9, 0.5), (0.1, 0.25)):
        right = predicted([LEFT], [ACROSS], [sure]), truth([LEFT], [ACROSS])
        assert score(wrong, right)["meshes/AP"] == expected


def test_what_is_missing() -> None:
    assert score() == {}
    assert score((predicted([LEFT], [ACROSS], [0.9]), truth([], []))) == {}
    assert score((predicted([LEFT], [ACROSS], [0.9]), scene([LEFT]))) == {}  # nobody told the shape
    assert precisions(score((predicted([], [], []), truth([LEFT], [ACROSS])))) == (0, 0, 0)
    guesses, goals = predicted([LEFT], [ACROSS], [0.9]), truth([LEFT], [ACROSS])
    without = replace(guesses, regions=replace(guesses.regions, masks=None))
    assert "meshes/AP_mask" not in score((without, goals))
    empty = predicted([], [], []), replace(goals, regions=replace(goals.regions, masks=None))
    assert "meshes/AP_mask" not in score(empty)


def test_bad_input() -> None:
    goals = truth([LEFT], [ACROSS])
    with pytest.raises(DataError, match=r"a\.png: regions without meshes"):
        score((scene([LEFT], [0.9]), goals))
    with pytest.raises(DataError, match="without scores"):
        score((goals, goals))
    with pytest.raises(DataError, match="classes"):
        MeshAP(Categories.from_names(["cup"])).update(predicted([LEFT], [ACROSS], [0.9]), goals)
    with pytest.raises(UsageError, match="near"):
        Protocol(near=0.7, counted=None, equal=True)


def test_numbers_come_at_any_time_however_many_pairs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        (predicted([LEFT, RIGHT], [ACROSS, DOWN], [0.9, 0.8]), truth([LEFT, RIGHT], [ACROSS, ACROSS])),
        (predicted([BELOW, RIGHT], [DOWN, DOWN], [0.7, 0.6]), truth([LEFT, RIGHT], [DOWN, DOWN])),
        (predicted([], [], []), truth([LEFT], [DOWN])),
        (predicted([LEFT], [DOWN], [0.95]), truth([LEFT], [DOWN])),
    ]
    together = score(*pairs)
    monkeypatch.setattr(meshes, "PENDING", 2)
    metric = MeshAP(CLASSES, samples=SAMPLES)
    for pair in pairs:
        metric.update(*pair)
        metric.compute()
    assert metric.compute() == metric.compute() == together


def test_a_taken_object_leaves_the_next_best() -> None:
    overlap = torch.tensor([[0.9, 0.8], [0.95, 0.6], [0.7, 0.7]])
    assert greedy(overlap, overlap > 0.5).tolist() == [0, 1, -1]
    assert greedy(overlap, torch.tensor([[False, False], [True, False], [True, True]])).tolist() == [-1, 0, 1]
    assert greedy(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("right", "total", "expected"),
    [([], 3, 0), ([0, 0], 1, 0), ([1, 1], 2, 1), ([0, 1, 1], 2, 2 / 3), ([1, 0, 1], 4, (1 + 2 / 3) / 4)],
)
def test_the_area_under_precision_and_recall(right: list[int], total: int, expected: float) -> None:
    assert all_point_ap(torch.tensor(right, dtype=torch.bool), total) == pytest.approx(expected)


@given(seeds, st.sampled_from([SEGUE, PIX3D]))
@settings(max_examples=15, deadline=None)
def test_mesh_ap_equals_a_plain_loop(seed: int, protocol: Protocol) -> None:
    chance = torch.Generator().manual_seed(seed)
    pairs = [(random_scene(5, chance, scored=True), random_scene(3, chance, scored=False)) for _ in range(3)]
    assert score(*pairs, protocol=protocol)["meshes/AP"] == pytest.approx(plain_ap(pairs, protocol))


def random_scene(count: int, chance: torch.Generator, scored: bool) -> Scene:
    """Boxes of 20 x 20 pixels on few places, so that many overlap."""
    places = torch.randint(0, 5, (count, 2), generator=chance) * 4
    boxes: list[Box] = [(x, y, x + 20, y + 20) for x, y in places.tolist()]
    labels = torch.randint(0, 2, (count,), generator=chance).tolist()
    shapes = [(ACROSS, DOWN)[i] for i in torch.randint(0, 2, (count,), generator=chance).tolist()]
    scores = torch.rand(count, generator=chance).tolist()
    return predicted(boxes, shapes, scores, labels) if scored else truth(boxes, shapes, labels)


def plain_ap(pairs: Sequence[tuple[Scene, Scene]], protocol: Protocol) -> float:
    """Mesh AP box by box; strips are alike where they are the same."""
    values = []
    for label in range(2):
        ranked, total = [], 0
        for guesses, goals in pairs:
            g, t = guesses.regions, goals.regions
            assert g.scores is not None
            assert g.meshes is not None
            assert t.meshes is not None
            total += t.labels.tolist().count(label)
            taken: set[int] = set()
            for p in sorted(range(len(g)), key=lambda p: -float(g.scores[p])):
                overlaps = [plain_iou(g.boxes[p].tolist(), box) for box in t.boxes.tolist()]
                if g.labels[p] != label or (protocol.counted is not None and max(overlaps) <= protocol.counted):
                    continue
                best, place = 0.0, -1
                for i, iou in enumerate(overlaps):
                    near = iou >= protocol.near if protocol.equal else iou > protocol.near
                    alike = g.meshes[p] is t.meshes[i] and t.labels[i] == label
                    if near and alike and i not in taken and iou > best:
                        best, place = iou, i
                taken.add(place)
                ranked.append((float(g.scores[p]), place >= 0))
        if total:
            hits = [hit for _, hit in sorted(ranked, key=lambda row: -row[0])]
            curve = [(sum(hits[: n + 1]) / total, sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
            levels = sorted({recall for recall, _ in curve} | {0.0})
            values.append(sum((b - a) * max(p for r, p in curve if r >= b) for a, b in pairwise(levels)))
    return sum(values) / len(values)


def plain_iou(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / (800 - shared)
