import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops import paste_masks, paste_soft
from segue.structures import Masks

SIZE = (37, 50)


def squares(n: int, cells: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities, and boxes inside, over the edge, thinner than a pixel and outside."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 2, generator=g) * torch.tensor([SIZE[1], SIZE[0]])
    half = torch.rand(n, 2, generator=g) ** 2 * 30 + 0.05
    centre[1] = 200
    return torch.rand(n, cells, cells, generator=g), torch.cat([centre - half, centre + half], dim=1)


def dense(windows: Tensor, values: Tensor) -> Tensor:
    """Packed values on the whole canvas (N, H, W), zero elsewhere."""
    owner, x, y = Masks.empty_windows(SIZE, windows).coordinates()
    canvas = torch.zeros(len(windows), *SIZE)
    canvas[owner, y, x] = values
    return canvas


def sampled_at_centres(square: Tensor, box: Tensor) -> Tensor:
    """Detectron2's rule on the whole canvas."""
    h, w = SIZE
    x = (torch.arange(w) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (torch.arange(h) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    return F.grid_sample(square[None, None], grid, padding_mode="zeros", align_corners=False)[0, 0]


def resized_to_whole_pixels(square: Tensor, box: Tensor) -> Tensor:
    """Detectron's rule: pad by a cell, grow the box alike, truncate, count both ends, resize, cut at the canvas."""
    h, w = SIZE
    padded = F.pad(square, (1, 1, 1, 1))
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (len(padded) / len(square))
    x0, y0 = (int(v) for v in middle - half)
    x1, y1 = (int(v) for v in middle + half)
    shape = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
    resized = F.interpolate(padded[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
    canvas = torch.zeros(SIZE)
    for y in range(max(y0, 0), min(y1 + 1, h)):
        for x in range(max(x0, 0), min(x1 + 1, w)):
            canvas[y, x] = resized[y - y0, x - x0]
    return canvas


RULES = [(True, sampled_at_centres), (False, resized_to_whole_pixels)]


@pytest.mark.parametrize(("at_centres", "rule"), RULES)
def test_equals_the_dense_rule(at_centres: bool, rule) -> None:
    probabilities, boxes = squares(16)
    soft = dense(*paste_soft(probabilities, boxes, SIZE, at_centres))
    expected = torch.stack([rule(p, b) for p, b in zip(probabilities, boxes, strict=True)])
    torch.testing.assert_close(soft, expected, atol=2e-5, rtol=0)
    assert expected[1].eq(0).all()
    hard = paste_masks(probabilities, boxes, SIZE, at_centres).dense()
    sure = (expected - 0.5).abs() > 2e-5
    assert torch.equal(hard[sure], (expected >= 0.5)[sure])


@pytest.mark.parametrize("at_centres", [True, False])
def test_in_small_portions_is_the_same(at_centres: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, boxes = squares(16)
    whole = paste_masks(probabilities, boxes, SIZE, at_centres, threshold=0.3)
    monkeypatch.setattr("segue.ops.paste.MOST_PIXELS", 60)
    parts = paste_masks(probabilities, boxes, SIZE, at_centres, threshold=0.3)
    assert torch.equal(parts.boxes, whole.boxes)
    assert torch.equal(parts.bits, whole.bits)


def test_a_full_square_fills_its_box() -> None:
    masks = paste_masks(torch.ones(1, 28, 28), torch.tensor([[10.0, 5, 31, 33]]), SIZE, at_centres=True)
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[5:33, 10:31] = True
    assert torch.equal(masks[0], expected)


def test_one_cell_per_pixel_copies_the_square() -> None:
    square = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    soft = dense(*paste_soft(square, torch.tensor([[10.0, 5, 16, 11]]), SIZE, at_centres=True))
    torch.testing.assert_close(soft[0, 5:11, 10:16], square[0])
    assert soft.count_nonzero() == 36


@pytest.mark.parametrize("at_centres", [True, False])
def test_no_masks_and_useless_boxes(at_centres: bool) -> None:
    assert len(paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), SIZE, at_centres)) == 0
    boxes = torch.tensor([[torch.nan] * 4, [0, 0, torch.inf, 5], [9, 9, 2, 2], [-20, -20, -10, -10]])
    masks = paste_masks(torch.ones(4, 28, 28), boxes, SIZE, at_centres)
    assert len(masks) == 4
    assert not masks.bits.any()
