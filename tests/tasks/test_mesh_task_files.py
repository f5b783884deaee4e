from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segue.drawing import turntable
from segue.engine.output import SceneWriter, read_scenes, write_scenes
from segue.errors import DataError
from segue.ops.mesh_graph import icosphere
from segue.structures import Camera, Categories, Mesh, Regions, Scene
from segue.tasks import BOXES, RegionTask
from segue.tasks.mesh_files import mesh_entries, mesh_files, parse_meshes

CAMERA = Camera(70.0, (32.0, 23.5))
NOTHING = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
PARSERS = {"meshes": parse_meshes}


@pytest.fixture(autouse=True)
def small_turntable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.tasks.mesh_files.turntable", partial(turntable, size=24, frames=2))


def ball(x: float, span: tuple[float, float] | None = (2.5, 3.5)) -> Mesh:
    vertices, faces = icosphere(1)
    return Mesh(vertices * 0.5 + torch.tensor([x, 0.2, 3.0]), faces, CAMERA, span)


def scene(*meshes: Mesh) -> Scene:
    n = len(meshes)
    regions = Regions(torch.tensor([[1.0, 2.0, 30.0, 40.0]]).expand(n, 4), torch.arange(n) % 2, meshes=list(meshes))
    return Scene((48, 64), Categories.from_names(["ball", "mug"]), regions, file="there/photo.jpg")


def task() -> RegionTask:
    return replace(BOXES, name="meshes", selects=False, parse=parse_meshes, files=mesh_files, to_json=with_boxes)


def with_boxes(regions: Regions) -> list[dict[str, Any]]:
    """Entries that a scenes.json must have, and those of meshes."""
    assert BOXES.to_json is not None
    return [box | own for box, own in zip(BOXES.to_json(regions), mesh_entries(regions), strict=True)]


def content(folder: Path) -> Any:
    return json.loads((folder / "scenes.json").read_text())["scenes"][0]


def test_a_file_for_each_mesh_and_two_for_all(tmp_path: Path) -> None:
    photo = Image.new("RGB", (64, 48), (90, 120, 30))
    for _ in range(2):  # the second run replaces what the first wrote
        with SceneWriter(tmp_path, "toybox", [task()]) as writer:
            writer.add(scene(ball(-0.5), NOTHING, ball(0.5)), image=photo)
    entry = content(tmp_path)
    assert [row.get("mesh") for row in entry["regions"]] == ["photo.0.glb", None, "photo.2.glb"]
    assert [row.get("mesh_obj") for row in entry["regions"]] == ["photo.0.obj", None, "photo.2.obj"]
    assert (entry["meshes"], entry["turntable"]) == ("photo.scene.glb", "photo.turntable.gif")
    named = {name for row in entry["regions"] for key, name in row.items() if key.startswith("mesh")}
    written = {path.name for path in tmp_path.iterdir()} - {"scenes.json"}
    assert written == named | {"photo.scene.glb", "photo.turntable.gif"}


def test_meshes_come_back_with_camera_and_span(tmp_path: Path) -> None:
    held = scene(ball(-0.5), NOTHING, ball(0.5, None))
    write_scenes([held], tmp_path, "toybox", [task()])
    assert not list(tmp_path.glob("*.scene.glb"))  # without the picture, only the meshes themselves
    [again] = read_scenes(tmp_path / "scenes.json", PARSERS, held.categories)
    assert again.regions.meshes is not None
    assert held.regions.meshes is not None
    for read, written in zip(again.regions.meshes, held.regions.meshes, strict=True):
        assert (read.camera, read.span) == (written.camera, written.span)
        assert len(read.faces) == len(written.faces)
        order, expected = (m.vertices[m.faces].reshape(-1, 9) for m in (read, written))
        assert torch.allclose(order, expected, atol=1e-6)


def test_of_nothing_there_is_no_file() -> None:
    photo = Image.new("RGB", (64, 48))
    for held in (scene(), scene(NOTHING)):
        files = mesh_files(held, photo)
        assert not any(files.regions)
        assert not files.scene


def test_without_a_camera_there_is_no_photo_in_the_file() -> None:
    photo = Image.effect_noise((64, 48), 90)
    free = mesh_files(scene(replace(ball(0.0), camera=None)), photo).scene["meshes"]
    placed = mesh_files(scene(ball(0.0)), photo).scene["meshes"]
    assert len(placed.content) > len(free.content) + 1000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mesh": "../photo.0.glb"}, "no file beside it"),
        ({"mesh": "/etc/passwd"}, "no file beside it"),
        ({"mesh": {"file": "/etc/passwd"}}, "no file beside it"),
        ({"mesh": None}, "no file beside it"),
        ({"mesh": "gone.glb"}, r"gone\.glb.*no such file"),
        ({"camera": [0.0, 1.0, 2.0]}, r"photo\.jpg: camera .* the first above 0"),
        ({"camera": "wide"}, "camera 'wide' is no list"),
        ({"span": [1.0]}, "span .* is no list of 2"),
        ({"span": [1.0, 1e300]}, "span .* is no list of 2"),
    ],
)
def test_entries_that_make_no_sense(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    held = scene(ball(0.0))
    write_scenes([held], tmp_path, "toybox", [task()])
    broken = json.loads((tmp_path / "scenes.json").read_text())
    broken["scenes"][0]["regions"][0] |= change
    (tmp_path / "scenes.json").write_text(json.dumps(broken))
    with pytest.raises(DataError, match=told):
        read_scenes(tmp_path / "scenes.json", PARSERS, held.categories)


def test_boxes_are_read_where_the_meshes_are_gone(tmp_path: Path) -> None:
    held = scene(ball(0.0))
    write_scenes([held], tmp_path, "toybox", [task()])
    (tmp_path / "photo.0.glb").unlink()
    [again] = read_scenes(tmp_path / "scenes.json", {}, held.categories)
    assert torch.allclose(again.regions.boxes, held.regions.boxes)


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "photo.0.glb").write_bytes(b"somebody's own")
    write_scenes([scene(ball(0.0))], tmp_path, "toybox", [task()])
    assert content(tmp_path)["regions"][0]["mesh"] == "photo.0.2.glb"
    assert (tmp_path / "photo.0.glb").read_bytes() == b"somebody's own"


def test_a_broken_mesh_is_refused_and_the_old_scenes_stay(tmp_path: Path) -> None:
    write_scenes([], tmp_path, "old", [task()])
    before = (tmp_path / "scenes.json").read_bytes()
    broken = ball(0.0)
    broken.vertices[3, 1] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        write_scenes([scene(broken)], tmp_path, "toybox", [task()])
    assert (tmp_path / "scenes.json").read_bytes() == before
