"""Meshes beside the instances of the same pictures, above all those of Toybox."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.dataset import check_dataset, open_dataset
from segue.data.pix3d import read_meshes
from segue.data.records import Dataset
from segue.data.toybox.write import Order, write_toybox
from segue.engine.datasets import check
from segue.errors import DataError
from segue.structures import Masks, Mesh
from segue.tasks import BOXES, MASKS

PARSERS = {"boxes": BOXES.parse, "masks": MASKS.parse, "meshes": lambda annotations, size: read_meshes(annotations)}


@pytest.fixture(scope="module")
def toybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toybox")
    write_toybox(folder, Order(train=0, val=2, size=64, seed=3))
    return folder


def opened(folder: Path) -> Dataset:
    return open_dataset(f"{folder}:val", PARSERS)


def projected(mesh: Mesh) -> torch.Tensor:
    """(V, 2) pixels."""
    assert mesh.camera is not None
    return mesh.camera.focal * mesh.vertices[:, :2] / mesh.vertices[:, 2:] + torch.tensor(mesh.camera.centre)


def test_meshes_project_onto_their_masks_and_look_outward(toybox: Path) -> None:
    dataset, tested = opened(toybox), 0
    for index in range(len(dataset)):
        regions = dataset.regions(index)
        assert regions.meshes is not None
        assert isinstance(regions.masks, Masks)
        for mesh, box in zip(regions.meshes, regions.masks.boxes.float(), strict=True):
            seen = projected(mesh)
            low, high = seen.amin(0), seen.amax(0)
            assert (low <= box[:2] + 0.76).all()  # a pixel's samples lie at its quarters
            assert (high >= box[2:] - 0.76).all()
            assert torch.linalg.det(mesh.vertices[mesh.faces].double()).sum() > 0
            tested += 1
    assert tested == sum(map(len, dataset.annotations)) > 2


def test_a_thing_that_nothing_hides_fills_its_box(toybox: Path) -> None:
    """The first thing of all pictures that is whole: its mesh is as large in the picture as its mask."""
    dataset = opened(toybox)
    fits = []
    for index in range(len(dataset)):
        regions = dataset.regions(index)
        for mesh, box in zip(regions.meshes or [], regions.boxes, strict=True):
            seen = projected(mesh)
            fits.append(float((torch.cat([seen.amin(0), seen.amax(0)]) - box).abs().max()))
    assert min(fits) < 1


def test_meshes_are_joined_only_where_they_are_wanted(toybox: Path, tmp_path: Path) -> None:
    path = toybox / "annotations/pix3d_val.json"
    before = path.read_text()
    path.write_text("broken")
    try:
        assert open_dataset(f"{toybox}:val", {"boxes": BOXES.parse}).regions(0).meshes is None
        with pytest.raises(DataError, match=r"pix3d_val\.json: not JSON"):
            opened(toybox)
    finally:
        path.write_text(before)


def write(folder: Path, entries: Any) -> Path:
    """Two annotations in a picture, and a list of meshes beside them."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    rows = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4} for i in (5, 6)]
    picture = {"id": 1, "file_name": "1.png", "width": 8, "height": 6}
    content = {"images": [picture], "annotations": rows, "categories": [{"id": 1, "name": "box"}]}
    (folder / "annotations/instances_val.json").write_text(json.dumps(content))
    (folder / "annotations/pix3d_val.json").write_text(json.dumps(entries))
    (folder / "meshes").mkdir(exist_ok=True)
    (folder / "meshes/a.obj").write_text("v 0 0 2\nv 1 0 2\nv 0 1 2\nf 1 2 3\n")
    return folder


def entry(**changes: object) -> dict[str, Any]:
    pose = {"rot_mat": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "trans_mat": [0, 0, 0], "focal_length": 16.0}
    return {"annotation_id": 6, "model": "meshes/a.obj", **pose, **changes}


def joined(folder: Path) -> Dataset:
    return open_dataset(f"{folder}:val", PARSERS, need_images=False)


def test_an_annotation_without_entry_has_an_empty_mesh(tmp_path: Path) -> None:
    dataset = joined(write(tmp_path, [entry(), entry(annotation_id=99, model="unknown.obj")]))
    meshes = dataset.regions(0).meshes
    assert meshes is not None
    assert [len(mesh.faces) for mesh in meshes] == [0, 1]
    assert meshes[1].camera is not None
    assert (meshes[1].camera.focal, meshes[1].camera.centre) == (4.0, (4.0, 3.0))
    assert meshes[1].vertices.tolist() == [[0, 0, 2], [-1, 0, 2], [0, -1, 2]]


def test_files_in_one_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, [entry()])
    for file in list((folder / "annotations").iterdir()):
        file.rename(folder / file.name)
    assert "mesh" in joined(folder).annotations[0][1]


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({}, r"pix3d_val\.json: not a list of entries"),
        ([3], "entry 0: no whole number 'annotation_id'"),
        ([entry(annotation_id="6")], "entry 0: no whole number 'annotation_id'"),
        ([entry(), entry()], "entry 1: annotation 6 comes twice"),
        ([entry(annotation_id=7)], "no entry is about an annotation of"),
        ([entry(annotation_id=5), entry(model="../a.obj")], "entry 1: model '../a.obj' leads out of"),
        ([entry(model="/etc/hostname")], "entry 0: model '/etc/hostname' leads out of"),
        ([entry(model="meshes/b.obj")], "entry 0: there is no model .*b.obj; put"),
        ([entry(focal_length=None)], "entry 0: no focal length"),
        ([entry(rot_mat=[[1, 0, 0], [0, 1, 0], [0, 1, 0]])], "entry 0: 'rot_mat' is no rotation"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, entries: Any, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        joined(write(tmp_path, entries))
    assert "\n" not in str(caught.value)


def test_checking_names_every_faulty_entry(toybox: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toybox"
    shutil.copytree(toybox, folder)
    path = folder / "annotations" / "pix3d_val.json"
    assert check_dataset(str(path)).faults == []
    entries = json.loads(path.read_text())
    entries[0]["model"] = "meshes/none.obj"
    entries[1]["annotation_id"] = entries[2]["annotation_id"]
    path.write_text(json.dumps(entries))
    assert [(fault.code, fault.where) for fault in check_dataset(str(path)).faults] == [
        ("mesh", "entry 0"),
        ("mesh", "entry 2"),
    ]
    text, fatal = check(f"{folder}:val", None)  # and beside the instances
    assert fatal == 2
    assert "there is no model" in text
