import pytest
import torch
from torch import Tensor

from segue.ops.frustum import from_frustum, to_frustum

FOCAL, CENTRE, BOX, DEPTHS = 500.0, (320.0, 240.0), (250.0, 100.0, 410.0, 380.0), (1.5, 2.5)


def rows(p: int, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same box, focal length, centre and depths for each of P points."""
    box, focal, centre, depths = (torch.tensor(v, dtype=torch.float64) for v in (BOX, FOCAL, CENTRE, DEPTHS))
    return box.expand(p, 4), focal.expand(p), (centre + shift).expand(p, 2), depths.expand(p, 2)


def points_ahead(p: int, seed: int = 0) -> Tensor:
    u = torch.rand(p, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return u * torch.tensor([1, 1, 2]) + torch.tensor([-0.5, -0.5, 1])


def random_rows(p: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(p, 9, generator=g, dtype=torch.float64)
    start, near = u[:, :2] * 100, 1 + u[:, 2:3]
    boxes = torch.cat([start, start + 50 + 100 * u[:, 3:5]], dim=1)
    return boxes, 200 + 100 * u[:, 5], 80 * u[:, 6:8], torch.cat([near, near + 0.5 + u[:, 8:]], dim=1)


def homography(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> Tensor:
    """The 3 x 3 matrix that takes four points of a plane to four others."""
    equations, values = [], []
    for (a, b), (u, v) in zip(source, target, strict=True):
        equations += [[a, b, 1, 0, 0, 0, -u * a, -u * b], [0, 0, 0, a, b, 1, -v * a, -v * b]]
        values += [u, v]
    solved = torch.linalg.solve(torch.tensor(equations).double(), torch.tensor(values).double())
    return torch.cat([solved, solved.new_ones(1)]).view(3, 3)


def published(points: Tensor) -> Tensor:
    """Two homographies, where x goes left and y up, and pixel x is mirrored to w - 1 - x, w twice the centre."""
    result = []
    for axis in (0, 1):
        ends = [2 * CENTRE[axis] - 1 - BOX[end + axis] - CENTRE[axis] for end in (2, 0)]
        corners = [(end * z / FOCAL, z) for z in DEPTHS for end in ends]
        matrix = homography(corners, [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)])
        plane = torch.stack([-points[:, axis], points[:, 2], torch.ones_like(points[:, 2])], dim=1) @ matrix.T
        result.append(plane[:, :2] / plane[:, 2:])
    (x, z), (y, z_again) = result[0].unbind(1), result[1].unbind(1)
    torch.testing.assert_close(z, z_again)
    return torch.stack([-x, -y, z], dim=1)


def test_equals_the_published_homographies_but_for_a_pixel() -> None:
    points = points_ahead(50)
    torch.testing.assert_close(to_frustum(points, *rows(50, shift=-1)), published(points))


def test_corners_of_the_box_on_the_near_and_far_planes_are_those_of_the_cube() -> None:
    cube = torch.cartesian_prod(*(torch.tensor([-1.0, 1], dtype=torch.float64),) * 3)
    x, y, z = (torch.tensor(ends, dtype=torch.float64) for ends in ((250.0, 410.0), (100.0, 380.0), DEPTHS))
    seen = torch.cartesian_prod(x, y, z)
    centre = torch.tensor(CENTRE, dtype=torch.float64)
    points = torch.cat([(seen[:, :2] - centre) / FOCAL * seen[:, 2:], seen[:, 2:]], dim=1)
    torch.testing.assert_close(to_frustum(points, *rows(8)), cube)
    torch.testing.assert_close(from_frustum(cube, *rows(8)), points)


def test_there_and_back_with_a_camera_for_each_point() -> None:
    points, camera = points_ahead(40), random_rows(40, 1)
    torch.testing.assert_close(from_frustum(to_frustum(points, *camera), *camera), points)
    one = [to_frustum(points[i : i + 1], *(row[i : i + 1] for row in camera)) for i in range(40)]
    torch.testing.assert_close(to_frustum(points, *camera), torch.cat(one))


def test_points_on_a_line_stay_on_a_line() -> None:
    ends = points_ahead(2, seed=2)
    points = ends[:1] + torch.linspace(0, 1, 5, dtype=torch.float64)[:, None] * (ends[1:] - ends[:1])
    steps = to_frustum(points, *rows(5)).diff(dim=0)
    steps = steps / steps.norm(dim=1, keepdim=True)
    torch.testing.assert_close(steps, steps[:1].expand(4, 3))


@pytest.mark.parametrize("function", [to_frustum, from_frustum])
def test_gradients_reach_points_boxes_and_depths(function: object) -> None:
    points = points_ahead(3) if function is to_frustum else points_ahead(3) - torch.tensor([0, 0, 2.0])
    arguments = [t.clone().requires_grad_() for t in (points, *random_rows(3, 4))]
    assert callable(function)
    assert torch.autograd.gradcheck(function, arguments)


@pytest.mark.parametrize("function", [to_frustum, from_frustum])
def test_no_points(function: object) -> None:
    assert callable(function)
    empty = function(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 2), torch.zeros(0, 2))
    assert empty.shape == (0, 3)
