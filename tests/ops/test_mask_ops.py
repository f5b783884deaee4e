import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segue.ops import mask_boxes, mask_intersection, mask_iou, unite_masks, warp_masks
from segue.structures import Masks

SIZE = (9, 13)
NO_MASKS = Masks.from_dense(torch.zeros(0, *SIZE))


def blobs(n: int, seed: int, size: tuple[int, int] = SIZE) -> Masks:
    """Noise in windows of all sizes: many runs per row, some windows with blank margins, some masks empty."""
    g = torch.Generator().manual_seed(seed)
    ends = (torch.rand(n, 2, 2, generator=g) * torch.tensor([size[1] + 1, size[0] + 1])).long().sort(1).values
    masks = Masks.empty_windows(size, ends.view(n, 4))
    return Masks(size, masks.boxes, torch.rand(masks.bits.numel(), generator=g) < 0.6)


def affine(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


IDENTITY = affine([1, 0, 0], [0, 1, 0])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 10_000))
def test_overlaps_count_the_pixels_of_dense_masks(n: int, m: int, seed: int) -> None:
    a, b = blobs(n, seed), blobs(m, seed + 1)
    x, y = a.dense().flatten(1).double(), b.dense().flatten(1).double()
    shared = x @ y.T
    union = x.sum(1)[:, None] + y.sum(1) - shared
    assert torch.equal(mask_intersection(a, b).double(), shared)
    torch.testing.assert_close(mask_iou(a, b), (shared / union.clamp(min=1)).float())


def test_overlaps_in_small_portions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = blobs(20, 0), blobs(30, 1)
    whole = mask_intersection(a, b)
    monkeypatch.setattr("segue.ops.masks.MOST_LOOKUPS", 7)
    assert torch.equal(mask_intersection(a, b), whole)


def test_a_run_ends_with_its_row() -> None:
    full = Masks.from_dense(torch.ones(1, *SIZE))
    left = torch.zeros(1, *SIZE)
    left[:, :, 0] = 1
    assert mask_intersection(full, Masks.from_dense(left)).tolist() == [[SIZE[0]]]
    assert mask_iou(full, full).tolist() == [[1.0]]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8), st.integers(0, 10_000))
def test_boxes_are_those_of_tightly_packed_masks(n: int, seed: int) -> None:
    masks = blobs(n, seed)
    assert torch.equal(mask_boxes(masks), Masks.from_dense(masks.dense()).boxes.float())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8), st.integers(0, 10_000))
def test_unions_are_those_of_dense_masks(n: int, seed: int) -> None:
    masks = blobs(n, seed)
    groups = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(seed))
    united = unite_masks(masks, groups, 5)  # nothing is in the last group
    assert len(united) == 5
    for group, dense in enumerate(united.dense()):
        assert torch.equal(dense, masks.dense()[groups == group].any(0))


def test_flips_turns_and_shifts_are_exact() -> None:
    masks, (h, w) = blobs(20, 2), SIZE
    dense = masks.dense()
    cases = [
        (IDENTITY, SIZE, dense),
        (affine([-1, 0, w], [0, 1, 0]), SIZE, dense.flip(2)),
        (affine([1, 0, 0], [0, -1, h]), SIZE, dense.flip(1)),
        (affine([0, 1, 0], [1, 0, 0]), (w, h), dense.transpose(1, 2)),
        (affine([0, 1, 0], [-1, 0, w]), (w, h), dense.rot90(1, (1, 2))),
        (affine([1, 0, -3], [0, 1, -2]), (h - 2, w - 3), dense[:, 2:, 3:]),
        (affine([1, 0, 4], [0, 1, 1]), (h + 5, w + 6), torch.nn.functional.pad(dense, (4, 2, 1, 4))),
        (affine([3, 0, 0], [0, 2, 0]), (2 * h, 3 * w), dense.repeat_interleave(2, 1).repeat_interleave(3, 2)),
    ]
    for matrix, size, expected in cases:
        warped = warp_masks(masks, matrix, size)
        assert warped.size == size
        assert torch.equal(warped.dense(), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.floats(0.3, 2.5), st.floats(-6, 6))
def test_warp_reads_the_pixel_under_each_new_centre(
    seed: int, turn: bool, mirror: bool, scale: float, shift: float
) -> None:
    masks, size = blobs(3, seed), (11, 10)
    linear = torch.tensor([[-scale if mirror else scale, 0], [0, scale * 1.3]], dtype=torch.float64)
    linear = linear.flip(0) if turn else linear
    offset = torch.tensor([shift + (9 * scale if mirror else 0), -shift], dtype=torch.float64)
    warped = warp_masks(masks, torch.cat([linear, offset[:, None]], dim=1), size).dense()
    centres = torch.cartesian_prod(*(torch.arange(n) + 0.5 for n in size)).flip(1).double()  # x, y
    old = ((centres - offset) @ torch.linalg.inv(linear).T).view(*size, 2)
    sure = ((old - old.round()).abs() > 1e-6).all(2)  # the two ways of inverting may differ on an edge
    x, y = old.floor().long().unbind(2)
    inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
    expected = masks.dense()[:, y.clamp(0, SIZE[0] - 1), x.clamp(0, SIZE[1] - 1)] & inside
    assert torch.equal(warped[:, sure], expected[:, sure])


def test_flipping_twice_changes_nothing() -> None:
    masks, flip = blobs(10, 3), affine([-1, 0, SIZE[1]], [0, -1, SIZE[0]])
    again = warp_masks(warp_masks(masks, flip, SIZE), flip, SIZE)
    assert torch.equal(again.dense(), masks.dense())


def test_masks_may_leave_the_canvas() -> None:
    masks = blobs(6, 4)
    gone = warp_masks(masks, affine([1, 0, 100], [0, 1, 0]), SIZE)
    assert len(gone) == 6
    assert gone.bits.numel() == 0


def test_no_masks() -> None:
    groups = torch.zeros(0, dtype=torch.int64)
    assert mask_iou(NO_MASKS, blobs(3, 0)).shape == (0, 3)
    assert mask_iou(blobs(3, 0), NO_MASKS).shape == (3, 0)
    assert mask_boxes(NO_MASKS).shape == (0, 4)
    assert len(warp_masks(NO_MASKS, IDENTITY, SIZE)) == 0
    assert len(unite_masks(NO_MASKS, groups, 0)) == 0
    assert unite_masks(NO_MASKS, groups, 2).bits.numel() == 0


def test_empty_masks() -> None:
    empty = Masks.from_dense(torch.zeros(2, *SIZE))
    blank = Masks.empty_windows(SIZE, torch.tensor([[1, 2, 5, 6], [0, 3, 0, 8], [4, 4, 9, 4]]))
    for masks in (empty, blank):
        assert not mask_boxes(masks).any()
        assert not mask_iou(masks, masks).any()
        assert not warp_masks(masks, IDENTITY * 2, SIZE).bits.any()
