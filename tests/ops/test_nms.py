import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.ops import batched_nms, box_iou, nms, nms_keep


def scene(n: int, seed: int, spread: float = 60.0) -> tuple[Tensor, Tensor, Tensor]:
    """Crowded boxes, distinct scores and groups."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g) * spread
    boxes = torch.cat([corner, corner + torch.rand(n, 2, generator=g) * 30 + 5], dim=1)
    return boxes, (torch.randperm(n, generator=g) + 1) / (n + 1), torch.randint(0, 5, (n,), generator=g) * 7 - 3


def greedy(boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor) -> list[int]:
    """The definition, one box after the other; indices by falling score."""
    rival = ((box_iou(boxes, boxes) > threshold) & (groups[:, None] == groups)).tolist()
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if not any(rival[i][j] for j in kept):
            kept.append(i)
    return kept


def test_known_answer() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [2, 0, 12, 10]])
    scores = torch.tensor([0.8, 0.9, 0.1, 0.7])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 0, 0]), 0.5).tolist() == [1, 0, 2]


def test_suppressed_boxes_suppress_nothing() -> None:
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [12, 0, 22, 10]])
    assert nms(chain, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.3).tolist() == [0, 2]


def test_an_iou_equal_to_the_threshold_stays() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert nms_keep(boxes, torch.tensor([0.9, 0.8]), 0.5).all()
    assert nms_keep(boxes, torch.tensor([0.9, 0.8]), 0.49).tolist() == [True, False]


def test_ties_keep_the_earlier_box() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(600, 1)
    assert nms(boxes, torch.ones(600), 0.5).tolist() == [0]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_equals_the_definition(n: int, seed: int, threshold: float) -> None:
    boxes, scores, groups = scene(n, seed)
    assert nms(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold, torch.zeros(n))
    assert batched_nms(boxes, scores, groups, threshold).tolist() == greedy(boxes, scores, threshold, groups)


def test_equals_the_definition_over_many_blocks() -> None:
    boxes, scores, groups = scene(1300, 3, spread=400)
    assert nms(boxes, scores, 0.4).tolist() == greedy(boxes, scores, 0.4, torch.zeros(1300))
    assert batched_nms(boxes, scores, groups, 0.3).tolist() == greedy(boxes, scores, 0.3, groups)


def test_order_of_the_input_does_not_matter() -> None:
    boxes, scores, groups = scene(700, 1, spread=200)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0))
    keep = nms_keep(boxes, scores, 0.5, groups)
    assert torch.equal(nms_keep(boxes[order], scores[order], 0.5, groups[order]), keep[order])
    assert 0 < int(keep.sum()) < 700


def test_groups_equal_one_call_each() -> None:
    boxes, scores, groups = scene(800, 2)
    keep = nms_keep(boxes, scores, 0.5, groups)
    for group in groups.unique():
        members = groups == group
        assert torch.equal(keep[members], nms_keep(boxes[members], scores[members], 0.5))


def test_groups_are_compared_exactly_even_where_offsets_would_lose_digits() -> None:
    boxes, scores, groups = scene(300, 5)
    far = groups * (1 << 40)
    assert torch.equal(nms_keep(boxes, scores, 0.5, far), nms_keep(boxes, scores, 0.5, groups))


def test_invalid_and_nan_boxes_are_neither_kept_nor_suppress() -> None:
    boxes, scores, groups = scene(400, 4)
    valid = torch.arange(400) % 3 != 0
    expected = torch.zeros(400, dtype=torch.bool)
    expected[valid] = nms_keep(boxes[valid], scores[valid], 0.5, groups[valid])
    assert torch.equal(nms_keep(boxes, scores, 0.5, groups, valid), expected)
    assert torch.equal(nms_keep(boxes, scores.masked_fill(~valid, torch.nan), 0.5, groups), expected)


def test_no_boxes() -> None:
    none, scores = torch.zeros(0, 4), torch.zeros(0)
    assert nms_keep(none, scores, 0.5).shape == nms(none, scores, 0.5).shape == (0,)
    assert batched_nms(none, scores, torch.zeros(0, dtype=torch.int64), 0.5).dtype == torch.int64
    assert not nms_keep(torch.rand(3, 4), torch.rand(3), 0.5, valid=torch.zeros(3, dtype=torch.bool)).any()
