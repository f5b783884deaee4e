from dataclasses import replace

import pytest
import torch

from segue.nn.conventions import DETECTRON2, SEGUE, TORCHVISION, Conventions
from segue.ops import encode_boxes
from segue.structures import Categories, Regions
from segue.tasks.boxes import CODER, BoxHead, BoxSettings, best_first
from segue.tasks.task import Sampled

CATEGORIES = Categories.from_names(["mug", "chair", "lamp"])


def head_of(conventions: Conventions, **settings: float) -> BoxHead:
    return BoxHead(4, CATEGORIES, conventions, replace(BoxSettings(channels=8), **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("conventions", [SEGUE, TORCHVISION, DETECTRON2])
def test_rows_follow_the_conventions_but_outputs_do_not(conventions: Conventions) -> None:
    head = head_of(conventions)
    assert head.deltas.out_features == 4 * (4 if conventions is TORCHVISION else 3)
    logits, deltas = head(torch.randn(5, 4, 7, 7))
    assert logits.shape == (5, 4)
    assert deltas.shape == (5, 3, 4)


@pytest.mark.parametrize("conventions", [TORCHVISION, DETECTRON2])
def test_a_perfect_answer_has_no_loss(conventions: Conventions) -> None:
    head = head_of(conventions)
    truth = Regions(torch.tensor([[10.0, 10, 50, 40], [5, 5, 9, 30]]), torch.tensor([2, 0]))
    regions = Sampled(
        boxes=torch.tensor([[12.0, 8, 48, 44], [4, 6, 10, 28], [70, 70, 80, 80], [0, 0, 0, 0]]),
        labels=torch.tensor([2, 0, 1, 1]),
        matched=torch.tensor([0, 1, 0, 0]),
        positive=torch.tensor([True, True, False, False]),
        valid=torch.tensor([True, True, True, False]),
    )
    background = 0 if conventions.background_first else 3
    classes = [2 + head.first, 0 + head.first, background, 1]
    logits = torch.full((4, 4), -40.0)
    logits[torch.arange(4), torch.tensor(classes)] = 40.0
    deltas = torch.full((4, 3, 4), 99.0)
    deltas[torch.arange(2), torch.tensor([2, 0])] = encode_boxes(truth.boxes, regions.boxes[:2], CODER)
    losses = head.losses((logits, deltas), regions, truth)
    assert float(losses["classes"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["boxes"]) == pytest.approx(0, abs=1e-5)


def test_losses_without_any_object_are_finite_and_train_the_classifier() -> None:
    head = head_of(SEGUE)
    no = torch.zeros(3, dtype=torch.bool)
    regions = Sampled(torch.rand(3, 4), torch.zeros(3).long(), torch.zeros(3).long(), no, ~no)
    losses = head.losses(head(torch.randn(3, 4, 7, 7)), regions, Regions.empty())
    assert float(losses["boxes"].detach()) == 0
    assert 0 < float(losses["classes"].detach()) < 10


def test_select_keeps_the_best_of_each_class_and_pads_the_rest() -> None:
    head = head_of(DETECTRON2, score=0.2, nms=0.5)
    proposals = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 60, 60], [0, 0, 10, 10]]])
    valid = torch.tensor([[True, True, True, False]])
    logits = torch.tensor([[4.0, 0, 0, 0], [2, 0, 0, 0], [0, 3, 2.9, 0], [9, 0, 0, 0]])
    found = head.select((logits, torch.zeros(4, 3, 4)), proposals, valid, torch.tensor([[50, 55]]))
    labels, boxes = found.labels[found.valid], found.boxes[found.valid]
    assert labels.tolist() == [0, 1, 2]  # the second proposal doubles the first; the fourth is not valid
    assert boxes.tolist() == [[0, 0, 10, 10], [30, 30, 55, 50], [30, 30, 55, 50]]  # clipped to 55 x 50
    assert bool((found.scores[found.valid].diff() <= 0).all())
    assert found.valid.shape == found.scores.shape


def test_select_with_nothing_above_the_threshold_is_empty() -> None:
    head = head_of(SEGUE, score=0.9)
    found = head.select(
        (torch.zeros(2, 4), torch.zeros(2, 3, 4)), torch.rand(1, 2, 4), torch.ones(1, 2).bool(), torch.tensor([[9, 9]])
    )
    assert not bool(found.valid.any())


def test_of_equal_scores_the_earlier_comes_first():
    values = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]])
    top, index = best_first(values, 5)
    assert top.tolist() == [[3.0, 3.0, 3.0, 2.0, 2.0], [5.0, 0.0, 0.0, 0.0, 0.0]]
    assert index[0].tolist() == [1, 2, 4, 3, 5]
    assert index[1, 0] == 5
    many = torch.zeros(1, 5000).index_fill(1, torch.arange(100, 5000, 7), 1.0)
    assert best_first(many, 600)[1][0].tolist() == list(range(100, 5000, 7))[:600]
