"""A model in Python: every kind of picture, the same scene."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import segue
from segue.data.images import read_image
from segue.errors import CheckpointError, ImageError, UsageError
from segue.structures import Masks, Scene

LOW = 0.3


@pytest.fixture(scope="module")
def model(model_file: Path) -> segue.Predictor:
    return segue.load(model_file, device="cpu")


@pytest.fixture
def photo(cells: Path) -> Path:
    return cells.parent / "cells_000.png"


def assert_same(a: Scene, b: Scene) -> None:
    assert a.size == b.size
    assert torch.equal(a.regions.boxes, b.regions.boxes)
    assert torch.equal(a.regions.labels, b.regions.labels)
    assert torch.equal(a.regions.scores, b.regions.scores)
    assert torch.equal(a.regions.masks.boxes, b.regions.masks.boxes)
    assert torch.equal(a.regions.masks.bits, b.regions.masks.bits)


def test_a_path_and_its_pixels_give_the_same_scene(model: segue.Predictor, photo: Path) -> None:
    pixels = read_image(photo)
    scene = model.predict(photo, LOW)
    assert len(scene.regions) == 20
    assert scene.file == str(photo)
    with Image.open(photo) as image:
        image.load()
        kinds: list[Any] = [
            str(photo),
            image,
            image.convert("RGB"),
            pixels,
            pixels.permute(1, 2, 0).numpy(),
            pixels[0].numpy(),
            pixels[0].numpy()[:, :, None],
            pixels[0].numpy().astype(np.uint16),
        ]
    for kind in kinds:
        assert_same(model.predict(kind, LOW), scene)
    assert model.predict(pixels, LOW).file is None


def test_lists_give_lists_in_order(model: segue.Predictor, cells: Path) -> None:
    paths = sorted(cells.parent.glob("*.png"))[:3]
    small = np.zeros((40, 30, 3), np.uint8)
    pictures: list[Any] = [paths[0], small, paths[1], paths[2]]
    scenes = model.predict(pictures, LOW)
    assert [scene.size for scene in scenes] == [(256, 256), (40, 30), (256, 256), (256, 256)]
    for scene, picture in zip(scenes, pictures, strict=True):
        assert_same(scene, model.predict(picture, LOW))
    assert_same(model.predict(tuple(pictures), LOW)[2], scenes[2])
    assert model.predict([]) == []


def test_a_batch_changes_nothing(model: segue.Predictor, cells: Path) -> None:
    paths = sorted(cells.parent.glob("*.png"))[:5]
    for one, two in zip(model.predict(paths, LOW), model.predict(paths, LOW, batch=2), strict=True):
        assert one.file == two.file
        torch.testing.assert_close(one.regions.scores, two.regions.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.regions.boxes, two.regions.boxes, atol=1e-3, rtol=0)
        differing = (one.regions.masks.dense() ^ two.regions.masks.dense()).sum()
        assert int(differing) <= 1e-4 * one.regions.masks.dense().sum() + 1


def test_a_stream_holds_only_a_batch(model: segue.Predictor, photo: Path, tmp_path: Path) -> None:
    stream = model.stream([photo, tmp_path / "none.png"], LOW)
    assert len(next(stream).regions) == 20  # before the second picture is even looked for
    with pytest.raises(ImageError, match=r"none\.png"):
        next(stream)


def test_what_comes_out(model: segue.Predictor, photo: Path) -> None:
    regions = model.predict(photo, LOW).regions
    assert regions.boxes.dtype == torch.float32
    assert regions.scores.dtype == torch.float32
    assert isinstance(regions.masks, Masks)
    assert bool((regions.scores.diff() <= 0).all())
    assert bool((regions.scores >= LOW).all())
    assert bool((regions.boxes >= 0).all())
    assert bool((regions.boxes <= 256).all())
    assert not regions.boxes.is_inference()
    regions.boxes.add_(0)  # they may be used like any tensor, in learning, too


def test_threads_do_not_disturb_each_other(model: segue.Predictor, cells: Path) -> None:
    paths = sorted(cells.parent.glob("*.png"))[:2]
    expected = [model.predict(path, LOW) for path in paths]
    results: dict[int, list[Scene]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(3):
            results[number].append(model.predict(paths[number], LOW))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        assert len(results[number]) == 3
        for scene in results[number]:
            assert_same(scene, expected[number])


def test_predicting_changes_nothing(model: segue.Predictor, photo: Path) -> None:
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    model.predict(photo, LOW)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
    assert not model.network.training


def test_only_some_tasks(model: segue.Predictor, photo: Path) -> None:
    boxes = model.only(["boxes"])
    scene = boxes.predict(photo, LOW)
    assert scene.regions.masks is None
    assert torch.equal(scene.regions.boxes, model.predict(photo, LOW).regions.boxes)
    assert [task.name for task in model.only(["masks"]).tasks] == ["boxes", "masks"]  # boxes choose what is read
    assert [task.name for task in model.tasks] == ["boxes", "masks"]
    with pytest.raises(UsageError, match="tiny has no task 'mask'; it has boxes, masks"):
        model.only(["mask"])


@pytest.mark.parametrize(
    "picture",
    [
        None,
        3,
        b"bytes",
        torch.zeros(3, 8, 8),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
        torch.zeros(3, 0, 8, dtype=torch.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.array(["a"]),
    ],
    ids=str,
)
def test_what_is_no_picture(model: segue.Predictor, picture: Any) -> None:
    with pytest.raises(UsageError):
        model.predict(picture)


def test_pixels_that_are_no_numbers(model: segue.Predictor) -> None:
    with pytest.raises(ImageError, match="NaN or infinite"):
        model.predict(np.full((8, 8), np.nan))


def test_a_batch_below_one(model: segue.Predictor, photo: Path) -> None:
    with pytest.raises(UsageError, match="batch of 0"):
        model.predict([photo], batch=0)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "meta"])
def test_a_device_that_is_not_there(model_file: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{device}' here; use auto, cpu"):
        segue.load(model_file, device)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model file"):
        segue.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 65)])
def test_any_size_and_nothing_in_it(model: segue.Predictor, size: tuple[int, int]) -> None:
    scene = model.predict(np.zeros(size, np.uint8), threshold=1.0)
    assert scene.size == size
    assert len(scene.regions) == 0
    assert scene.regions.masks.size == size
    assert model.predict(np.zeros(size, np.uint8), LOW).size == size


def test_resize_gives_coordinates_of_the_original(model: segue.Predictor, photo: Path) -> None:
    resized = type(model)("half", model.network, model.categories, model.tasks, resize=(128, 512))
    with Image.open(photo) as image:
        scene = resized.predict(image.convert("RGB"), LOW)
    assert scene.size == (256, 256)
    assert scene.regions.masks.size == (256, 256)
    assert float(scene.regions.boxes.max()) > 130


def test_draw_takes_what_predict_takes(model: segue.Predictor, photo: Path) -> None:
    scene, pixels = model.predict(photo, LOW), read_image(photo)
    with Image.open(photo) as image:
        drawn = [np.asarray(segue.draw(scene, kind)) for kind in (photo, str(photo), image, pixels[0].numpy())]
    assert all(np.array_equal(drawn[0], other) for other in drawn)
    assert drawn[0].shape == (256, 256, 3)
    assert not np.array_equal(drawn[0], pixels.permute(1, 2, 0).numpy())
    with pytest.raises(UsageError, match="over a picture of"):
        segue.draw(scene, np.zeros((9, 9), np.uint8))


def written(folder: Path) -> tuple[set[str], dict[str, Any]]:
    return {p.name for p in folder.iterdir()}, json.loads((folder / "scenes.json").read_text())["scenes"][0]


def test_save_writes_what_predict_writes(model: segue.Predictor, photo: Path, model_file: Path, tmp_path: Path) -> None:
    from segue.cli import main

    model.predict(photo, LOW).save(tmp_path / "saved")
    command = ["predict", str(photo), "--model", str(model_file), "--out", str(tmp_path / "out")]
    assert main([*command, "--threshold", str(LOW), "--device", "cpu"]) == 0
    names, entry = written(tmp_path / "saved")
    assert (names, entry) == written(tmp_path / "out")
    assert names == {"scenes.json", "cells_000.png"}
    overlays = [Image.open(tmp_path / folder / "cells_000.png") for folder in ("saved", "out")]
    assert np.array_equal(*map(np.asarray, overlays))


def test_save_without_a_picture_writes_no_overlay(model: segue.Predictor, photo: Path, tmp_path: Path) -> None:
    model.predict(read_image(photo), LOW).save(str(tmp_path / "out"))
    names, entry = written(tmp_path / "out")
    assert names == {"scenes.json"}
    assert "overlay" not in entry
    assert len(entry["regions"]) == 20
    moved = tmp_path / "moved.png"
    moved.write_bytes(photo.read_bytes())
    scene = model.predict(moved, LOW)
    moved.unlink()
    scene.save(tmp_path / "out")
    assert written(tmp_path / "out")[0] == {"scenes.json"}


def test_save_refuses_another_picture_of_the_same_name(model: segue.Predictor, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.new("L", (32, 32)).save(path)
    scene = model.predict(path, LOW)
    Image.new("L", (16, 16)).save(path)
    with pytest.raises(UsageError, match=r"p\.png.*over a picture of"):
        scene.save(tmp_path / "out")


def test_on_a_gpu_as_on_the_cpu(model: segue.Predictor, model_file: Path, photo: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    there = segue.load(model_file, device="cuda").predict(photo, LOW)
    assert there.regions.boxes.device == torch.device("cpu")
    here: Tensor = model.predict(photo, LOW).regions.scores
    torch.testing.assert_close(there.regions.scores, here, atol=1e-2, rtol=0)
