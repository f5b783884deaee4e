from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from segue.ops import mesh_raster
from segue.ops.mesh_raster import rasterise
from segue.structures import Meshes

SIZE = (24, 30)


def soup(seed: int, faces: int = 40) -> Meshes:
    """Triangles of all kinds: inside, over the border, thin, and some with corners behind the camera or at infinity."""
    g = torch.Generator().manual_seed(seed)
    middle = torch.rand(faces, 1, 3, generator=g) * torch.tensor([SIZE[1], SIZE[0], 4.0])
    corners = middle + torch.randn(faces, 3, 3, generator=g) * torch.tensor([6.0, 6.0, 0.5])
    corners[:, :, 2] += 1.5
    corners[0, 1, 2], corners[1, 0, 0], corners[2, 2] = -1.0, math.inf, corners[2, 1]
    return Meshes.pack([corners.reshape(-1, 3)], [torch.arange(3 * faces).reshape(-1, 3)])


def dense(meshes: Meshes) -> tuple[Tensor, Tensor]:
    """Face and depth (H, W) of a raster; -1 and infinity where nothing is."""
    seen = rasterise(meshes, SIZE)
    face, depth = torch.full((SIZE[0] * SIZE[1],), -1), torch.full((SIZE[0] * SIZE[1],), math.inf).to(seen.depth)
    face[seen.pixel], depth[seen.pixel] = seen.face, seen.depth
    return face.view(SIZE), depth.view(SIZE)


def one_by_one(meshes: Meshes) -> tuple[Tensor, Tensor]:
    """Face and depth at every pixel by solving for the shares of the corners, a triangle at a time."""
    face, depth = torch.full(SIZE, -1), torch.full(SIZE, math.inf, dtype=torch.float64)
    y, x = torch.meshgrid(*[torch.arange(side, dtype=torch.float64) + 0.5 for side in SIZE], indexing="ij")
    centres = torch.stack([x, y, torch.ones(SIZE)]).reshape(3, -1)
    for number, corners in enumerate(meshes.vertices.double()[meshes.faces]):
        matrix = torch.cat([corners[:, :2].T, torch.ones(1, 3, dtype=torch.float64)])
        if not corners.isfinite().all() or corners[:, 2].min() <= 0 or matrix.det().abs() < 1e-9:
            continue
        shares = torch.linalg.solve(matrix, centres)
        z = 1 / (shares / corners[:, 2:]).sum(dim=0)
        closer = ((shares >= 0).all(dim=0) & (z < depth.flatten())).reshape(SIZE)
        face[closer], depth[closer] = number, z.reshape(SIZE)[closer]
    return face, depth


@pytest.mark.parametrize("together", [1 << 16, 50])
def test_as_one_triangle_at_a_time(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_raster, "TOGETHER", together)
    meshes = soup(0)
    face, depth = one_by_one(meshes)
    seen, seen_depth = dense(meshes)
    assert torch.equal(seen, face)
    assert (face >= 0).sum() > 100
    assert torch.allclose(seen_depth, depth.float(), rtol=1e-5)


def test_the_shares_give_back_place_and_depth() -> None:
    meshes = soup(1)
    pixel, face, depth, weights = rasterise(meshes, SIZE)
    assert (pixel.diff() > 0).all()
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(pixel)), atol=1e-5)
    assert weights.min() >= 0
    corners = meshes.vertices[meshes.faces][face]
    z = corners[:, :, 2]
    assert torch.allclose((weights * z).sum(dim=1), depth, rtol=1e-4)
    places = (weights[:, :, None] * z[:, :, None] * corners[:, :, :2]).sum(dim=1) / depth[:, None]
    y, x = pixel // SIZE[1], pixel % SIZE[1]
    assert torch.allclose(places, torch.stack([x, y], dim=1) + 0.5, atol=1e-2)


def test_a_plane_in_space_has_the_depth_of_its_formula() -> None:
    """z = 2 + y / 2 seen with focal length 20 about the middle, as one large triangle pair beyond the border."""
    focal, centre = 20.0, torch.tensor([15.0, 12.0])
    ground = torch.tensor([[-40.0, -2.0], [40.0, -2.0], [40.0, 30.0], [-40.0, 30.0]])
    points = torch.cat([ground, 2 + ground[:, 1:] / 2], dim=1).double()
    places = torch.cat([focal * points[:, :2] / points[:, 2:] + centre, points[:, 2:]], dim=1)
    face, depth = dense(Meshes.pack([places], [torch.tensor([[0, 1, 2], [0, 2, 3]])]))
    slope = (torch.arange(SIZE[0]).double() + 0.5 - 12) / focal  # y / z
    expected = (2 / (1 - slope / 2))[:, None].expand(SIZE)
    assert (face >= 0).all()
    assert torch.allclose(depth, expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_leave_no_gap(seed: int) -> None:
    """A fan of many thin faces about a point; the same area as its outline alone, even with corners on centres."""
    g = torch.Generator().manual_seed(seed)
    hub = torch.tensor([[14.5, 11.5]]) + (seed % 2) * torch.rand(1, 2, generator=g)
    angles = torch.linspace(0, 2 * math.pi, 98)[:-1]
    rim = torch.tensor([[15.0, 12.0]]) + 60 * torch.stack([angles.cos(), angles.sin()], dim=1)
    vertices = torch.cat([torch.cat([hub, rim]), torch.ones(98, 1)], dim=1)
    after = torch.arange(97).roll(-1)
    faces = torch.stack([torch.zeros(97, dtype=torch.int64), 1 + torch.arange(97), 1 + after], dim=1)
    assert len(rasterise(Meshes.pack([vertices], [faces]), SIZE).pixel) == SIZE[0] * SIZE[1]


def test_slivers_give_numbers() -> None:
    """Faces whose corners lie on a line but for the last bit of a coordinate; the first has areas of 0 about a pixel.

    There its corners seem to be on one line, although the face has an area.
    """
    lean = [[4.084866523742676, 17.993898391723633], [10.076644897460938, 6.466827392578125]]
    first = torch.tensor([[*lean, [5.111512660980225, 16.018821716308594]]])
    g = torch.Generator().manual_seed(0)
    along = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 1.0]]).repeat(200, 1)[:, None]
    thirds = torch.tensor([1.0, 1 / 3]).repeat(400)[:, None, None]
    places = torch.tensor([14.5, 11.5]) + along * thirds * torch.randint(-9, 9, (800, 3, 1), generator=g)
    places = torch.cat([first, places * (1 + torch.randint(-1, 2, places.shape, generator=g) * 2.0**-23)])
    corners = torch.cat([places, 1 + torch.rand(801, 3, 1, generator=g)], dim=2)
    corners[0, :, 2] = 0.5
    meshes = Meshes.pack([corners.reshape(-1, 3)], [torch.arange(3 * 801).reshape(-1, 3)])
    _, face, depth, weights = rasterise(meshes, SIZE)
    assert (face == 0).any()
    assert len(face) > 30
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(face)), atol=1e-5)
    assert depth.isfinite().all()
    assert (depth >= corners[face, :, 2].amin(dim=1) * (1 - 1e-6)).all()


@pytest.mark.parametrize("together", [1 << 16, 50])
def test_order_and_winding_do_not_matter_but_for_equal_depths(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_raster, "TOGETHER", together)
    meshes = soup(2)
    face, depth = dense(meshes)
    flipped, flipped_depth = dense(Meshes.pack([meshes.vertices], [meshes.faces.flip(0).flip(1)]))
    assert torch.equal(flipped_depth, depth)
    assert torch.equal(torch.where(flipped >= 0, len(meshes.faces) - 1 - flipped, -1), face)
    twice, _ = dense(Meshes.pack([meshes.vertices] * 2, [meshes.faces] * 2))
    assert torch.equal(twice, face)


def test_nothing_to_see() -> None:
    behind = soup(3)
    away = behind.with_vertices(behind.vertices * torch.tensor([1.0, 1.0, -1.0]))
    beside = behind.with_vertices(behind.vertices + torch.tensor([500.0, 0.0, 0.0]))
    for meshes in (Meshes.pack([], []), away, beside):
        seen = rasterise(meshes, SIZE)
        assert [len(part) for part in seen] == [0] * 4
        assert seen.weights.shape == (0, 3)
