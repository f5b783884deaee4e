import pytest
import torch
from torch import Tensor

from segue.ops import mask_targets, roi_align
from segue.structures import Masks

SIZE = (40, 56)


def shapes(n: int, seed: int = 0) -> Masks:
    """Noisy windows, some of them empty or blank."""
    g = torch.Generator().manual_seed(seed)
    ends = (torch.rand(n, 2, 2, generator=g) * torch.tensor([SIZE[1] + 1, SIZE[0] + 1])).long().sort(1).values
    ends[0] = 7
    masks = Masks.empty_windows(SIZE, ends.view(n, 4))
    bits = torch.rand(masks.bits.numel(), generator=g) < 0.6
    bits[masks.offsets[1] : masks.offsets[2]] = False
    return Masks(SIZE, masks.boxes, bits)


def proposals(r: int, seed: int = 1) -> Tensor:
    """Inside, over the edge, without area, far outside."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(r, 2, generator=g) * torch.tensor([SIZE[1], SIZE[0]])
    half = torch.rand(r, 2, generator=g) ** 2 * 40
    half[0], centre[1] = 0, 300
    return torch.cat([centre - half, centre + half], dim=1)


def dense_targets(masks: Masks, index: Tensor, boxes: Tensor, size: int, aligned: bool) -> Tensor:
    planes = masks.dense()[index][:, None].float()
    return roi_align(planes, boxes, torch.arange(len(index)), size, 1.0, 0, aligned)[:, 0]


@pytest.mark.parametrize("size", [5, 28])
def test_equals_roi_align_on_dense_masks(size: int) -> None:
    masks, boxes = shapes(7), proposals(30)
    index = torch.arange(30) % 7
    soft = mask_targets(masks, index, boxes, size, binary=False)
    torch.testing.assert_close(soft, dense_targets(masks, index, boxes, size, False), atol=1e-5, rtol=0)
    expected = dense_targets(masks, index, boxes, size, True)
    sure = (expected - 0.5).abs() > 1e-5
    cut = mask_targets(masks, index, boxes, size, binary=True)
    assert torch.equal(cut[sure], (expected >= 0.5).float()[sure])
    assert set(cut.unique().tolist()) == {0.0, 1.0}


def test_in_small_portions_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, boxes, index = shapes(7), proposals(30), torch.arange(30) % 7
    whole = mask_targets(masks, index, boxes, 6, binary=False)
    monkeypatch.setattr("segue.ops.targets.MOST_PIXELS", 50)
    torch.testing.assert_close(mask_targets(masks, index, boxes, 6, binary=False), whole)


def test_a_mask_that_fills_its_box() -> None:
    dense = torch.zeros(1, *SIZE)
    dense[:, 8:36, 12:40] = 1
    masks, box = Masks.from_dense(dense), torch.tensor([[12.0, 8, 40, 36]])
    index = torch.zeros(1, dtype=torch.int64)
    assert mask_targets(masks, index, box, 28, binary=True).all()
    soft = mask_targets(masks, index, box, 28, binary=False)[0]
    torch.testing.assert_close(soft[5], torch.tensor([1.0] * 27 + [0.5]))  # half a pixel too far right


def test_equals_the_mask_itself_where_bins_are_pixels() -> None:
    masks = shapes(4)
    pixels = torch.tensor([[0.0, 0, 40, 40]]).repeat(4, 1)
    targets = mask_targets(masks, torch.arange(4), pixels, 40, binary=True)
    assert torch.equal(targets.bool(), masks.dense()[:, :, :40])


def test_no_regions_and_no_masks() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert mask_targets(shapes(3), none, torch.zeros(0, 4), 28, binary=True).shape == (0, 28, 28)
    empty = Masks.from_dense(torch.zeros(1, *SIZE))
    assert not mask_targets(empty, none.new_zeros(2), proposals(2), 28, binary=False).any()
    assert mask_targets(Masks.from_dense(torch.zeros(0, *SIZE)), none, torch.zeros(0, 4), 7, True).shape == (0, 7, 7)


def test_boxes_that_are_no_numbers_give_zeros() -> None:
    boxes = torch.tensor([[torch.nan] * 4, [0, 0, torch.inf, torch.inf], [0, 0, 40, 40]])
    targets = mask_targets(shapes(4), torch.tensor([3, 3, 3]), boxes, 7, binary=True)
    assert not targets[:2].any()
    assert targets[2].any()
