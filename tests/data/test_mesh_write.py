from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.mesh_files import read_mesh
from segue.data.mesh_write import BEHIND, GLTF, Backdrop, Part, glb_bytes, obj_text
from segue.errors import DataError, UsageError
from segue.files import MARK
from segue.structures import Camera, Mesh

trimesh = pytest.importorskip("trimesh")
CAMERA = Camera(80.0, (31.0, 25.5))


def solid(shift: float = 0.0, depth: float = 3.0) -> Mesh:
    """A tetrahedron with its outside outside."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) + torch.tensor([shift, -0.3, depth])
    return Mesh(vertices, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), CAMERA)


def loaded(content: bytes) -> Any:
    return trimesh.load_scene(io.BytesIO(content), file_type="glb", process=False)


def head(content: bytes) -> dict[str, Any]:
    """The JSON of a binary glTF."""
    magic, version, length, size, kind = struct.unpack("<4sIII4s", content[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    tree: dict[str, Any] = json.loads(content[20 : 20 + size])
    return tree


def test_objects_come_back_where_they_were_with_their_outside_outside() -> None:
    meshes = [solid(), solid(2.0, 5.0)]
    scene = loaded(glb_bytes([Part(meshes[0], (255, 0, 0), "mug"), Part(meshes[1], (0, 0, 255), "mug")]))
    assert list(scene.geometry) == ["mug", "mug 2"]
    for mesh, read in zip(meshes, scene.geometry.values(), strict=True):
        assert np.allclose(read.vertices * [1, -1, -1], mesh.vertices, atol=1e-6)
        assert np.array_equal(read.faces, mesh.faces)
        assert read.is_watertight
        assert read.volume == pytest.approx(1 / 6, rel=1e-4)  # negative if it were inside out


def test_colours_are_amounts_of_light() -> None:
    """As glTF has them: half of the light is 188 of 255 in sRGB."""
    [material] = head(glb_bytes([Part(solid(), (188, 255, 0), "mug")]))["materials"]
    assert material["pbrMetallicRoughness"]["baseColorFactor"] == pytest.approx([0.5, 1, 0, 1], abs=0.01)
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_the_photo_fills_the_view_behind_all_objects() -> None:
    photo = Image.new("RGB", (64, 48), (250, 20, 20))
    photo.paste((20, 20, 250), (32, 0, 64, 48))
    content = glb_bytes([Part(solid(depth=4.0), (9, 9, 9), "photo")], Backdrop(photo, CAMERA))
    scene = loaded(content)
    assert list(scene.geometry) == ["photo 2", "photo"]
    wall = scene.geometry["photo"]
    places = torch.from_numpy(np.array(wall.vertices)).float() * GLTF
    assert torch.allclose(places[:, 2], torch.tensor(BEHIND * 5.0))
    pixels = CAMERA.focal * places[:, :2] / places[:, 2:] + torch.tensor(CAMERA.centre)
    assert torch.allclose(pixels, torch.tensor([[0.0, 0], [0, 48], [64, 48], [64, 0]]), atol=1e-3)
    shown = wall.visual.uv * [64, -48] + [0, 48]  # trimesh counts from the bottom
    assert np.allclose(shown, pixels, atol=1e-3)
    assert (wall.face_normals @ [0, 0, 1] > 0.99).all()  # the picture is on the camera's side
    inside = wall.visual.material.baseColorTexture
    assert (inside.format, inside.size) == ("JPEG", (64, 48))
    assert np.abs(np.array(inside, np.int16) - np.array(photo, np.int16)).mean() < 8
    materials = head(content)["materials"]
    assert [("extensions" in m) for m in materials] == [False, True]
    assert head(content)["extensionsUsed"] == ["KHR_materials_unlit"]


def test_both_kinds_are_read_by_our_own_reader(tmp_path: Path) -> None:
    mesh = solid()
    (tmp_path / "a.glb").write_bytes(glb_bytes([Part(mesh, (1, 2, 3), "mug")]))
    (tmp_path / "a.obj").write_text(obj_text(mesh))
    corners = mesh.vertices[mesh.faces]
    for file in ("a.glb", "a.obj"):
        vertices, faces = read_mesh(tmp_path / file)
        assert torch.allclose((vertices * GLTF)[faces], corners, atol=1e-5), file


def test_ours_can_be_told_by_their_first_kibibyte() -> None:
    many = [Part(solid(), (1, 2, 3), "a name of some length") for _ in range(300)]
    assert MARK in glb_bytes(many)[:1024]
    assert MARK.decode() in obj_text(solid())[:1024]


def test_nothing_to_write() -> None:
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    photo = Backdrop(Image.new("L", (4, 4)), CAMERA)
    with pytest.raises(UsageError, match="neither an object"):
        glb_bytes([Part(nothing, (1, 2, 3), "mug")])
    assert list(loaded(glb_bytes([Part(nothing, (1, 2, 3), "mug")], photo)).geometry) == ["photo"]
    assert "f " not in obj_text(nothing)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    broken = solid()
    broken.vertices[1, 1] = value
    with pytest.raises(DataError, match="not finite"):
        glb_bytes([Part(broken, (1, 2, 3), "mug")])
    with pytest.raises(DataError, match="not finite"):
        obj_text(broken)
