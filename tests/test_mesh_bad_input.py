"""Whatever is wrong or odd with meshes: one line with the file and the cure, or it works."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.dataset import open_dataset
from segue.data.transforms import Augmentation
from segue.drawing import turntable
from segue.engine.loader import Place, TrainingPictures
from segue.engine.recipe import check_recipe
from segue.engine.train import train
from segue.nn.mesh_heads import VoxelHead
from segue.tasks import BOXES, MESHES, parsers_of

Refused = Callable[..., str]
Run = Callable[..., str]
Content = dict[str, Any]

SIDE = 64
CORNERS = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = [t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))]
BESIDE = [(x + 1, y + 1, z) for x, y, z in CORNERS]
"""A cube that shares an edge with the other."""

Rows = list[tuple[float, float, float]]
Faces = list[tuple[int, ...]]


def obj(vertices: Rows, faces: Faces) -> str:
    lines = ["v {} {} {}".format(*row) for row in vertices]
    return "\n".join(lines + ["f " + " ".join(str(i + 1) for i in face) for face in faces]) + "\n"


def entry(number: int, **changes: object) -> Content:
    pose = {"rot_mat": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "trans_mat": [0, 0, 4], "K": [100.0, SIDE / 2, SIDE / 2]}
    return {"annotation_id": number, "model": f"meshes/{number}.obj", **pose, **changes}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures with a cube each, in files as of Toybox."""
    folder = tmp_path / "set"
    for name in ("annotations", "images", "meshes"):
        (folder / name).mkdir(parents=True)
    for i in (1, 2):
        pixels = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{i}.png")
        (folder / f"meshes/{i}.obj").write_text(obj(CORNERS, TRIANGLES))
    place = {"category_id": 1, "bbox": [17, 17, 30, 30], "area": 900, "iscrowd": 0}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE} for i in (1, 2)],
        "annotations": [{"id": i, "image_id": i, **place} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cube"}],
    }
    (folder / "annotations/instances_train.json").write_text(json.dumps(content))
    write_entries(folder, entry(1), entry(2))
    return folder


def gltf(uri: str) -> Content:
    return {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": uri, "byteLength": 168}],
        "bufferViews": [{"buffer": 0, "byteLength": 96}, {"buffer": 0, "byteOffset": 96, "byteLength": 72}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }


def write_entries(folder: Path, *entries: Content) -> None:
    (folder / "annotations/pix3d_train.json").write_text(json.dumps(entries))


def spoil(folder: Path, content: str | bytes, ending: str = "obj") -> Path:
    """Another mesh for both objects."""
    model = folder / f"meshes/spoilt.{ending}"
    model.write_bytes(content.encode() if isinstance(content, str) else content)
    write_entries(folder, *(entry(i, model=f"meshes/{model.name}") for i in (1, 2)))
    return model


def values(data: Path, **meshes: object) -> Content:
    """A recipe of one step over both pictures."""
    small = {"voxels": 8, "voxel_channels": 8, "voxel_convolutions": 1, "stages": 1, "convolutions": 1, "channels": 8}
    heads = {
        "boxes": {"channels": 16, "detections": 3, "score": 0.0},
        "meshes": {**small, "hidden": 8, "samples": 100, "distances": True, **meshes},
    }
    return {
        "name": "tiny",
        "data": {"train": f"{data}:train"},
        "network": {
            "backbone": {"depth": 18, "width": 8},
            "pyramid": {"channels": 8},
            "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms_train": 32, "post_nms_train": 32, "post_nms": 8},
            "regions": {"samples": 16},
            "tasks": heads,
        },
        "training": {"steps": 1, "batch": 2, "lr": 0.001, "warmup": 0, "log_every": 1},
    }


def losses_of(recipe: Content, folder: Path) -> dict[str, float]:
    """The losses of one step, which all are numbers."""
    train(check_recipe(recipe, "the test"), folder, device="cpu")
    logged = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    losses = {key.removeprefix("loss/"): value for key, value in logged.items() if key.startswith("loss/")}
    assert all(math.isfinite(value) for value in losses.values())
    return losses


def train_command(data: Path, folder: Path) -> tuple[object, ...]:
    (folder / "tiny.yaml").write_text(json.dumps(values(data)))
    return "train", folder / "tiny.yaml", "--out", folder / "run", "--device", "cpu"


# --- what is wrong -----------------------------------------------------------------------------------------------

WRONG_MESHES: dict[str, tuple[str, str]] = {
    "not a number": (obj(CORNERS, TRIANGLES).replace("v -0.5", "v nan", 1), "a vertex is NaN or infinite; mend"),
    "endless": (obj(CORNERS, TRIANGLES).replace("v -0.5", "v 1e999", 1), "a vertex is NaN or infinite; mend"),
    "no faces": (obj(CORNERS, []), "the mesh has no faces; export it with triangles"),
    "lines for faces": (obj(CORNERS, [(0, 0, 1), (2, 3, 2)]), "the mesh has no faces"),
    "strangers": (obj(CORNERS, [(0, 1, 99)]), "a face names a vertex outside of the 8 that there are"),
    "behind the camera": (obj([*CORNERS, (0, 0, -9)], [*TRIANGLES, (0, 1, 8)]), "not before the camera; correct"),
    "empty": ("", "the file is empty; copy it again"),
}


@pytest.mark.parametrize("kind", WRONG_MESHES)
def test_meshes_that_cannot_be_learnt_from(refused: Refused, kind: str, data: Path, tmp_path: Path) -> None:
    text, words = WRONG_MESHES[kind]
    model = spoil(data, text)
    for command in (train_command(data, tmp_path), ("data", "show", f"{data}:train", "--out", tmp_path / "sheet.png")):
        line = refused(*command)
        assert f"{model}: " in line
        assert words in line


WRONG_ENTRIES: dict[str, tuple[Content, str]] = {
    "no focal length": ({"K": None}, "no focal length: neither 'K' nor 'focal_length'; give one"),
    "focal length 0": ({"K": [0.0, 32, 32]}, "the focal length is 0; give one above 0"),
    "focal length not finite": ({"K": [float("nan"), 32, 32]}, "'K' is no list of 3 finite numbers"),
    "a path that climbs out": ({"model": "../secret.obj"}, "'../secret.obj' leads out of"),
    "a path from the root": ({"model": "/etc/hostname"}, "'/etc/hostname' leads out of"),
    "voxels that climb out": ({"voxel": "../secret.mat"}, "voxel '../secret.mat' leads out of"),
    "no such file": ({"model": "meshes/9.obj"}, "there is no model"),
}


@pytest.mark.parametrize("kind", WRONG_ENTRIES)
def test_entries_that_make_no_sense(refused: Refused, kind: str, data: Path, tmp_path: Path) -> None:
    change, words = WRONG_ENTRIES[kind]
    (tmp_path / "secret.obj").write_text(obj(CORNERS, TRIANGLES))
    write_entries(data, entry(1), entry(2, **change))
    line = refused(*train_command(data, tmp_path))
    assert f"{data / 'annotations/pix3d_train.json'}, entry 1: " in line
    assert words in line
    assert "; " in line


@pytest.mark.parametrize("uri", ["../../secret.bin", "none.bin"])
def test_a_gltf_that_climbs_out(refused: Refused, uri: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.array(CORNERS, "<f4").tobytes() + np.array(TRIANGLES, "<u2").tobytes())
    model = spoil(data, json.dumps(gltf(uri)), "gltf")
    line = refused(*train_command(data, tmp_path))
    assert f"{model}: it names {uri!r}, which is no file in its own folder; put" in line


# --- what is odd, but right --------------------------------------------------------------------------------------

ODD: dict[str, str] = {
    "open": obj(CORNERS, TRIANGLES[:-3]),
    "one triangle": obj(CORNERS, TRIANGLES[4:5]),
    "inside out": obj(CORNERS, [face[::-1] for face in TRIANGLES]),
    "an edge with four faces": obj([*CORNERS, *BESIDE], [*TRIANGLES, *(tuple(i + 8 for i in f) for f in TRIANGLES)]),
    "an edge with three faces": obj(CORNERS, [*TRIANGLES, (0, 1, 7)]),
    "quads": obj(CORNERS, QUADS),
    "a vertex that no face has": obj([*CORNERS, (900.0, 0, -900)], TRIANGLES),
    "faces without area": obj(CORNERS, [*TRIANGLES, (0, 0, 1), (3, 3, 3)]),
    "missing materials": "mtllib none.mtl\nusemtl none\n" + obj(CORNERS, TRIANGLES),
    "materials that climb out": "mtllib ../../../etc/passwd\n" + obj(CORNERS, TRIANGLES),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_meshes_are_learnt(kind: str, data: Path, tmp_path: Path) -> None:
    spoil(data, ODD[kind])
    losses = losses_of(values(data), tmp_path / "run")
    assert all(losses[name] > 0 for name in ("extents", "voxels", "chamfer", "edges"))


FLAT: dict[str, Rows] = {
    "no depth": [(x, y, 0) for x, y, _ in CORNERS],
    "a line": [(x, x, x) for x, _, _ in CORNERS],
    "a point": [(0, 0, 0)] * 8,
}


@pytest.mark.parametrize("kind", FLAT)
def test_meshes_that_enclose_nothing_spoil_no_weight(kind: str, data: Path, tmp_path: Path) -> None:
    spoil(data, obj(FLAT[kind], TRIANGLES))
    losses_of(values(data), tmp_path / "run")


def test_two_million_faces(data: Path, tmp_path: Path) -> None:
    """A ball of 1000 x 1000 quads, as a binary file."""
    spoil(data, ball_ply(1000), "ply")
    recipe = values(data, objects=1)
    recipe["training"]["batch"] = 1
    assert losses_of(recipe, tmp_path / "run")["chamfer"] > 0


def ball_ply(side: int) -> bytes:
    """2 side^2 triangles between the meridians and circles of latitude of a ball, which is open at its poles."""
    turn, height = np.meshgrid(np.arange(side) * 2 * np.pi / side, np.linspace(-0.99, 0.99, side + 1))
    width = np.sqrt(1 - height**2)
    points = np.stack([width * np.cos(turn), width * np.sin(turn), height], -1).reshape(-1, 3) / 2
    ring, step = np.divmod(np.arange(side * side), side)
    after = ring * side + (step + 1) % side
    here, above, beyond = ring * side + step, (ring + 1) * side + step, after + side
    rows = np.empty(2 * side * side, np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    rows["count"] = 3
    rows["corners"] = np.concatenate([np.stack([here, after, beyond], 1), np.stack([here, beyond, above], 1)])
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"element face {len(rows)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(head).encode() + points.astype("<f4").tobytes() + rows.tobytes()


def test_objects_without_an_entry_beside_those_with_one(data: Path, tmp_path: Path) -> None:
    write_entries(data, entry(2))
    assert losses_of(values(data), tmp_path / "run")["chamfer"] > 0


def test_a_set_without_any_mesh_teaches_none(data: Path, tmp_path: Path) -> None:
    (data / "annotations/pix3d_train.json").unlink()
    losses = losses_of(values(data), tmp_path / "run")
    assert not any(losses[name] for name in ("extents", "voxels", "chamfer", "normals", "edges"))


def test_objects_that_the_border_cuts(data: Path, tmp_path: Path) -> None:
    """The box is cut, and the mesh stays whole; the camera tells where in the new picture it would be seen."""
    dataset = open_dataset(f"{data}:train", parsers_of([BOXES, MESHES]))
    pictures = TrainingPictures(dataset, Augmentation(mirror=False, crop=32), [BOXES, MESHES], 0)
    cut = 0
    for number in range(12):
        regions = pictures[Place(number, 0)].regions
        for mesh, box in zip(regions.meshes or [], regions.boxes, strict=True):
            assert mesh.camera is not None
            assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
            seen = mesh.camera.focal * mesh.vertices[:, :2] / mesh.vertices[:, 2:] + torch.tensor(mesh.camera.centre)
            whole = torch.cat([seen.amin(0), seen.amax(0)])
            inside = whole.clamp(0, 32)
            torch.testing.assert_close(inside, box, atol=1.0, rtol=0)  # as annotated, but for a pixel
            cut += not torch.equal(inside, whole)
    assert cut > 6
    losses = losses_of(values(data) | {"augmentation": {"crop": 32}}, tmp_path / "run")
    assert losses["chamfer"] > 0


def test_no_voxel_is_predicted(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of the grid is refined instead: in training, and in the files of predictions."""
    monkeypatch.setattr("segue.tasks.mesh_files.turntable", partial(turntable, size=24, frames=2))

    def nothing(head: VoxelHead, rois: torch.Tensor) -> torch.Tensor:
        return rois.new_full((len(rois), 8, 8, 8), -9.0) + 0 * sum(weight.sum() for weight in head.parameters())

    monkeypatch.setattr(VoxelHead, "forward", nothing)
    assert losses_of(values(data), tmp_path / "run")["chamfer"] > 0
    options = ("--model", tmp_path / "run", "--out", tmp_path / "out", "--threshold", "0", "--device", "cpu")
    run("predict", data / "images/1.png", *options)
    regions = json.loads((tmp_path / "out/scenes.json").read_text())["scenes"][0]["regions"]
    assert regions
    for region in regions:
        text = (tmp_path / "out" / region["mesh_obj"]).read_text()
        assert text.count("\nf ") == 2 * 6 * 4 * 4
