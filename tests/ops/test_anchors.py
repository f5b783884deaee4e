import torch

from segue.ops import cell_anchors, grid_anchors


def test_published_cell_anchors() -> None:
    rounded = cell_anchors([32], [0.5, 1, 2], rounded=True)
    assert rounded.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    exact = cell_anchors([32], [0.5, 1, 2], rounded=False)
    torch.testing.assert_close(exact[0], torch.tensor([-22.627417, -11.313708, 22.627417, 11.313708]))


def test_areas_and_ratios() -> None:
    anchors = cell_anchors([16, 64], [0.5, 3], rounded=False)
    w, h = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    torch.testing.assert_close((w * h).sqrt(), torch.tensor([16.0, 64, 16, 64]))  # ratios outside, sizes inside
    torch.testing.assert_close(h / w, torch.tensor([0.5, 0.5, 3, 3]))


def test_grid_runs_over_y_then_x_then_anchor() -> None:
    cells = cell_anchors([8, 16], [1.0], rounded=True)
    fine, coarse = grid_anchors([(2, 3), (1, 1)], [(10, 20), 64], [cells, cells])
    assert fine.shape == (2 * 3 * 2, 4)
    assert coarse.tolist() == cells.tolist()
    for y in range(2):
        for x in range(3):
            for a in range(2):
                shift = torch.tensor([20.0 * x, 10.0 * y] * 2)
                assert torch.equal(fine[(y * 3 + x) * 2 + a], cells[a] + shift)


def test_no_cells() -> None:
    (level,) = grid_anchors([(0, 5)], [4], [cell_anchors([8], [1.0], rounded=False)])
    assert level.shape == (0, 4)
