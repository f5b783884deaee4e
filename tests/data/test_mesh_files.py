"""Mesh files of all formats: what they hold, and what is refused."""

from __future__ import annotations

import base64
import json
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segue.data import mesh_files
from segue.data.mesh_files import read_mesh
from segue.errors import DataError

CUBE = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # counter-clockwise
TRIANGLES = [t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))]
ROWS = [tuple(row) for row in CUBE.int().tolist()]


def volume(vertices: Tensor, faces: Tensor) -> float:
    """Signed: above 0 where faces are counter-clockwise from outside."""
    return float(torch.linalg.det(vertices[faces].double()).sum() / 6)


def edge_uses(faces: Tensor) -> Tensor:
    """How many faces each edge has."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values
    return edges.unique(dim=0, return_counts=True)[1]


def assert_unit_cube(vertices: Tensor, faces: Tensor) -> None:
    assert vertices.dtype == torch.float32
    assert faces.dtype == torch.int64
    assert (len(vertices), len(faces)) == (8, 12)
    assert sorted(vertices.tolist()) == sorted(CUBE.tolist())
    assert volume(vertices, faces) == pytest.approx(1)
    assert (edge_uses(faces) == 2).all()


def obj(faces: list[tuple[int, ...]], first: int = 1) -> str:
    lines = ["v {} {} {}".format(*row) for row in ROWS]
    return "\n".join(lines + ["f " + " ".join(str(i + first) for i in face) for face in faces]) + "\n"


def off() -> str:
    faces = ["4 {} {} {} {} 0.3 0.5 0.1".format(*quad) for quad in QUADS]
    return "\n".join(["OFF # a cube", "8 6 12", *("{} {} {}".format(*row) for row in ROWS), *faces])


def ply(faces: list[tuple[int, ...]]) -> str:
    head = ["ply", "format ascii 1.0", "comment TextureFile ../skin.png", "element vertex 8"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    rows = ["{} {} {}".format(*row) for row in ROWS]
    return "\n".join([*head, *rows, *(" ".join(map(str, (len(face), *face))) for face in faces)]) + "\n"


def stl_text() -> str:
    corners = ["\n".join("vertex {} {} {}".format(*ROWS[i]) for i in face) for face in TRIANGLES]
    facets = [f"facet normal 0 0 0\nouter loop\n{three}\nendloop\nendfacet" for three in corners]
    return "\n".join(["solid cube", *facets, "endsolid cube"])


def stl_binary() -> bytes:
    faces = [struct.pack("<12fH", 0, 0, 0, *CUBE[list(face)].flatten().tolist(), 0) for face in TRIANGLES]
    return bytes(80) + struct.pack("<I", len(faces)) + b"".join(faces)


def buffer() -> bytes:
    return CUBE.numpy().tobytes() + np.array(TRIANGLES, "<u2").tobytes()


def gltf(uri: str, **node: object) -> dict[str, Any]:
    """A cube whose buffer is at ``uri``; its material names a picture."""
    view = {"buffer": 0}
    return {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": uri, "byteLength": 168}],
        "bufferViews": [{**view, "byteLength": 96}, {**view, "byteOffset": 96, "byteLength": 72}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "images": [{"uri": "../../secret.png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "nodes": [{"mesh": 0, **node}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }


def inline() -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(buffer()).decode()


def write(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    content = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, name: str, content: str | bytes | dict[str, Any]) -> tuple[Tensor, Tensor]:
    return read_mesh(write(folder / name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", obj(TRIANGLES)),
        ("a.OBJ", obj(QUADS).replace("\n", "\r\n")),
        ("a.off", off()),
        ("a.ply", ply(QUADS)),
        ("a.ply", ply([*TRIANGLES[:2], *QUADS[1:]])),
        ("a.stl", stl_text()),
        ("a.stl", stl_binary()),
        ("a.gltf", gltf(inline())),
    ],
)
def test_every_format_gives_the_closed_cube(tmp_path: Path, name: str, content: str | bytes | dict[str, Any]) -> None:
    assert_unit_cube(*read(tmp_path, name, content))


def test_obj_may_be_written_in_many_ways(tmp_path: Path) -> None:
    text = obj(QUADS)
    assert_unit_cube(*read(tmp_path, "slashes.obj", text.replace("f 1 ", "f 1/4/2 ").replace(" 8", " 8//3")))
    assert_unit_cube(*read(tmp_path, "colours.obj", text.replace("v 0 0 1", "v 0 0 1 0.5 0.5 0.5 # red")))
    assert_unit_cube(*read(tmp_path, "lines.obj", text.replace("f 1 ", "f \\\n1 ").replace("v 0", "  v\t0")))
    assert_unit_cube(*read(tmp_path, "groups.obj", text.replace("f 5", "usemtl ../x\no part/2\nvn 0 0 1\nvt 0 1\nf 5")))
    assert_unit_cube(*read(tmp_path, "mark.obj", "\ufeff" + text))


def test_negative_indices_count_from_the_face(tmp_path: Path) -> None:
    lines = ["v {} {} {}".format(*row) for row in ROWS]
    faces = ["f " + " ".join(str(i - 8) for i in face) for face in QUADS]
    assert_unit_cube(*read(tmp_path, "a.obj", "\n".join([*lines, *faces, "v 9 9 9"])))


def test_polygons_become_fans_with_their_area(tmp_path: Path) -> None:
    angles = np.arange(7) * 2 * np.pi / 7
    rows = [f"v {np.cos(a)} {np.sin(a)} 0" for a in angles]
    vertices, faces = read(tmp_path, "a.obj", "\n".join([*rows, "f 1 2 3 4 5 6 7", "f 1 2 3"]))
    a, b, c = vertices[faces].double().unbind(1)
    areas = (b - a).cross(c - a, dim=1).norm(dim=1) / 2
    assert len(faces) == 6
    assert areas[:5].sum() == pytest.approx(3.5 * np.sin(2 * np.pi / 7), abs=1e-6)


def test_nodes_are_placed_and_mirrors_keep_the_outside_out(tmp_path: Path) -> None:
    vertices, faces = read(tmp_path, "a.gltf", gltf(inline(), scale=[-2, 1, 1], translation=[5, 0, 0]))
    assert vertices.amin(0).tolist() == [3, 0, 0]
    assert vertices.amax(0).tolist() == [5, 1, 1]
    assert volume(vertices, faces) == pytest.approx(2)
    twice = gltf(inline(), children=[1])
    twice["nodes"].append({"mesh": 0, "translation": [3, 0, 0]})
    vertices, faces = read(tmp_path, "b.gltf", twice)
    assert (len(vertices), len(faces)) == (16, 24)
    assert vertices[:, 0].unique().tolist() == [0, 1, 3, 4]


def test_a_buffer_may_lie_beside_the_file_or_below(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts/cube.bin", buffer())
    assert_unit_cube(*read(tmp_path, "a.gltf", gltf("parts/cube.bin")))


@pytest.mark.parametrize("uri", ["../cube.bin", "{absolute}", "http://127.0.0.1:9/cube.bin", "link.bin", "none.bin"])
def test_a_buffer_elsewhere_is_refused(tmp_path: Path, uri: str) -> None:
    outside = write(tmp_path / "cube.bin", buffer())
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "link.bin").symlink_to(outside)
    with pytest.raises(DataError, match=r"a\.gltf: it names .*, which is no file in its own folder; put"):
        read(folder, "a.gltf", gltf(uri.format(absolute=outside)))


def test_no_other_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real: Callable[[Path], bytes] = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or real(path))
    import builtins

    monkeypatch.setattr(builtins, "open", lambda *a, **k: pytest.fail(f"opened {a[0]}"))
    (tmp_path / "skin.mtl").touch()
    for name, content in (
        ("a.obj", "mtllib skin.mtl\n" + obj(QUADS)),
        ("a.ply", ply(QUADS)),
        ("a.gltf", gltf(inline())),
    ):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        read_mesh(path)
    assert opened == ["a.obj", "a.ply", "a.gltf"]


def test_unused_vertices_and_faces_without_area_are_left_out(tmp_path: Path) -> None:
    assert_unit_cube(*read(tmp_path, "a.obj", obj([*TRIANGLES, (3, 3, 1), (2, 5, 2)]) + "v 7 7 7"))
    vertices, faces = read(tmp_path, "b.obj", obj([(2, 3, 7), (3, 3, 1)]))
    assert vertices.tolist() == CUBE[[2, 3, 7]].tolist()
    assert faces.tolist() == [[0, 1, 2]]


def test_open_and_branching_surfaces_are_no_fault(tmp_path: Path) -> None:
    assert len(read(tmp_path, "open.obj", obj(TRIANGLES[:-1]))[1]) == 11
    _, faces = read(tmp_path, "three.obj", obj([(0, 1, 2), (0, 1, 4), (0, 1, 7)]))
    assert edge_uses(faces).max() == 3


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.obj", obj(TRIANGLES).replace("v 0 0 1", "v 0 nan 1"), "NaN or infinite; mend"),
        ("a.obj", obj(TRIANGLES).replace("v 0 0 1", "v 0 inf 1"), "NaN or infinite"),
        ("a.obj", obj(TRIANGLES).replace("v 0 0 1", "v 0 1e300 1"), "NaN or infinite"),
        ("a.obj", obj([]), "no faces; export"),
        ("a.obj", obj([(1, 1, 2)]), "no faces"),
        ("a.obj", "hello", "no faces"),
        ("a.obj", obj([(1, 2, 8)]), "names a vertex outside of the 8"),
        ("a.obj", obj(TRIANGLES, first=0), "names a vertex outside"),
        ("a.obj", obj([(1, 2)]), "fewer than three corners"),
        ("a.obj", obj(TRIANGLES) + "f 1 x 3", "no whole number .*'x'"),
        ("a.obj", obj(TRIANGLES) + "f 1 2 99999999999999999999", "no whole number"),
        ("a.obj", obj(TRIANGLES) + "v 1 2", "fewer than three numbers"),
        ("a.obj", obj(TRIANGLES) + "v 1 b 2", "no three numbers .*'b'"),
        ("a.obj", "", "the file is empty"),
        ("a.off", off()[:-40], "cut off or damaged; copy"),
        ("a.off", "OFF\n8 many\n", "cut off or damaged"),
        ("a.off", off().replace("4 0 1", "4 0 9"), "damaged"),
        ("a.off", off().replace("\n0 0 1", "\n0 zero 1"), "damaged"),
        ("a.ply", ply(QUADS)[:-20], "cut off or damaged"),
        ("a.ply", ply(QUADS)[:60], "cut off or damaged"),
        ("a.ply", ply(QUADS).replace("4 0 1", "4 0 77"), "outside|damaged"),
        ("a.ply", ply(QUADS).replace("\n0 0 1\n", "\n0 zero 1\n"), "damaged"),
        ("a.stl", stl_text()[:-40], "cut off or damaged"),
        ("a.stl", stl_binary()[:-7], "cut off or damaged"),
        ("a.stl", stl_text().replace("vertex 0 0 1", "vertex 0 zero 1"), "damaged"),
        ("a.glb", b"glTF" + bytes(30), "no glTF header"),
        ("a.gltf", "[]", "header makes no sense"),
        ("a.gltf", "{}", "no faces"),
        ("a.gltf", "[" * 100_000, "no glTF header"),
        ("a.txt", obj(TRIANGLES), "not a mesh in a known format; give one of obj, ply"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, name: str, content: str | bytes, what: str) -> None:
    with pytest.raises(DataError, match=f"{name}: .*({what})") as caught:
        read(tmp_path, name, content)
    assert "\n" not in str(caught.value)


def test_hostile_gltf_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bomb, views, draco, short, loop = (gltf(inline()) for _ in range(5))
    bomb["accessors"].append({"bufferView": 0, "componentType": 5121, "count": 10**12, "type": "SCALAR"})
    views["bufferViews"].append({"buffer": 0, "byteLength": 2**31})
    for content in (bomb, views):
        with pytest.raises(DataError, match="promises more than can be read"):
            read(tmp_path, "bomb.gltf", content)
    del draco["accessors"][0]["bufferView"]
    short["accessors"][1]["count"] = 40
    loop["nodes"] = [{"mesh": 0, "children": [1]}, {"mesh": 0, "children": [0]}]
    with pytest.raises(DataError, match="compressed and sparse glTF is not read"):
        read(tmp_path, "draco.gltf", draco)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path, "short.gltf", short)
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="damaged"):
        read(tmp_path, "loop.gltf", loop)
    assert not caplog.records


@pytest.mark.parametrize(("name", "content"), [("a.obj", obj(TRIANGLES)), ("a.off", off()), ("a.stl", stl_binary())])
def test_too_many_faces_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes
) -> None:
    monkeypatch.setattr(mesh_files, "MAX_FACES", 11)
    with pytest.raises(DataError, match="more than 11 faces; reduce"):
        read(tmp_path, name, content)
    monkeypatch.setattr(mesh_files, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="larger than"):
        read(tmp_path, name, content)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.obj").mkdir()
    for name in ("none.obj", "folder.obj", "a\0.obj"):
        with pytest.raises(DataError, match=r"no such file; check the path|cannot be read"):
            read_mesh(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "vertices", "faces", "uses", "size"),
    [
        ("common/spot_control_mesh.obj", 188, 372, {2}, None),
        ("common/suzanne.obj", 507, 968, {1, 2, 4}, None),  # quads that share two edges are cut along one diagonal
        ("formats/BoxInterleaved.glb", 8, 12, {2}, 1.0),
        ("formats/cube_blender_uv.ply", 8, 12, {2}, 1.0),
        ("formats/negative_indices.obj", 8, 12, {2}, 8.0),
        ("formats/whitespace.off", 8, 12, {2}, None),
        ("formats/7_8ths_cube.stl", 14, 24, {2}, 56_000.0),
        ("pytorch3d/cow.glb", 2930, 5856, {2}, None),
        ("pytorch3d/cow_mesh/cow.obj", 2930, 5856, {2}, None),
    ],
)
def test_meshes_of_others(
    real_data: Callable[[str], Path], name: str, vertices: int, faces: int, uses: set[int], size: float | None
) -> None:
    v, f = read_mesh(real_data("meshes") / name)
    assert (len(v), len(f)) == (vertices, faces)
    assert set(edge_uses(f).tolist()) == uses
    assert size is None or volume(v, f) == pytest.approx(size, rel=1e-3)


def test_points_are_no_mesh(real_data: Callable[[str], Path]) -> None:
    for name in ("points_ascii.ply", "points_bin.ply"):
        with pytest.raises(DataError, match="has no faces"):
            read_mesh(real_data("meshes") / "formats" / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", obj(QUADS)),
        ("a.off", off()),
        ("a.ply", ply(QUADS)),
        ("a.stl", stl_text()),
        ("a.stl", stl_binary()),
        ("a.gltf", json.dumps(gltf(inline()))),
    ],
)
def test_damage_never_shows_as_another_error(tmp_path: Path, name: str, content: str | bytes) -> None:
    """Forty damaged copies each: a few bytes exchanged, or the end missing."""
    whole = np.frombuffer(content.encode() if isinstance(content, str) else content, np.uint8)
    rng = np.random.default_rng(0)
    for round_ in range(40):
        damaged = whole[: rng.integers(1, len(whole))] if round_ % 4 == 0 else whole.copy()
        if round_ % 4:
            damaged[rng.integers(0, len(whole), round_ % 4 + 1)] = rng.integers(0, 256, round_ % 4 + 1)
        with suppress(DataError):
            vertices, faces = read(tmp_path, name, damaged.tobytes())
            assert vertices.isfinite().all()
            assert 0 <= faces.min() <= faces.max() < len(vertices)
