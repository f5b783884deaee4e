"""Meshes as graphs, against known solids, scanned surfaces with known areas, and plain loops."""

import os
from math import pi
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segue.ops.mesh_graph import (
    euler_numbers,
    face_areas_normals,
    icosphere,
    is_closed,
    neighbour_sum,
    neighbours,
    subdivide,
    surface_areas,
    unique_edges,
    unit,
    vertex_normals,
    volumes,
)
from segue.structures import Meshes

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
CORNER = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def torus(around: int = 12, across: int = 8) -> tuple[Tensor, Tensor]:
    """A ring of radius 2, 0.5 thick, faces counter-clockwise from outside."""
    i, j = torch.meshgrid(torch.arange(around), torch.arange(across), indexing="ij")
    u, v = i * 2 * pi / around, j * 2 * pi / across
    radius = 2 + 0.5 * v.cos()
    vertices = torch.stack([radius * u.cos(), radius * u.sin(), 0.5 * v.sin()], 2).view(-1, 3)
    a, b = i * across + j, (i + 1) % around * across + j
    c, d = (i + 1) % around * across + (j + 1) % across, i * across + (j + 1) % across
    return vertices, torch.cat([torch.stack([a, b, c], 2).view(-1, 3), torch.stack([a, c, d], 2).view(-1, 3)])


def several() -> Meshes:
    """A tetrahedron, nothing, a ring, and an open triangle beside a vertex of no face."""
    triangle = torch.tensor([[0, 1, 3]])
    nothing = CORNER[:0], TETRAHEDRON[:0]
    vertices, faces = zip((CORNER, TETRAHEDRON), nothing, torus(), (CORNER, triangle), strict=True)
    return Meshes.pack(vertices, faces)


def read_obj(name: str) -> Meshes:
    path = Path(os.environ.get("SEGUE_DATA", "/nonexistent")) / "meshes" / name
    if not path.is_file():
        pytest.skip(f"SEGUE_DATA has no meshes/{name}")
    rows = [line.split() for line in path.read_text().splitlines() if line[:2] in ("v ", "f ")]
    vertices = torch.tensor([[float(x) for x in row[1:4]] for row in rows if row[0] == "v"])
    faces = torch.tensor([[int(x.split("/")[0]) - 1 for x in row[1:]] for row in rows if row[0] == "f"])
    return Meshes.pack([vertices], [faces])


def test_edges_of_a_tetrahedron_are_all_pairs() -> None:
    assert unique_edges(TETRAHEDRON).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_edges_equal_a_plain_set_and_leave_out_an_edge_from_a_vertex_to_itself() -> None:
    faces = torch.randint(30, (50, 3), generator=torch.Generator().manual_seed(1))
    pairs = {(min(p, q), max(p, q)) for a, b, c in faces.tolist() for p, q in ((a, b), (b, c), (c, a)) if p != q}
    assert [tuple(edge) for edge in unique_edges(faces).tolist()] == sorted(pairs)
    assert (faces == faces.roll(1, 1)).any()  # or nothing was left out


def test_neighbour_sum_equals_a_loop_also_where_vertices_have_no_edge() -> None:
    edges = unique_edges(torch.randint(20, (15, 3), generator=torch.Generator().manual_seed(2)))
    values = torch.randn(25, 4, generator=torch.Generator().manual_seed(3))
    expected = torch.zeros_like(values)
    for a, b in edges.tolist():
        expected[a] += values[b]
        expected[b] += values[a]
    torch.testing.assert_close(neighbour_sum(values, neighbours(edges, len(values))), expected)
    assert (expected == 0).all(1).any()


def test_neighbour_sum_has_the_right_gradients() -> None:
    values = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    edges = torch.tensor([[0, 1], [0, 4], [1, 4], [2, 4]])
    around = neighbours(edges, len(values))
    assert torch.autograd.gradcheck(lambda v: neighbour_sum(v, around), (values,))
    assert torch.autograd.gradgradcheck(lambda v: neighbour_sum(v, around), (values,))


def test_no_vertices_and_no_edges() -> None:
    none = torch.zeros(0, 2, dtype=torch.int64)
    assert unique_edges(TETRAHEDRON[:0]).shape == (0, 2)
    assert neighbour_sum(torch.zeros(0, 5), neighbours(none, 0)).shape == (0, 5)
    assert neighbour_sum(torch.ones(3, 5), neighbours(none, 3)).equal(torch.zeros(3, 5))
    empty = Meshes.pack([], [])
    assert [len(f(empty)) for f in (subdivide, surface_areas, volumes, euler_numbers, is_closed)] == [0] * 5
    assert vertex_normals(empty).shape == (0, 3)


def test_euler_numbers_count_holes_and_only_vertices_of_faces() -> None:
    assert euler_numbers(several()).tolist() == [2, 0, 0, 1]


def test_closed_are_solids_but_not_open_ones_nor_those_with_a_face_turned_over() -> None:
    assert is_closed(several()).tolist() == [True, False, True, False]
    turned = TETRAHEDRON.clone()
    turned[0] = turned[0].flip(0)
    twice = TETRAHEDRON.repeat(2, 1)
    assert is_closed(Meshes.pack([CORNER] * 3, [turned, twice, TETRAHEDRON[:3]])).tolist() == [False, True, False]


def test_area_and_volume_of_a_tetrahedron_and_of_it_inside_out() -> None:
    meshes = Meshes.pack([CORNER, 2 * CORNER], [TETRAHEDRON, TETRAHEDRON.flip(1)])
    torch.testing.assert_close(volumes(meshes), torch.tensor([1 / 6, -8 / 6]))
    torch.testing.assert_close(surface_areas(meshes), torch.tensor([1.5 + 3**0.5 / 2]) * torch.tensor([1, 4]))


def test_volume_does_not_depend_on_the_place() -> None:
    meshes = Meshes.pack([CORNER * 0.125 + 1000], [TETRAHEDRON])  # these are exact in float32
    assert float(volumes(meshes)) == pytest.approx(0.125**3 / 6, rel=1e-5)


def test_areas_normals_and_volumes_have_the_right_gradients() -> None:
    meshes = Meshes.pack([CORNER.double()], [TETRAHEDRON])
    vertices = meshes.vertices.clone().requires_grad_()
    for function in (surface_areas, volumes, vertex_normals, face_areas_normals, subdivide_vertices):
        assert torch.autograd.gradcheck(lambda v, f=function: f(meshes.with_vertices(v)), vertices)


def subdivide_vertices(meshes: Meshes) -> Tensor:
    return subdivide(meshes).vertices


def test_faces_without_area_have_neither_normal_nor_gradient() -> None:
    vertices = CORNER[[0, 1, 1, 1]].clone().requires_grad_()
    meshes = Meshes.pack([vertices], [TETRAHEDRON])
    areas, normals = face_areas_normals(meshes)
    (areas.sum() + normals.sum() + vertex_normals(meshes).sum()).backward()
    assert areas.eq(0).all()
    assert normals.eq(0).all()
    assert vertices.grad is not None
    assert vertices.grad.eq(0).all()


@pytest.mark.parametrize("level", [0, 1, 4])
def test_icosphere_is_a_closed_sphere_of_so_many_vertices(level: int) -> None:
    vertices, faces = icosphere(level)
    meshes = Meshes.pack([vertices], [faces])
    assert (len(vertices), len(faces)) == (10 * 4**level + 2, 20 * 4**level)
    torch.testing.assert_close(vertices.norm(dim=1), torch.ones(len(vertices)))
    assert is_closed(meshes).all()
    assert euler_numbers(meshes).item() == 2
    edges = vertices[unique_edges(faces)]
    lengths = (edges[:, 0] - edges[:, 1]).norm(dim=1)
    assert lengths.max() / lengths.min() < 1.3


def test_icosphere_stands_as_the_published_one() -> None:
    corners = icosphere(0)[0].abs()
    short, long = 0.5257, 0.8507
    for row in ([short, long, 0.0], [0.0, short, long], [long, 0.0, short]):
        assert int(((corners - torch.tensor(row)).abs() < 1e-4).all(1).sum()) == 4


def test_icosphere_approaches_area_and_volume_of_a_ball_from_below() -> None:
    spheres = Meshes.pack(*zip(*(icosphere(level) for level in range(5)), strict=True))
    for values, true in ((surface_areas(spheres), 4 * pi), (volumes(spheres), 4 / 3 * pi)):
        errors = true - values.double()
        assert (errors > 0).all()
        ratios = errors[1:-1] / errors[2:]
        assert ((ratios > 3.6) & (ratios < 4.1)).all()  # second order: a quarter with each level
        assert errors[-1] / true < 0.004


def test_normals_of_a_sphere_point_outward() -> None:
    vertices, faces = icosphere(3)
    meshes = Meshes.pack([vertices, vertices + 5], [faces, faces])
    assert (vertex_normals(meshes) * vertices.repeat(2, 1)).sum(1).min() > 0.999
    assert (face_areas_normals(meshes)[1] * unit(vertices[faces].mean(1)).repeat(2, 1)).sum(1).min() > 0.999


def test_subdivision_keeps_area_volume_euler_number_and_closedness() -> None:
    before = several()
    after = subdivide(before)
    for measure in (surface_areas, volumes, is_closed):
        torch.testing.assert_close(measure(after), measure(before))
    assert euler_numbers(after).tolist() == euler_numbers(before).tolist()
    assert after.face_counts.tolist() == [16, 0, 4 * 192, 4]
    assert after.vertex_counts.tolist() == [4 + 6, 0, 96 + 288, 4 + 3]
    torch.testing.assert_close(vertex_normals(after).norm(dim=1).sum(), torch.tensor(10.0 + 384 + 6))


def test_subdivision_of_a_batch_is_that_of_each_mesh_and_keeps_old_vertices_first() -> None:
    meshes = several()
    for (vertices, faces), (old, old_faces) in zip(subdivide(meshes).unpack(), meshes.unpack(), strict=True):
        alone = subdivide(Meshes.pack([old], [old_faces]))
        assert vertices.equal(alone.vertices)
        assert faces.equal(alone.faces)
        assert vertices[: len(old)].equal(old)


def test_values_of_vertices_are_subdivided_as_places_are() -> None:
    meshes = several()
    turn = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    after, values = subdivide(meshes, meshes.vertices @ turn)
    torch.testing.assert_close(values, after.vertices @ turn)


def test_known_areas_of_scans() -> None:
    for name, area in (("pytorch3d/cow_mesh/cow.obj", 5.70952), ("common/fandisk.obj", 60.669)):
        mesh = read_obj(name)
        assert float(surface_areas(mesh)) == pytest.approx(area, rel=2e-5)
        assert is_closed(mesh).all()
        assert float(volumes(mesh)) > 0


def test_an_open_pot_is_open() -> None:
    assert not is_closed(read_obj("pytorch3d/teapot.obj")).any()
