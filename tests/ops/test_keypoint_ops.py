import math

import pytest
import torch
from torch.nn import functional as F

from segue.ops import keypoints as ops
from segue.ops.keypoints import keypoint_peaks, keypoint_targets, keypoint_windows, move_points


def target(x: float, y: float, box: tuple[float, float, float, float], visibility: float = 2) -> tuple[int, bool]:
    cells, valid = keypoint_targets(torch.tensor([[[x, y, visibility]]]), torch.tensor([box]), 56)
    return int(cells), bool(valid)


BOX = (10.0, 20.0, 66.0, 76.0)  # one pixel a cell


@pytest.mark.parametrize(
    ("x", "y", "cell"),
    [
        (10.0, 20.0, 0),
        (10.99, 20.0, 0),
        (11.0, 20.0, 1),
        (10.0, 21.0, 56),
        (65.9, 75.9, 56 * 56 - 1),
        (66.0, 76.0, 56 * 56 - 1),  # the right and lower edge belong to the last cell
        (66.0, 20.0, 55),
    ],
)
def test_cells_by_hand(x: float, y: float, cell: int) -> None:
    assert target(x, y, BOX) == (cell, True)


@pytest.mark.parametrize(("x", "y"), [(9.99, 30.0), (66.01, 30.0), (30.0, 19.99), (30.0, 76.01)])
def test_points_outside_the_region_are_no_targets(x: float, y: float) -> None:
    assert target(x, y, BOX) == (0, False)


def test_occluded_points_count_and_unlabelled_ones_do_not() -> None:
    assert target(30, 30, BOX, 1)[1]
    assert not target(30, 30, BOX, 0)[1]


@pytest.mark.parametrize("box", [(30.0, 20.0, 30.0, 76.0), (30.0, 30.0, 30.0, 30.0)])
def test_a_region_without_extent_has_no_target(box: tuple[float, float, float, float]) -> None:
    assert target(30, 30, box) == (0, False)


def test_targets_do_not_change_when_everything_moves_and_grows() -> None:
    torch.manual_seed(0)
    boxes = torch.rand(20, 4, dtype=torch.float64) * 50
    boxes[:, 2:] += boxes[:, :2] + 1
    points = torch.rand(20, 5, 3, dtype=torch.float64) * 100
    cells, valid = keypoint_targets(points, boxes, 56)
    moved = points * torch.tensor([3.0, 3, 1]) + torch.tensor([7.0, 7, 0])
    again, valid_again = keypoint_targets(moved, boxes * 3 + 7, 56)
    assert torch.equal(cells, again)
    assert torch.equal(valid, valid_again)
    assert 0 < int(valid.sum()) < 100


def published_peak(logits: torch.Tensor, box: torch.Tensor) -> list[float]:
    """The loop of Detectron, for one map."""
    x0, y0, x1, y1 = box.tolist()
    width, height = max(x1 - x0, 1), max(y1 - y0, 1)
    size = (math.ceil(height), math.ceil(width))
    enlarged = F.interpolate(logits[None, None], size, mode="bicubic", align_corners=False)[0, 0]
    place = int(enlarged.argmax())
    row, column = divmod(place, size[1])
    x = (column + 0.5) * width / size[1] + x0
    y = (row + 0.5) * height / size[0] + y0
    return [x, y, float(enlarged[row, column])]


@pytest.mark.parametrize("limit", [1 << 21, 4000])
def test_peaks_are_those_of_the_published_loop(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(ops, "MOST_VALUES", limit)
    torch.manual_seed(1)
    logits = torch.randn(60, 56, 56)
    logits[30:] = F.avg_pool2d(logits[30:], 9, 1, 4) * 30  # smooth ones, too
    boxes = torch.rand(20, 4) * 40
    boxes[:, 2:] = boxes[:, :2] + torch.rand(20, 2) ** 2 * 200
    boxes[0, 2:] = boxes[0, :2] + 0.3
    each = boxes.repeat_interleave(3, 0)
    wanted = torch.tensor([published_peak(m, box) for m, box in zip(logits, each, strict=True)])
    torch.testing.assert_close(
        keypoint_peaks(logits.view(20, 3, 56, 56), boxes).flatten(0, 1), wanted, atol=2e-4, rtol=1e-5
    )


def test_peaks_of_no_map() -> None:
    assert keypoint_peaks(torch.zeros(0, 5, 56, 56), torch.zeros(0, 4)).shape == (0, 5, 3)


def test_targets_and_peaks_are_inverse_up_to_half_a_cell() -> None:
    torch.manual_seed(2)
    boxes = torch.rand(40, 4) * 30
    boxes[:, 2:] += boxes[:, :2] + 56  # no pixel is larger than a cell
    sides = boxes[:, 2:] - boxes[:, :2]
    xy = boxes[:, :2] + torch.rand(40, 2) * sides
    cells, valid = keypoint_targets(torch.cat([xy, torch.ones(40, 1)], 1)[:, None], boxes, 56)
    assert bool(valid.all())
    maps = F.one_hot(cells, 56 * 56).float().view(40, 1, 56, 56)
    error = (keypoint_peaks(maps, boxes)[:, 0, :2] - xy).abs()
    assert bool((error <= sides / 56 / 2 + 0.5).all())


def test_only_points_that_are_there_move() -> None:
    points = torch.tensor([[0.0, 0, 0], [0, 0, 2], [5, 6, 1]])
    assert move_points(points, 0.5).tolist() == [[0, 0, 0], [0.5, 0.5, 2], [5.5, 6.5, 1]]
    assert torch.equal(move_points(move_points(points, 0.5), -0.5)[2], points[2])


def test_window_shares_do_not_depend_on_the_sharpness_of_a_hill() -> None:
    maps, box = torch.zeros(1, 2, 56, 56), torch.tensor([[0.0, 0, 56, 56]])
    maps[0, 0, 20, 30] = 12
    maps[0, 1, 18:23, 28:33] = 12 - math.log(25)
    found = keypoint_windows(maps, box)[0]
    exact = [(math.e**12 + 120) / (math.e**12 + 3135), (math.e**12 + 96) / (math.e**12 + 3111)]  # windows have 11 x 11
    assert found[:, 2].tolist() == pytest.approx(exact, rel=1e-4)
    torch.testing.assert_close(found[:, :2], torch.tensor([[30.5, 20.5]] * 2), atol=0.01, rtol=0)


def test_the_likelier_hill_wins_over_the_steeper_one() -> None:
    maps, box = torch.full((1, 1, 56, 56), -30.0), torch.tensor([[10.0, 20, 66, 76]])
    maps[0, 0, 40, 10] = math.log(0.3)
    maps[0, 0, 10:17, 40:47] = math.log(0.7 / 49)
    x, y, share = keypoint_windows(maps, box)[0, 0].tolist()
    assert (x, y, share) == pytest.approx((10 + 43.5, 20 + 13.5, 0.7), rel=1e-4)
    steep = keypoint_peaks(maps, box)[0, 0]
    assert steep[:2].tolist() == pytest.approx([10 + 10.5, 20 + 40.5])


@pytest.mark.parametrize("corner", [(0, 0), (0, 55), (55, 0), (55, 55)])
def test_windows_reach_the_corners(corner: tuple[int, int]) -> None:
    maps = torch.zeros(1, 1, 56, 56)
    maps[0, 0, corner[0], corner[1]] = 30
    found = keypoint_windows(maps, torch.tensor([[0.0, 0, 56, 56]]))[0, 0]
    torch.testing.assert_close(found, torch.tensor([corner[1] + 0.5, corner[0] + 0.5, 1]), atol=1e-3, rtol=0)


def test_no_region_has_no_windows() -> None:
    assert keypoint_windows(torch.zeros(0, 5, 56, 56), torch.zeros(0, 4)).shape == (0, 5, 3)
