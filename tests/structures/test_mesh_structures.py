import pytest
import torch

from segue.errors import DataError
from segue.structures import Mesh, Meshes, Regions

TRIANGLE = torch.tensor([[0.0, 0, 2], [1, 0, 3], [0, 1, 5]])
FACE = torch.tensor([[0, 1, 2]])


def test_packing_and_unpacking_keep_every_mesh() -> None:
    vertices = [TRIANGLE, torch.rand(0, 3), torch.cat([TRIANGLE, TRIANGLE + 1])]
    faces = [FACE, FACE[:0], torch.tensor([[0, 1, 2], [3, 4, 5]])]
    meshes = Meshes.pack(vertices, faces)
    assert meshes.faces.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert meshes.vertex_owner.tolist() == [0] * 3 + [2] * 6
    assert meshes.face_owner.tolist() == [0, 2, 2]
    for (v, f), old_v, old_f in zip(meshes.unpack(), vertices, faces, strict=True):
        assert torch.equal(v, old_v)
        assert torch.equal(f, old_f)


def test_selected_meshes_come_in_the_order_asked_for() -> None:
    three = Meshes.pack([TRIANGLE, TRIANGLE + 1, TRIANGLE + 2], [FACE, FACE, FACE.flip(1)])
    meshes = three.select(torch.tensor([2, 0]))
    assert torch.equal(meshes.vertices, torch.cat([TRIANGLE + 2, TRIANGLE]))
    assert meshes.faces.tolist() == [[2, 1, 0], [3, 4, 5]]
    assert len(meshes.select(torch.zeros(0, dtype=torch.int64))) == 0


def test_no_mesh_at_all_packs() -> None:
    meshes = Meshes.pack([], [])
    assert len(meshes) == 0
    assert meshes.unpack() == []


def test_depths_are_those_of_the_vertices_unless_a_span_says_otherwise() -> None:
    assert Mesh(TRIANGLE, FACE).depths == (2.0, 5.0)
    assert Mesh(TRIANGLE, FACE, span=(1.0, 4.0)).depths == (1.0, 4.0)


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (TRIANGLE[:, :2], FACE, "vertices must be"),
        (TRIANGLE.double(), FACE, "vertices must be"),
        (TRIANGLE, FACE.int(), "faces must be"),
        (TRIANGLE, FACE + 1, "outside of the 3"),
        (TRIANGLE, FACE - 1, "outside of the 3"),
    ],
)
def test_wrong_meshes_are_refused(vertices: torch.Tensor, faces: torch.Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Mesh(vertices, faces)


def test_regions_carry_meshes() -> None:
    regions = Regions(torch.rand(2, 4), torch.tensor([0, 1]), meshes=[Mesh(TRIANGLE, FACE), Mesh(TRIANGLE + 1, FACE)])
    chosen = regions.select(torch.tensor([1]))
    assert chosen.meshes is not None
    assert torch.equal(chosen.meshes[0].vertices, TRIANGLE + 1)
