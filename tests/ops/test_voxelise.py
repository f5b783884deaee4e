import math
from itertools import product

import pytest
import torch
from torch import Tensor

from segue.ops import voxelise as module
from segue.ops.cubify import cubify
from segue.ops.voxelise import voxelise, voxels_of_points
from segue.structures.meshes import Meshes


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_grid(n: int, size: tuple[int, int, int], share: float, seed: int = 0) -> Tensor:
    return torch.rand(n, *size, generator=generator(seed)) < share


def ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0), rings: int = 40) -> tuple[Tensor, Tensor]:
    """A sphere of 4 * rings^2 faces, some of them with two corners at a pole, that is, without area."""
    tilt = torch.linspace(0, math.pi, rings + 1)[:, None]
    turn = torch.arange(2 * rings) * math.pi / rings
    width = tilt.sin()
    width[-1] = 0  # else there is a tiny hole
    vertices = torch.stack([width * turn.cos(), width * turn.sin(), tilt.cos().expand(-1, 2 * rings)], dim=2)
    i, j = torch.arange(rings)[:, None] * 2 * rings, torch.arange(2 * rings)
    a, b = i + j, i + (j + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    faces = torch.stack([torch.stack([a, c, d], dim=2), torch.stack([a, d, b], dim=2)])
    return vertices.view(-1, 3) * radius + torch.tensor(centre), faces.view(-1, 3)


def centres(size: tuple[int, int, int]) -> Tensor:
    """(D, H, W, 3) x, y, z of the centres of voxels."""
    z, y, x = (2 * (torch.arange(side) + 0.5) / (side - 1) - 1 for side in size)
    return torch.stack(torch.meshgrid(z, y, x, indexing="ij"), dim=-1).flip(-1)


def at_centres(places: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(V, 3) x, y, z counted in voxels, 0 the centre of the first -> coordinates."""
    return (places + 0.5) * 2 / torch.tensor([side - 1 for side in reversed(size)]) - 1


def winding_numbers(meshes: Meshes, at: Tensor) -> Tensor:
    """(P,) of one mesh around places (P, 3): its solid angle there (van Oosterom and Strackee 1983) over 4 pi."""
    a, b, c = (meshes.vertices[meshes.faces].double() - at.double()[:, None, None]).unbind(2)  # (P, F, 3)
    la, lb, lc = a.norm(dim=2), b.norm(dim=2), c.norm(dim=2)
    above = (a * torch.linalg.cross(b, c)).sum(2)
    below = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return torch.atan2(above, below).sum(1) / (2 * math.pi)


def jittered(size: tuple[int, int, int], seed: int) -> Meshes:
    """A watertight mesh that goes through itself here and there."""
    meshes = cubify(random_grid(1, size, 0.4, seed).float())
    return meshes.with_vertices(meshes.vertices + torch.randn(meshes.vertices.shape, generator=generator(seed)))


@pytest.mark.parametrize("size", [(6, 6, 6), (3, 5, 8), (1, 2, 4)])
def test_cubes_of_voxels_are_those_voxels(size: tuple[int, int, int]) -> None:
    grid = random_grid(3, size, 0.5)
    assert torch.equal(voxelise(cubify(grid.float()), size), grid)


def test_a_ball_holds_the_centres_nearer_than_its_radius() -> None:
    size = (20, 24, 16)
    vertices, faces = ball(0.7, (0.1, -0.05, 0.2))
    found = voxelise(Meshes.pack([vertices], [faces]), size)[0]
    distance = (centres(size) - torch.tensor([0.1, -0.05, 0.2])).norm(dim=-1)
    assert found[distance < 0.69].all()
    assert not found[distance > 0.7].any()
    assert 500 < int(found.sum()) < 4000


def test_a_line_through_edges_and_vertices_meets_the_surface_once() -> None:
    """All corners are at centres of voxels, and all diagonals go through some: half of the boundary is inside."""
    size = (9, 9, 9)
    box = cubify(torch.ones(1, 1, 1, 1))
    places = torch.where(box.vertices > 0, 6.0, 2.0)
    found = voxelise(box.with_vertices(at_centres(places, size)), size)
    wanted = torch.zeros(1, *size, dtype=torch.bool)
    wanted[:, 2:6, 2:6, 2:6] = True
    assert torch.equal(found, wanted)


def test_no_line_leaks_through_meshes_with_corners_at_centres() -> None:
    size = (16, 8, 8)
    for seed in range(20):
        g = generator(seed)
        meshes = cubify(random_grid(8, (3, 3, 3), 0.5, seed).float())
        shape = meshes.vertices.shape
        places = torch.cat([torch.randint(-1, 9, shape, generator=g)[:, :2], torch.randint(0, 15, shape)[:, 2:]], dim=1)
        found = voxelise(meshes.with_vertices(at_centres(places, size)), size)
        assert found.any()
        assert not found[:, -1].any()


def test_equals_winding_numbers_by_solid_angles() -> None:
    size = (6, 7, 5)
    meshes = [jittered((3, 3, 3), seed) for seed in range(3)]
    winding = torch.stack([winding_numbers(m, centres(size).view(-1, 3)).view(size) for m in meshes]).round()
    assert winding.min() < -1
    assert winding.max() > 0
    found = voxelise(Meshes.pack(*zip(*(m.unpack()[0] for m in meshes), strict=True)), size)
    assert torch.equal(found, winding != 0)


def test_overlapping_balls_unite_and_the_orientation_does_not_matter() -> None:
    one, other = ball(0.5, (-0.2, 0, 0.1), 12), ball(0.6, (0.3, 0.1, 0), 12)
    both = (torch.cat([one[0], other[0]]), torch.cat([one[1], other[1] + len(one[0])]))
    meshes = [one, other, both, (both[0], both[1].flip(1))]
    a, b, union, turned = voxelise(Meshes.pack(*zip(*meshes, strict=True)), 14)
    assert (a & b).any()
    assert torch.equal(union, a | b)
    assert torch.equal(turned, union)


def test_cavities_are_outside() -> None:
    grid = torch.ones(1, 5, 5, 5)
    grid[0, 2, 2, 2] = 0
    assert not voxelise(cubify(grid), 5)[0, 2, 2, 2]


@pytest.mark.parametrize("limit", [1, 50, 1 << 20])
def test_a_batch_equals_its_meshes_one_by_one_in_any_pieces(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    meshes = [ball(0.6, rings=5), (torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)), jittered((2, 3, 2), 7)]
    packed = Meshes.pack(*zip(*(m.unpack()[0] if isinstance(m, Meshes) else m for m in meshes), strict=True))
    alone = [voxelise(Meshes.pack([vertices], [faces]), (5, 6, 7)) for vertices, faces in packed.unpack()]
    monkeypatch.setattr(module, "MOST_CROSSINGS", limit)
    assert torch.equal(voxelise(packed, (5, 6, 7)), torch.cat(alone))
    assert [bool(grid.any()) for grid in alone] == [True, False, True]


def test_what_reaches_over_the_grid_is_cut_off() -> None:
    vertices, faces = ball(30.0, rings=6)
    assert voxelise(Meshes.pack([vertices, vertices + 100], [faces] * 2), 4).flatten(1).sum(1).tolist() == [64, 0]


def test_vertices_that_are_not_finite_do_no_harm_to_other_meshes() -> None:
    vertices, faces = ball(0.6, rings=4)
    broken = vertices.clone()
    broken[10], broken[20] = math.nan, math.inf
    found = voxelise(Meshes.pack([broken, vertices], [faces] * 2), 6)
    assert torch.equal(found[1:], voxelise(Meshes.pack([vertices], [faces]), 6))


def test_no_meshes() -> None:
    assert voxelise(Meshes.pack([], []), (2, 3, 4)).shape == (0, 2, 3, 4)


def test_points_fill_the_published_voxels() -> None:
    size, g = (3, 4, 6), generator(5)
    points, owner = torch.rand(40, 3, generator=g) * 4 - 2, torch.randint(0, 3, (40,), generator=g)
    wanted = torch.zeros(3, *size, dtype=torch.bool)
    for (x, y, z), number in zip(points.tolist(), owner.tolist(), strict=True):
        place = [int((v + 1) * (side - 1) / 2) for v, side in zip((z, y, x), size, strict=True)]
        if all(0 <= p < side for p, side in zip(place, size, strict=True)):
            wanted[(number, *place)] = True
    assert 5 < int(wanted.sum()) < 40
    assert torch.equal(voxels_of_points(points, owner, 3, size), wanted)


def test_points_at_centres_fill_what_meshes_fill() -> None:
    size = (4, 5, 6)
    grid = random_grid(2, size, 0.4)
    owner, z, y, x = grid.nonzero().unbind(1)
    found = voxels_of_points(centres(size)[z, y, x], owner, 2, size)
    assert torch.equal(found, grid)
    assert torch.equal(found, voxelise(cubify(found), size))


def test_points_that_are_nowhere_count_nowhere() -> None:
    points = torch.tensor(list(product((math.nan, math.inf, -9.0, 1.7), repeat=3)))
    assert not voxels_of_points(points, torch.zeros(64, dtype=torch.int64), 1, 4).any()
    assert voxels_of_points(points[:0], torch.zeros(0, dtype=torch.int64), 0, 4).shape == (0, 4, 4, 4)
