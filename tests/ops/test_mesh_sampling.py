"""Points on surfaces: where they lie, how often, and what moves them."""

from math import pi

import pytest
import torch
from torch import Tensor

from segue.errors import DataError
from segue.ops.mesh_graph import icosphere
from segue.ops.mesh_sampling import sample_surface
from segue.structures import Meshes

TRIANGLE = torch.tensor([[0, 1, 2]])
RIGHT = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def square(cuts: int = 1) -> tuple[Tensor, Tensor]:
    """The unit square at z = 0 in strips of different widths, two triangles each, with faces without area between."""
    x = torch.linspace(0, 1, cuts + 1) ** 2
    vertices = torch.cat([torch.stack([x, torch.full_like(x, y), torch.zeros_like(x)], 1) for y in (0.0, 1.0)])
    a = torch.arange(cuts)
    b = a + cuts + 1
    parts = ((a, a + 1, b), (a, a, b), (a + 1, b + 1, b), (b, b, b))
    return vertices, torch.stack([torch.stack(part, 1) for part in parts], 1).view(-1, 3)


def test_points_are_equally_likely_everywhere_however_the_surface_is_cut() -> None:
    points = sample_surface(Meshes.pack(*zip(square(9), square(1), strict=True)), 20_000, chance())[0]
    cells = (points[:, :, 0] * 4).long() * 4 + (points[:, :, 1] * 4).long()
    expected = 20_000 / 16
    for each in cells:
        chi_squared = ((each.bincount(minlength=16) - expected) ** 2 / expected).sum()
        assert chi_squared < 37.7  # 15 degrees of freedom: one in a thousand is above


def test_each_mesh_gets_its_own_points_whatever_its_size_and_beside_whom() -> None:
    scales, shifts = (1e-6, 1e6, 1.0), (5.0, 0.0, -7.0)
    vertices, faces = icosphere(2)
    meshes = Meshes.pack([vertices.double() * s + c for s, c in zip(scales, shifts, strict=True)], [faces] * 3)
    points, normals = sample_surface(meshes, 2000, chance())
    for each, direction, scale, shift in zip(points, normals, scales, shifts, strict=True):
        around = (each - shift) / scale
        assert 0.9 < around.norm(dim=1).min() <= around.norm(dim=1).max() <= 1 + 1e-6
        assert (around * direction).sum(1).min() > 0.9
        assert around.mean(0).abs().max() < 0.06  # deviation of a mean: sqrt(1 / 3 / 2000) = 0.013
        torch.testing.assert_close(direction.norm(dim=1), torch.ones(2000, dtype=torch.float64))


def globe(steps: int) -> tuple[Tensor, Tensor]:
    """The unit sphere cut along meridians and circles of latitude: thin triangles at the poles, some without area."""
    up, around = torch.linspace(0, pi, steps + 1), torch.linspace(0, 2 * pi, steps + 1)
    u, v = (each.flatten() for each in torch.meshgrid(up, around, indexing="ij"))
    a = torch.cartesian_prod(torch.arange(steps), torch.arange(steps)) @ torch.tensor([steps + 1, 1])
    b, c, d = a + steps + 1, a + steps + 2, a + 1
    vertices = torch.stack([u.sin() * v.cos(), u.sin() * v.sin(), u.cos()], 1)
    return vertices, torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])


def test_heights_of_points_on_a_sphere_are_uniform_as_archimedes_found() -> None:
    points = sample_surface(Meshes.pack(*([each] for each in globe(60))), 20_000, chance())[0][0]
    bands = ((points[:, 2] + 1) * 4).long().bincount(minlength=8)
    assert (bands / 20_000 - 1 / 8).abs().max() < 0.01  # four deviations


def test_normals_follow_the_order_of_the_corners() -> None:
    meshes = Meshes.pack([RIGHT, RIGHT], [TRIANGLE, TRIANGLE.flip(1)])
    normals = sample_surface(meshes, 10, chance())[1]
    assert normals[0].equal(torch.tensor([[0.0, 0, 1]]).expand(10, 3))
    assert normals[1].equal(torch.tensor([[0.0, 0, -1]]).expand(10, 3))


def test_faces_without_area_are_never_drawn_first_last_or_between() -> None:
    flat = torch.tensor([[0, 0, 1], [0, 1, 2], [1, 1, 1], [2, 1, 0], [2, 2, 2]])
    normals = sample_surface(Meshes.pack([RIGHT] * 4, [flat] * 4), 5000, chance())[1]
    assert normals.norm(dim=2).eq(1).all()


def test_turning_the_mesh_turns_points_and_normals() -> None:
    vertices, faces = icosphere(1)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=chance(), dtype=torch.float64))[0]
    turn[:, 0] *= torch.linalg.det(turn)
    meshes = Meshes.pack([vertices.double() * torch.tensor([1, 2, 3])], [faces])
    turned = sample_surface(meshes.with_vertices(meshes.vertices @ turn), 500, chance(1))
    for after, before in zip(turned, sample_surface(meshes, 500, chance(1)), strict=True):
        torch.testing.assert_close(after, before @ turn)


def test_points_and_normals_have_the_right_gradients() -> None:
    vertices, faces = icosphere(0)
    meshes = Meshes.pack([vertices.double(), 2 * vertices.double()], [faces, faces[:3]])
    places = meshes.vertices.clone().requires_grad_()

    def drawn(where: Tensor) -> tuple[Tensor, Tensor]:
        # The faces drawn change only where a place crosses a border; with this seed none is near one.
        return sample_surface(meshes.with_vertices(where), 7, chance(3))

    assert torch.autograd.gradcheck(drawn, places)


def test_the_generator_decides_and_without_one_torch_does() -> None:
    meshes = Meshes.pack([RIGHT], [TRIANGLE])
    assert sample_surface(meshes, 5, chance(1))[0].equal(sample_surface(meshes, 5, chance(1))[0])
    assert not sample_surface(meshes, 5, chance(1))[0].equal(sample_surface(meshes, 5, chance(2))[0])
    assert not sample_surface(meshes, 5)[0].equal(sample_surface(meshes, 5)[0])


def test_no_meshes_give_no_points() -> None:
    points, normals = sample_surface(Meshes.pack([], []), 5)
    assert points.shape == normals.shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [
        (RIGHT, TRIANGLE[:0]),
        (RIGHT[:0], TRIANGLE[:0]),
        (RIGHT * torch.tensor([1.0, 0, 0]), TRIANGLE),
        (RIGHT / 0, TRIANGLE),
    ],
    ids=["no faces", "nothing", "no area", "not finite"],
)
def test_a_mesh_without_area_is_named(vertices: Tensor, faces: Tensor) -> None:
    for place in range(3):
        pair = [(RIGHT, TRIANGLE)] * 2
        pair.insert(place, (vertices, faces))
        with pytest.raises(DataError, match=f"mesh {place} of 3 has no area to draw points from"):
            sample_surface(Meshes.pack(*zip(*pair, strict=True)), 5)
