"""ShapeNet's renderings: cameras, boxes from transparency, splits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pix3d_files import TETRAHEDRON, model, picture

from segue.data.dataset import check_dataset, open_dataset
from segue.data.pix3d import read_meshes
from segue.data.records import Dataset
from segue.data.shapenet import pose
from segue.errors import DataError
from segue.structures import Camera, Masks
from segue.tasks import BOXES, MASKS

PARSERS = {"boxes": BOXES.parse, "masks": MASKS.parse, "meshes": lambda annotations, size: read_meshes(annotations)}
CAMERA = "30.0 25.0 0 0.8 25"
SIZE = 137


def write(
    folder: Path, synset: str = "03001627", name: str = "a1", cameras: tuple[str, ...] = (CAMERA, CAMERA)
) -> Path:
    """Renderings of a model whose object covers the pixels from (20, 30) to (70, 60)."""
    place = folder / "ShapeNetRendering" / synset / name / "rendering"
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[30:60, 20:70] = (200, 20, 20, 255)
    names = [f"{i:02d}.png" for i in range(len(cameras))]
    for file in names:
        picture(place / file, pixels)
    (place / "renderings.txt").write_text("\n".join(names) + "\n")
    (place / "rendering_metadata.txt").write_text("\n".join(cameras) + "\n")
    model(folder / "ShapeNetV1" / synset / name / "model.obj")
    return folder


def opened(reference: Path | str) -> Dataset:
    return open_dataset(str(reference), PARSERS)


def test_pictures_with_box_mask_and_mesh(tmp_path: Path) -> None:
    write(write(tmp_path), "02691156", "b2", (CAMERA,))
    dataset = opened(tmp_path)
    assert dataset.categories.names == ["airplane", "chair"]
    assert [dataset.regions(i).labels.item() for i in range(3)] == [0, 1, 1]
    assert [record.id for record in dataset.records] == [1, 2, 3]
    regions = dataset.regions(1)
    assert regions.boxes.tolist() == [[20, 30, 70, 60]]
    assert isinstance(regions.masks, Masks)
    assert regions.masks.area.tolist() == [1500]
    assert regions.meshes is not None
    assert regions.meshes[0].camera == Camera(2.1875 * 137 / 2, (68.5, 68.5))
    assert dataset.image(1)[:, 0, 0].tolist() == [255, 255, 255]
    assert dataset.image(1)[:, 40, 40].tolist() == [200, 20, 20]
    assert len(opened(tmp_path / "ShapeNetRendering")) == 3
    assert not check_dataset(str(tmp_path)).faults


@pytest.mark.parametrize("azimuth", [0.0, 40.0, 200.0])
@pytest.mark.parametrize("elevation", [0.0, 30.0])
def test_the_camera_looks_at_the_model(azimuth: float, elevation: float) -> None:
    rotation, translation = pose(azimuth, elevation, 1.5)
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) == pytest.approx(1)
    assert (rotation @ torch.zeros(3, dtype=torch.float64) + translation).tolist() == [0, 0, 1.5]
    a, e = np.radians([azimuth, elevation])
    eye = torch.tensor([np.cos(a) * np.cos(e), np.sin(e), np.sin(a) * np.cos(e)]) * 1.5
    assert torch.allclose(rotation @ eye + translation, torch.zeros(3, dtype=torch.float64), atol=1e-12)
    up = rotation @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    assert up[0] == pytest.approx(0, abs=1e-12)  # the model stands upright in the picture
    assert up[1] == pytest.approx(np.cos(e))


def test_seen_from_the_front_and_from_the_side(tmp_path: Path) -> None:
    """The published camera at azimuth 0 looks along -x, with z to the left; at 90 it looks along -z, x to the right."""
    dataset = opened(write(tmp_path, cameras=("0 0 0 1 25", "90 0 0 1 25")))
    front, side = (dataset.regions(i).meshes for i in range(2))
    assert front is not None
    assert side is not None
    expected = [[0, 0, 1.75], [0, 0, 0.75], [0, -1, 1.75], [-1, 0, 1.75]]  # the origin, then along x, y, z
    assert torch.allclose(front[0].vertices, torch.tensor(expected), atol=1e-6)
    expected = [[0, 0, 1.75], [1, 0, 1.75], [0, -1, 1.75], [0, 0, 0.75]]
    assert torch.allclose(side[0].vertices, torch.tensor(expected), atol=1e-6)


def test_a_split_names_models_and_pictures(tmp_path: Path) -> None:
    write(write(tmp_path), name="a2")
    chosen = {"train": {"03001627": {"a1": [1]}}, "test": {"03001627": {"a2": [0, 1]}}}
    (tmp_path / "pix2mesh_splits_val05.json").write_text(json.dumps(chosen))
    assert [str(r.file)[-19:] for r in opened(f"{tmp_path}:train").records] == ["a1/rendering/01.png"]
    assert len(opened(f"{tmp_path}:test")) == 2
    with pytest.raises(DataError, match="several splits"):
        opened(tmp_path)
    for content in ("[]", '{"train": [1]}', '{"train": {"03001627": 3}}'):
        (tmp_path / "pix2mesh_splits_val05.json").write_text(content)
        with pytest.raises(DataError, match="no pictures by split, class and model"):
            opened(f"{tmp_path}:train")


def test_what_is_refused(tmp_path: Path) -> None:
    place = write(tmp_path) / "ShapeNetRendering/03001627/a1/rendering"
    for text, what in (
        ("30 25 0 0.8 25", "does not have the name"),
        ("30 25 0 0.8\n30 25 0 0.8 25", "no camera of five numbers"),
        ("30 nan 0 0.8 25\n30 25 0 0.8 25", "no camera before the model"),
        ("30 25 0 0 25\n30 25 0 0.8 25", "no camera before the model"),
    ):
        (place / "rendering_metadata.txt").write_text(text)
        with pytest.raises(DataError, match=f"{what}.*; copy"):
            opened(tmp_path)
    (place / "rendering_metadata.txt").write_text(f"{CAMERA}\n{CAMERA}")
    (place / "renderings.txt").write_text("00.png\n../01.png")
    with pytest.raises(DataError, match="does not have the name"):
        opened(tmp_path)
    (place / "renderings.txt").write_text("00.png\n01.png")
    (place / "01.png").unlink()
    with pytest.raises(DataError, match=r"there is no 01\.png"):
        opened(tmp_path)
    (tmp_path / "ShapeNetV1/03001627/a1/model.obj").unlink()
    picture(place / "01.png", np.zeros((SIZE, SIZE, 3), np.uint8))
    with pytest.raises(DataError, match=r"there is no .*model\.obj"):
        opened(tmp_path)
    model(tmp_path / "ShapeNetV1/03001627/a1/model.obj", TETRAHEDRON)
    with pytest.raises(Exception, match="no transparency") as caught:
        opened(tmp_path).regions(1)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no split 'val', since there is no"):
        opened(f"{tmp_path}:val")
    (tmp_path / "ShapeNetV1").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no folder ShapeNetV1 or ShapeNetCore\.v1"):
        opened(tmp_path)
