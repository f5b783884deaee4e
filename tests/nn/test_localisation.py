import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from segue.nn.localisation import (
    ANCHORS,
    Candidates,
    Localisation,
    LocalisationSettings,
    assign,
    box_distance,
    full_sample,
    lead,
    strongest,
)
from segue.nn.matching import BELOW, BETWEEN
from segue.ops import box_iou, encode_boxes

SETTINGS = LocalisationSettings(anchors=((32, 32), (24, 48), (64, 40)), channels=8, samples=16, proposals=10)
SIZES = torch.tensor([[96, 96], [96, 80]])
TRUTH = torch.tensor([[[10.0, 12, 44, 44], [50, 20, 90, 60]], [[5, 60, 30, 90], [0, 0, 0, 0]]])
VALID = torch.tensor([[True, True], [True, False]])
BOTH = torch.tensor([True, True])


def make(settings: LocalisationSettings = SETTINGS) -> Localisation:
    torch.manual_seed(0)
    return Localisation(4, 16, settings)


def moved(layer: Localisation) -> Candidates:
    """Candidates of a layer that has learned something."""
    torch.nn.init.normal_(layer.conv.weight, std=0.2)
    torch.nn.init.normal_(layer.deltas.weight, std=0.1)
    candidates: Candidates = layer(torch.randn(2, 4, 6, 6))
    return candidates


def test_the_published_anchors() -> None:
    assert len(ANCHORS) == 12
    assert {(h, w) for w, h in ANCHORS} == set(ANCHORS)
    assert sorted(w for w, h in ANCHORS if w == h) == [64, 128, 256, 512]


def test_at_first_boxes_are_the_anchors_around_the_cells_centres() -> None:
    candidates = make()(torch.randn(2, 4, 3, 5))
    assert candidates.scores.shape == (2, 45, 2)
    torch.testing.assert_close(candidates.boxes, candidates.anchors.expand(2, -1, -1))
    x0, y0, x1, y1 = candidates.anchors.view(3, 5, 3, 4).unbind(-1)
    torch.testing.assert_close((x0 + x1) / 2, ((torch.arange(5) + 0.5) * 16)[None, :, None].expand(3, 5, 3))
    torch.testing.assert_close((y0 + y1) / 2, ((torch.arange(3) + 0.5) * 16)[:, None, None].expand(3, 5, 3))
    assert torch.stack([x1 - x0, y1 - y0], -1)[1, 2].tolist() == [list(anchor) for anchor in SETTINGS.anchors]


def naive_assign(boxes: Tensor, truth: Tensor, h: int, w: int) -> list[int]:
    """The rules of the paper, box by box."""
    overlaps = box_iou(truth, boxes)
    result = []
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        most = float(overlaps[:, i].max())
        owner = int(overlaps[:, i].argmax())
        answer = owner if most >= 0.7 else BELOW if most < 0.3 else BETWEEN
        if x0 < 0 or y0 < 0 or x1 > w or y1 > h:
            answer = BETWEEN
        if any(int(row.argmax()) == i and row.max() > 0 for row in overlaps):
            answer = owner
        result.append(answer)
    return result


def test_boxes_are_matched_as_the_rules_say() -> None:
    g = torch.Generator().manual_seed(3)
    centre = torch.rand(2, 200, 2, generator=g) * 96
    half = torch.rand(2, 200, 2, generator=g) * 24 + 4
    near = TRUTH[:, :1] + torch.randn(2, 40, 4, generator=g) * 3
    boxes = torch.cat([torch.cat([centre - half, centre + half], 2), near], 1)
    matched = assign(boxes, TRUTH, VALID, SIZES, SETTINGS)
    assert matched[0].tolist() == naive_assign(boxes[0], TRUTH[0], 96, 96)
    assert matched[1].tolist() == naive_assign(boxes[1], TRUTH[1, :1], 96, 80)
    assert {BELOW, BETWEEN, 0} <= set(matched[0].tolist())


def test_the_best_box_answers_even_outside_the_picture_and_below_the_threshold() -> None:
    boxes = torch.tensor([[[-20.0, 10, 30, 40], [60, 60, 90, 90]]])
    truth = torch.tensor([[[0.0, 10, 25, 50]]])
    matched = assign(boxes, truth, torch.tensor([[True]]), torch.tensor([[96, 96]]), SETTINGS)
    assert matched.tolist() == [[0, BELOW]]


def test_what_was_moved_is_matched_not_the_anchors() -> None:
    layer = make()
    candidates: Candidates = layer(torch.randn(1, 4, 6, 6))
    target = torch.tensor([[[33.0, 30, 55, 50]]])
    row = 20
    deltas = candidates.deltas.detach().clone()
    deltas[0, row] = encode_boxes(target[0, 0], candidates.anchors[row], (1, 1, 1, 1))
    boxes = candidates.boxes.detach().clone()
    boxes[0, row] = target[0, 0]
    drawn = layer.draw(replace(candidates, deltas=deltas, boxes=boxes), target, VALID[:1, :1], SIZES[:1], BOTH[:1])
    assert drawn.index[drawn.positive].tolist() == [row]
    losses = layer.losses(replace(candidates, deltas=deltas, boxes=boxes), drawn)
    assert float(losses["proposals"]) < 1e-9  # the target is relative to the anchor, and met


def test_positives_come_first_and_background_fills_the_rest() -> None:
    matched = torch.full((2, 50), BELOW)
    matched[0, :10], matched[1, :] = 1, BETWEEN
    matched[1, 7], matched[1, 3] = 0, BELOW
    index, positive, filled = full_sample(matched, 16, 8)
    assert bool(filled.all())
    assert positive.sum(1).tolist() == [8, 1]
    assert bool(positive[:, :1].all())
    assert matched.gather(1, index)[0, 8:].eq(BELOW).all()
    assert len(set(index[0].tolist())) == 16  # enough of both: none twice
    assert index[1].tolist() == [7] + [3] * 15  # one is drawn again and again


def test_without_background_any_box_without_an_object_stands_in() -> None:
    matched = torch.tensor([[0, BETWEEN, BETWEEN, 0], [0, 0, 0, 0]])
    index, positive, filled = full_sample(matched, 4, 1)
    assert positive.sum(1).tolist() == [1, 1]
    assert matched.gather(1, index)[0, 1:].eq(BETWEEN).all()
    assert filled.tolist() == [[True] * 4, [True, False, False, False]]


def test_objectness_is_a_mean_over_objects_and_one_over_background() -> None:
    layer = make()
    candidates = layer(torch.randn(2, 4, 6, 6))
    drawn = layer.draw(candidates, TRUTH, VALID, SIZES, BOTH)
    scores = torch.zeros_like(candidates.scores)
    scores[torch.arange(2)[:, None], drawn.index, (~drawn.positive).long()] = 1.0  # object first, nothing second
    scores = torch.cat([scores, torch.zeros(2, 1, 2)], 1)  # one that says nothing, for an object of the first picture
    index = drawn.index.clone()
    index[0, 0] = scores.shape[1] - 1
    anchors = torch.cat([candidates.anchors, candidates.anchors[:1]])
    deltas = torch.cat([candidates.deltas, candidates.deltas[:, :1]], 1)
    losses = layer.losses(
        replace(candidates, scores=scores, anchors=anchors, deltas=deltas), replace(drawn, index=index)
    )
    right, unsure, objects = math.log1p(math.exp(-1)), math.log(2), int(drawn.positive.sum())
    expected = (right * (objects - 1) + unsure) / objects + right
    assert float(losses["proposal_objectness"].detach()) == pytest.approx(expected, rel=1e-4)


def test_targets_beyond_the_limit_are_left_out() -> None:
    bases = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10]]])
    goals = torch.tensor([[[500.0, 0, 510, 10], [5, 0, 15, 10]]])
    positive = torch.tensor([[True, True]])
    distance = box_distance(torch.zeros(1, 2, 4), bases, goals, positive)
    assert float(distance) == pytest.approx(0.5 * 0.5**2 / 4 / 2)
    assert float(box_distance(torch.zeros(1, 2, 4), bases, goals, ~positive)) == 0


@pytest.mark.parametrize("objects", [2, 0])
def test_every_weight_gets_a_finite_gradient(objects: int) -> None:
    layer = make()
    candidates = moved(layer)
    drawn = layer.draw(candidates, TRUTH[:, :objects], VALID[:, :objects], SIZES, BOTH)
    assert bool(drawn.positive.any()) == bool(objects)
    losses = layer.losses(candidates, drawn)
    (sum(losses.values()) + drawn.boxes.sum() * 0).backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_drawn_boxes_carry_gradients_to_the_deltas() -> None:
    layer = make()
    drawn = layer.draw(moved(layer), TRUTH, VALID, SIZES, BOTH)
    drawn.boxes.sum().backward()
    assert layer.deltas.weight.grad is not None
    assert bool(layer.deltas.weight.grad.abs().sum() > 0)


def test_a_picture_that_nobody_searched_teaches_nothing() -> None:
    layer = make()
    drawn = layer.draw(moved(layer), TRUTH, VALID, SIZES, torch.tensor([True, False]))
    assert bool(drawn.filled[0].all())
    assert not drawn.filled[1].any()
    assert not drawn.positive[1].any()


def test_proposals_are_inside_apart_and_sorted() -> None:
    layer = make(replace(SETTINGS, nms=0.5)).eval()
    candidates = moved(layer)
    proposals = layer.propose(candidates, SIZES)
    assert proposals.boxes.shape == (2, 10, 4)
    for boxes, valid, (h, w) in zip(proposals.boxes, proposals.valid, SIZES.tolist(), strict=True):
        own = boxes[valid]
        assert len(own) > 1
        assert bool((own >= 0).all() & (own <= torch.tensor([w, h, w, h])).all())
        assert float(box_iou(own, own).triu(1).max()) <= 0.5
    best = candidates.boxes[0, lead(candidates.scores)[0].argmax()]
    torch.testing.assert_close(proposals.boxes[0, 0], best.clamp(min=0).clamp(max=96).detach())


def test_images_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9]]] * 2)
    index, kept = strongest(boxes, torch.tensor([[0.1, 0.2], [0.9, 0.8]]), torch.ones(2, 2, dtype=torch.bool), 0.5, 5)
    assert index[:, 0].tolist() == [1, 0]
    assert kept.tolist() == [[True, False]] * 2


@pytest.mark.parametrize("wrong", [{"anchors": ()}, {"anchors": ((0, 5),)}, {"samples": 0}, {"negative": 0.8}])
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        LocalisationSettings(**wrong)  # type: ignore[arg-type]
