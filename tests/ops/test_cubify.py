from itertools import product

import pytest
import torch
from torch import Tensor

from segue.ops.cubify import Align, cubify, occupied_or_centre, without_specks
from segue.structures.meshes import Meshes


def random_grid(n: int, size: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(n, *size, generator=torch.Generator().manual_seed(seed))


def solid(*blocks: tuple[slice, slice, slice], size: int = 6, hole: tuple[slice, slice, slice] | None = None) -> Tensor:
    grid = torch.zeros(1, size, size, size)
    for block in blocks:
        grid[0][block] = 1
    if hole is not None:
        grid[0][hole] = 0
    return grid


MIDDLE, THROUGH = slice(2, 4), slice(1, 5)
CUBE = (THROUGH, THROUGH, THROUGH)
SOLIDS = {  # grid, Euler number, voxels, sides
    "cube": (solid(CUBE), 2, 64, 96),
    "ring": (solid(CUBE, hole=(THROUGH, MIDDLE, MIDDLE)), 0, 48, 2 * (16 - 4) + 4 * (16 + 8)),
    "two cubes": (solid((slice(0, 2),) * 3, (slice(3, 5),) * 3), 4, 16, 48),
    "cavity": (solid(CUBE, hole=(MIDDLE, MIDDLE, MIDDLE)), 4, 56, 96 + 24),
}


def directed_edges(meshes: Meshes) -> Tensor:
    return torch.cat([meshes.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])


def is_watertight(meshes: Meshes) -> bool:
    """Whether every directed edge occurs as often as its opposite."""
    edges = directed_edges(meshes)
    forth = edges[:, 0] * len(meshes.vertices) + edges[:, 1]
    back = edges[:, 1] * len(meshes.vertices) + edges[:, 0]
    return torch.equal(forth.sort().values, back.sort().values)


def cross_products(meshes: Meshes) -> tuple[Tensor, Tensor]:
    """(F, 3) of the sides of each face, twice its area long, and (F, 3) the first corner."""
    a, b, c = meshes.vertices.double()[meshes.faces].unbind(1)
    return torch.linalg.cross(b - a, c - a), a


@pytest.mark.parametrize("name", SOLIDS)
def test_known_solids(name: str) -> None:
    grid, euler, voxels, sides = SOLIDS[name]
    meshes = cubify(grid, align="corner")
    edges = len(directed_edges(meshes).sort(dim=1).values.unique(dim=0))
    assert len(meshes.vertices) - edges + len(meshes.faces) == euler
    assert is_watertight(meshes)
    normals, corner = cross_products(meshes)
    side = 2 / grid.shape[-1]
    assert float(normals.norm(dim=1).sum() / 2) == pytest.approx(sides * side**2)
    assert float((normals * corner).sum() / 6) == pytest.approx(voxels * side**3)  # positive: they look outward


def test_faces_lie_between_an_occupied_voxel_and_a_free_one_that_they_look_to() -> None:
    grid, size = random_grid(2, (3, 4, 5)), (3, 4, 5)
    meshes = cubify(grid, 0.5)
    voxel = torch.tensor([2 / 4, 2 / 3, 2 / 2])  # x, y, z
    scaled = meshes.with_vertices(((meshes.vertices + 1) / voxel).round())  # voxels of side 1
    normals, _ = cross_products(scaled)
    triangles = scaled.vertices[meshes.faces]
    centre = (triangles.amin(1) + triangles.amax(1)) / 2  # of the square
    inside, outside = (centre - normals / 2).floor().long(), (centre + normals / 2).floor().long()

    def occupied(places: Tensor, owner: int) -> list[bool]:
        return [
            all(0 <= p < s for p, s in zip((z, y, x), size, strict=True)) and bool(grid[owner, z, y, x] >= 0.5)
            for x, y, z in places.tolist()
        ]

    exposed = 0
    for owner in range(2):
        own = meshes.face_owner == owner
        assert all(occupied(inside[own], owner))
        assert not any(occupied(outside[own], owner))
        for z, y, x in product(*map(range, size)):
            steps = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 0))
            around = torch.tensor([(x + a, y + b, z + c) for a, b, c in steps])
            if grid[owner, z, y, x] >= 0.5:
                exposed += 6 - sum(occupied(around, owner))
    assert len(meshes.faces) == 2 * exposed
    assert is_watertight(meshes)


def test_a_voxel_begins_where_published_and_its_sides_are_cut_as_published() -> None:
    grid = torch.zeros(1, 3, 5, 9)
    grid[0, 1, 3, 2] = 1
    meshes = cubify(grid)
    low = torch.tensor([2 * 2 / 8 - 1, 2 * 3 / 4 - 1, 2 * 1 / 2 - 1])
    side = torch.tensor([2 / 8, 2 / 4, 2 / 2])
    torch.testing.assert_close(meshes.vertices.amin(0), low)
    torch.testing.assert_close(meshes.vertices.amax(0), low + side)
    assert meshes.vertices.shape == (8, 3)
    corners = ((meshes.vertices - low) / side).round().int().tolist()
    diagonals = {
        frozenset("".join(map(str, corners[end])) for end in edge)
        for edge in directed_edges(meshes).tolist()
        if sum(a != b for a, b in zip(*(corners[end] for end in edge), strict=True)) == 2
    }
    published = (("001", "010"), ("011", "110"), ("000", "110"), ("000", "101"), ("101", "110"), ("001", "111"))
    assert diagonals == {frozenset(pair) for pair in published}


def test_a_voxel_at_the_threshold_is_occupied() -> None:
    grid = torch.tensor([0.25, 0.24]).view(2, 1, 1, 1)
    assert cubify(grid, 0.25).face_counts.tolist() == [12, 0]


@pytest.mark.parametrize(("align", "low", "high"), [("topleft", -1, 1.5), ("corner", -1, 1), ("center", -1.25, 1.25)])
def test_alignments_of_a_full_grid(align: Align, low: float, high: float) -> None:
    vertices = cubify(torch.ones(1, 5, 5, 5), align=align).vertices
    torch.testing.assert_close(vertices.amin(0), torch.full((3,), float(low)))
    torch.testing.assert_close(vertices.amax(0), torch.full((3,), float(high)))


def test_one_voxel_per_axis_is_finite() -> None:
    vertices = cubify(torch.ones(1, 1, 1, 1)).vertices
    assert torch.equal(vertices.abs(), torch.ones(8, 3))


def test_a_batch_equals_its_meshes_one_by_one_and_empty_grids_have_no_faces() -> None:
    grid = random_grid(4, (4, 3, 2), seed=3)
    grid[2] = 0
    together = cubify(grid, 0.6).unpack()
    assert [len(faces) > 0 for _, faces in together] == [True, True, False, True]
    for own, (vertices, faces) in zip(grid, together, strict=True):
        alone = cubify(own[None], 0.6)
        assert torch.equal(vertices, alone.vertices)
        assert torch.equal(faces, alone.faces)


def test_no_grids() -> None:
    meshes = cubify(torch.zeros(0, 3, 3, 3))
    assert len(meshes) == 0
    assert meshes.vertices.shape == meshes.faces.shape == (0, 3)
    assert occupied_or_centre(torch.zeros(0, 3, 3, 3)).shape == (0, 3, 3, 3)


def test_no_gradient() -> None:
    grid = random_grid(1, (2, 2, 2)).requires_grad_()
    assert not cubify(grid).vertices.requires_grad


def test_only_empty_grids_get_their_middle() -> None:
    grid = random_grid(2, (8, 4, 6)) * 0.1
    grid[1, 0, 0, 0] = 0.2
    filled = occupied_or_centre(grid)
    assert torch.equal(filled[1], grid[1])
    wanted = grid[0].clone()
    wanted[2:6, 1:3, 1:4] = 1
    assert torch.equal(filled[0], wanted)
    assert cubify(occupied_or_centre(torch.zeros(1, 1, 1, 1))).face_counts.tolist() == [12]


def test_specks_go_and_what_touches_stays() -> None:
    grids = torch.zeros(2, 6, 6, 6)
    grids[0, :2, :2, :2] = 0.9  # 8 voxels
    grids[0, 2, 2, 2] = 0.8  # touches in a corner
    grids[0, 5, 5, 5] = 0.7  # apart: a tenth of them
    grids[1, 5, 5, 5] = 0.7  # all that there is; lies behind the speck of the first grid
    kept = without_specks(grids, 0.5, 0.11)
    wanted = grids.clone()
    wanted[0, 5, 5, 5] = 0
    assert torch.equal(kept, wanted)
    assert torch.equal(without_specks(grids, 0.5, 0.09), grids)
    assert torch.equal(without_specks(grids, 0.5, 0.0), grids)
    faint = torch.full((1, 4, 4, 4), 0.3)
    assert torch.equal(without_specks(faint, 0.5, 0.5), faint)  # what is not occupied is left alone
    assert without_specks(grids[:0], 0.5, 0.1).shape == (0, 6, 6, 6)
