import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.ops import box_area, box_iou, clip_boxes, crowd_iou, decode_boxes, encode_boxes

CODERS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


def random_boxes(*shape: int, seed: int = 0, low: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 50
    side = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 40 + low
    return torch.cat([corner, corner + side], dim=-1)


whole_boxes = st.lists(st.tuples(*[st.integers(0, 8)] * 4), max_size=6).map(
    lambda rows: torch.tensor(
        [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows], dtype=torch.float32
    ).reshape(-1, 4)
)


def counted_pixels(box: Tensor) -> set[tuple[int, int]]:
    x0, y0, x1, y1 = (int(v) for v in box)
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


@settings(deadline=None, max_examples=50)
@given(whole_boxes, whole_boxes)
def test_overlaps_of_whole_boxes_count_pixels(a: Tensor, b: Tensor) -> None:
    iou, crowd = box_iou(a, b), crowd_iou(a, b)
    assert iou.shape == crowd.shape == (len(a), len(b))
    for i, box in enumerate(map(counted_pixels, a)):
        assert box_area(a)[i] == len(box)
        for j, other in enumerate(map(counted_pixels, b)):
            assert iou[i, j].item() == pytest.approx(len(box & other) / max(1, len(box | other)))
            assert crowd[i, j].item() == pytest.approx(len(box & other) / max(1, len(box)))


def test_iou_known_answers() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [5, 5, 5, 5], [4, 4, 2, 2]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [5, 5, 5, 5]])
    assert torch.equal(box_area(a), torch.tensor([100.0, 0, 0]))
    torch.testing.assert_close(box_iou(a, b), torch.tensor([[1, 1 / 3, 0], [0, 0, 0], [0, 0, 0]]))


def test_iou_broadcasts_over_leading_dimensions() -> None:
    truth, anchors = random_boxes(3, 4), random_boxes(7, seed=1)
    together = box_iou(truth, anchors)
    assert together.shape == (3, 4, 7)
    for image in range(3):
        torch.testing.assert_close(together[image], box_iou(truth[image], anchors))


def test_iou_of_no_boxes() -> None:
    none = torch.zeros(0, 4)
    assert box_iou(none, random_boxes(3).float()).shape == (0, 3)
    assert box_iou(torch.zeros(2, 0, 4), none).shape == (2, 0, 0)
    assert encode_boxes(none, none, CODERS[0]).shape == decode_boxes(none, none, CODERS[0]).shape == (0, 4)


def test_iou_is_symmetric_and_moves_with_the_boxes() -> None:
    a, b = random_boxes(9), random_boxes(8, seed=1)
    torch.testing.assert_close(box_iou(a, b), box_iou(b, a).T)
    torch.testing.assert_close(box_iou(a * 3 + 7, b * 3 + 7), box_iou(a, b))


def test_clip_takes_a_pair_or_a_size_per_image() -> None:
    boxes = torch.tensor([[[-5.0, -1, 20, 30], [3, 4, 5, 6]], [[-5.0, -1, 20, 30], [30, 40, 50, 60]]])
    sizes = torch.tensor([[10, 8], [100, 15]])  # height, width
    clipped = clip_boxes(boxes, sizes[:, None, :])
    assert clipped[0].tolist() == [[0, 0, 8, 10], [3, 4, 5, 6]]
    assert clipped[1].tolist() == [[0, 0, 15, 30], [15, 40, 15, 60]]
    assert torch.equal(clip_boxes(boxes[0], (10, 8)), clipped[0])


@pytest.mark.parametrize("weights", CODERS)
def test_decoding_undoes_encoding(weights: tuple[float, float, float, float]) -> None:
    boxes, anchors = random_boxes(3, 50), random_boxes(3, 50, seed=1)
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors, weights), anchors, weights), boxes)


def test_coder_known_answers() -> None:
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 20]])
    torch.testing.assert_close(encode_boxes(box, anchor, CODERS[1]), torch.tensor([[10.0, 0, 5 * math.log(2), 0]]))
    grown = decode_boxes(torch.tensor([[0.0, 0, 99, 99]]), anchor, CODERS[0])
    torch.testing.assert_close(grown[:, 2:] - grown[:, :2], torch.tensor([[10.0, 20.0]]) * 1000 / 16)


def test_encoding_padding_stays_finite() -> None:
    padding, box = torch.zeros(1, 4), torch.tensor([[1.0, 2, 3, 4]])
    assert encode_boxes(box, padding, CODERS[1]).isfinite().all()
    assert encode_boxes(padding, box, CODERS[1]).isfinite().all()
    assert encode_boxes(padding, padding, CODERS[1]).isfinite().all()


def test_gradients() -> None:
    a, b = random_boxes(4).requires_grad_(), random_boxes(4, seed=1).requires_grad_()
    deltas = (torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    assert torch.autograd.gradcheck(box_iou, (a, b))
    assert torch.autograd.gradcheck(crowd_iou, (a, b))
    assert torch.autograd.gradcheck(lambda x, y: encode_boxes(x, y, CODERS[1]), (a, b))
    assert torch.autograd.gradcheck(lambda x, y: decode_boxes(x, y, CODERS[1]), (deltas, b))


def test_iou_gradient_is_finite_for_boxes_without_area() -> None:
    a = torch.zeros(2, 4, requires_grad=True)
    box_iou(a, torch.zeros(3, 4)).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
