"""Pix3D: poses, cameras, masks and voxels, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from pix3d_files import HEIGHT, TETRAHEDRON, WIDTH, as_split, entry, model, picture, write_pix3d

from segue.data.dataset import check_dataset, open_dataset
from segue.data.mesh_files import read_mesh
from segue.data.pix3d import place, read_meshes
from segue.data.records import Dataset
from segue.data.voxel_files import read_voxels
from segue.errors import DataError, SegueError
from segue.structures import Camera, Masks, Mesh
from segue.tasks import BOXES, MASKS

PARSERS = {"boxes": BOXES.parse, "masks": MASKS.parse, "meshes": lambda annotations, size: read_meshes(annotations)}
SIZE = (HEIGHT, WIDTH)


def opened(reference: Path | str, **options: Any) -> Dataset:
    return open_dataset(str(reference), PARSERS, **options)


def meshes(dataset: Dataset, index: int = 0) -> list[Mesh]:
    found = dataset.regions(index).meshes
    assert found is not None
    return found


def volume(mesh: Mesh) -> float:
    return float(torch.linalg.det(mesh.vertices[mesh.faces].double()).sum() / 6)


def test_a_mesh_stands_where_its_pose_says(tmp_path: Path) -> None:
    mesh = meshes(opened(write_pix3d(tmp_path, [entry()])))[0]
    # the corners at the origin and one along the model's x, y and z; Pix3D's axes: turned and shifted; ours: x, y < 0
    assert mesh.vertices.tolist() == [[-0.5, 0, 4], [-0.5, 0, 5], [-0.5, -1, 4], [0.5, 0, 4]]
    assert volume(mesh) == pytest.approx(1 / 6)
    assert mesh.camera == Camera(35 * WIDTH / 32, (WIDTH / 2, HEIGHT / 2))
    assert (mesh.span, mesh.filling) == (None, None)


def test_boxes_masks_and_classes_of_the_list(tmp_path: Path) -> None:
    rows = [entry(1, "table"), entry(2, "chair"), {**entry(2, "chair"), "bbox": [0, 0, 3, 4]}]
    dataset = opened(write_pix3d(tmp_path, rows))
    assert dataset.categories.names == ["chair", "table"]
    assert [record.file.name for record in dataset.records] == ["0001.png", "0002.png"]
    assert [dataset.regions(i).labels.tolist() for i in range(2)] == [[1], [0, 0]]
    assert dataset.regions(1).boxes.tolist() == [[10, 5, 30, 25], [0, 0, 3, 4]]
    masks = dataset.regions(0).masks
    assert isinstance(masks, Masks)
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[5:25, 10:30] = True
    assert torch.equal(masks.dense()[0], expected)
    assert dataset.image(0).shape == (3, HEIGHT, WIDTH)


def test_a_split_of_mesh_rcnn(tmp_path: Path) -> None:
    rows = [entry(1), entry(2)]
    write_pix3d(tmp_path, rows)
    (tmp_path / "pix3d_s1_train.json").write_text(json.dumps(as_split(rows[:1])))
    (tmp_path / "pix3d_s1_test.json").write_text(json.dumps(as_split(rows)))
    dataset = opened(f"{tmp_path}:s1_train")
    assert (len(dataset), len(opened(f"{tmp_path}:s1_test")), len(opened(tmp_path))) == (1, 2, 2)
    regions = dataset.regions(0)
    assert regions.boxes.tolist() == [[10, 5, 30, 25]]
    assert isinstance(regions.masks, Masks)
    assert regions.masks.area.tolist() == [400]
    assert meshes(dataset)[0].camera == Camera(44.0, (19.0, 16.0))
    assert len(opened(tmp_path / "pix3d_s1_test.json")) == 2
    with pytest.raises(DataError, match="did you mean 's1_test'"):
        opened(f"{tmp_path}:s1_tset")


def test_the_data_set_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pix3d(tmp_path / "pix3d", [entry()])
    monkeypatch.setenv("SEGUE_DATA", str(tmp_path))
    assert len(opened("pix3d")) == 1
    assert not check_dataset("pix3d").faults


def test_the_two_pictures_with_masks_of_others_are_left_out(tmp_path: Path) -> None:
    rows = [entry(1), entry(45, "table"), {**entry(1749, "table"), "img": "img/table/1749.jpg"}]
    folder = write_pix3d(tmp_path, rows)
    (folder / "pix3d_s1_test.json").write_text(json.dumps(as_split(rows)))
    for reference in (folder, f"{folder}:s1_test"):
        assert [record.file.name for record in opened(reference).records] == ["0001.png"]


def test_masks_and_meshes_are_read_on_use(tmp_path: Path) -> None:
    folder = write_pix3d(tmp_path, [entry(1), entry(2)])
    (folder / "mask/chair/0001.png").write_bytes(b"broken")
    dataset = opened(folder)
    assert len(dataset.regions(1)) == 1
    with pytest.raises(SegueError, match=r"0001\.png: "):
        dataset.regions(0)
    picture(folder / "mask/chair/0001.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"0001\.png: the mask is 4x4, its picture 40x30; exchange"):
        dataset.regions(0)
    model(folder / "model/chair/model.obj", "v 0 nan 0")
    with pytest.raises(DataError, match=r"model\.obj: a vertex is NaN"):
        open_dataset(str(folder), {"meshes": PARSERS["meshes"]}).regions(0)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"focal_length": None}, "no focal length: neither 'K' nor 'focal_length'; give one"),
        ({"focal_length": -3.0}, "the focal length is -"),
        ({"focal_length": "35"}, "no focal length"),
        ({"K": [30.0, 20.0]}, "'K' is no list of 3 finite numbers"),
        ({"rot_mat": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}, "'rot_mat' is no rotation"),
        ({"rot_mat": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "'rot_mat' is no rotation"),
        ({"rot_mat": [[1, 0, 0], [0, 1, 0]]}, "no 3x3 matrix"),
        ({"rot_mat": [[1, 0, 0], [0, float("nan"), 0], [0, 0, 1]]}, "'rot_mat' is no list of 3 finite"),
        ({"trans_mat": [0, 0]}, "'trans_mat' is no list of 3 finite"),
        ({"model": "../model.obj"}, r"model '\.\./model\.obj' leads out of .*; put the file inside"),
        ({"model": None}, "no 'model', the path of a file"),
        ({"voxel": "model/none.mat"}, "there is no voxel "),
        ({"img_size": [40]}, "'img_size' is no width and height"),
        ({"bbox": [0, 0, "x", 4]}, "'bbox' is no x and y of two corners"),
        ({"bbox": [9, 9, 2, 12]}, "has no area"),
        ({"category": 3}, "no 'category', a text"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    rows = [entry(1), {**entry(2), **change}]
    folder = write_pix3d(tmp_path / "set", [entry(1), entry(2)])
    (folder / "pix3d.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=f"(annotation 2|entry 1): .*{what}") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    assert check_dataset(str(folder)).fatal


def test_missing_files_and_other_content(tmp_path: Path) -> None:
    folder = write_pix3d(tmp_path, [entry(1), entry(2)])
    (folder / "img/chair/0002.png").unlink()
    with pytest.raises(DataError, match=r"there is no .*0002"):
        opened(folder)
    assert len(opened(folder, need_images=False)) == 2
    (folder / "model/chair/model.obj").unlink()
    with pytest.raises(DataError, match=r"there is no model .*model\.obj; put the file there \(the first of 2 fatal"):
        opened(folder, need_images=False)
    for content in ("{}", "[]", "3", '[4, {"img": 2}]', '{"images": 3, "annotations": []}'):
        (folder / "pix3d.json").write_text(content)
        with pytest.raises(DataError, match=r"segue data check"):
            opened(folder)
        assert check_dataset(str(folder)).fatal


def test_an_object_behind_the_camera_is_refused(tmp_path: Path) -> None:
    dataset = opened(write_pix3d(tmp_path, [entry(trans_mat=[0.0, 0.0, -0.5])]))
    with pytest.raises(DataError, match=r"model\.obj: a part of the object is not before the camera"):
        dataset.regions(0)


def test_what_nobody_knows_is_an_empty_mesh(tmp_path: Path) -> None:
    placed = place(entry(model="model.obj"), SIZE, model(tmp_path / "model.obj").parent)
    assert read_meshes([{"id": 1}]) is None
    assert read_meshes([]) is None
    found = read_meshes([{"id": 1}, {"id": 2, "mesh": placed}])
    assert found is not None
    assert [(len(mesh.vertices), len(mesh.faces)) for mesh in found] == [(0, 0), (4, 4)]


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_voxels_fill_the_mesh(tmp_path: Path, suffix: str) -> None:
    """A box of 2 x 4 x 3 in Pix3D's model axes (left, up, in), its voxels by (left, out, up)."""
    grid = np.zeros((32, 32, 32), np.uint8)
    grid[5:15, 8:23, 2:22] = 1  # 10 to the left, 15 outwards, 20 up
    grid[5, 8, 21] = 0  # one corner is missing
    path = tmp_path / f"voxel{suffix}"
    scipy.io.savemat(path, {"voxel": grid}) if suffix == ".mat" else np.savez(path, voxel=grid)
    points = read_voxels(path)
    extent = points.amax(0) - points.amin(0)
    assert len(points) == 10 * 15 * 20 - 1
    assert torch.allclose(extent / extent[0] * 9, torch.tensor([9.0, 19.0, 14.0]), atol=1e-4)
    assert points.norm(dim=1).max() == pytest.approx(0.5)
    corners = points.amax(0).clone(), points.amin(0).clone()
    missing = torch.tensor([corners[1][0], corners[0][1], corners[0][2]])  # low x, high y (up), high z (in: not out)
    assert not torch.isclose(points, missing).all(1).any()
    placed = place(entry(model="box.obj", voxel=path.name), SIZE, model(tmp_path / "box.obj", TETRAHEDRON).parent)
    mesh = (read_meshes([{"mesh": placed}]) or [])[0]
    assert mesh.filling is not None
    turned = mesh.filling - torch.tensor([-0.5, 0, 4])  # the middle of the voxels is the model's origin
    assert torch.allclose((turned.amax(0) - turned.amin(0)) / extent[0] * 9, torch.tensor([14.0, 19.0, 9.0]), atol=1e-4)


def test_broken_voxels_are_refused(tmp_path: Path) -> None:
    def saved(name: str, **arrays: np.ndarray) -> Path:
        scipy.io.savemat(tmp_path / name, arrays) if name.endswith("mat") else np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    (tmp_path / "cut.mat").write_bytes(saved("whole.mat", voxel=np.ones((9, 9, 9))).read_bytes()[:300])
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "a.vox").touch()
    refused: dict[Path, str] = {
        saved("empty.mat", voxel=np.zeros((3, 3, 3))): "no voxel is filled",
        saved("other.mat", grid=np.ones((3, 3, 3))): "no array 'voxel'",
        saved("flat.npz", voxel=np.ones((3, 3))): "no .X, Y, Z. array",
        saved("words.npz", voxel=np.array([[["a"]]])): "no .X, Y, Z. array",
        saved("other.npz", grid=np.ones((3, 3, 3))): "damaged|no array",
        tmp_path / "cut.mat": "damaged",
        tmp_path / "cut.npz": "damaged",
        tmp_path / "a.vox": "known format",
        tmp_path / "none.mat": "no such file",
    }
    for path, what in refused.items():
        with pytest.raises(DataError, match=f"{path.name}: .*({what})") as caught:
            read_voxels(path)
        assert "\n" not in str(caught.value)


def test_one_voxel(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", voxel=np.ones((1, 1, 1)))
    assert read_voxels(tmp_path / "one.npz").tolist() == [[0, 0, 0]]


def test_a_pose_keeps_distances(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    file = real_data("meshes") / "common/spot_control_mesh.obj"
    c, s = math.cos(0.7), math.sin(0.7)
    turn = [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
    placed = place(entry(model=file.name, rot_mat=turn, trans_mat=[0.2, 0.1, 5.0]), SIZE, file.parent)
    mesh, (vertices, faces) = (read_meshes([{"mesh": placed}]) or [])[0], read_mesh(file)
    assert torch.equal(mesh.faces, faces)
    assert torch.allclose(torch.pdist(mesh.vertices), torch.pdist(vertices), atol=1e-5)
    assert volume(mesh) == pytest.approx(volume(Mesh(vertices, faces)), rel=1e-4)
    assert volume(mesh) > 0
