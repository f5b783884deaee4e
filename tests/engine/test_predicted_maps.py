"""Scores of semantic maps: of a model, of what `segue predict` saved, and of index PNGs from anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segue
from segue.data.dataset import open_dataset
from segue.data.records import Dataset, LabelMaps, Record
from segue.engine.evaluate import evaluate
from segue.engine.output import write_scenes
from segue.engine.predicted_maps import read_map
from segue.engine.predictions import evaluate_predictions
from segue.errors import DataError
from segue.structures import Categories, Category, Regions, Scene
from segue.tasks import SEMANTIC, known_tasks
from segue.tasks.semantic import index_picture

Run = Callable[..., str]


@pytest.fixture
def val(street: Path) -> Dataset:
    return open_dataset(f"{street}:val", {})


def numbers_of(path: Path) -> dict[str, float]:
    """A metrics file without what differs from run to run."""
    content = json.loads(path.read_text())
    return {name: value for name, value in content.items() if name != "seconds"}


def score(predictions: Path, dataset: Dataset) -> dict[str, float]:
    numbers = evaluate_predictions(predictions, dataset, known_tasks()).numbers
    assert all(value == value for value in numbers.values())  # no NaN
    return {name: value for name, value in numbers.items() if name != "seconds"}


def without_map(dataset: Dataset, *indices: int) -> Dataset:
    """The same pictures, some without their label map."""
    files = [None if i in indices else file for i, file in enumerate(dataset.maps.files)]
    return replace(dataset, maps=LabelMaps(files, dataset.maps.read))


def test_all_forms_of_predictions_score_alike(run: Run, street: Path, street_run: Path, tmp_path: Path) -> None:
    data, out, bare = f"{street}:val", tmp_path / "out", tmp_path / "bare"
    run("predict", street / "images/val", "--model", street_run, "--out", out, "--device", "cpu")
    bare.mkdir()
    for file in out.glob("*.semantic.png"):
        shutil.copy(file, bare / file.name.replace(".semantic", ""))
    table = run("evaluate", "--model", street_run, "--data", data, "--out", tmp_path / "model.json", "--device", "cpu")
    asked = numbers_of(tmp_path / "model.json")
    assert asked["semantic/mIoU"] > 0.9
    assert asked["images"] == 2
    assert {"semantic/accuracy", "semantic/class_accuracy", "semantic/fwIoU", "semantic/boundary_F1"} <= asked.keys()
    assert all(name.split("/")[-1] in table for name in asked)
    for form in (out / "scenes.json", out, bare):
        run("evaluate", "--predictions", form, "--data", data, "--out", tmp_path / "saved.json")
        assert numbers_of(tmp_path / "saved.json") == asked
    pictures = [(tmp_path / f"{name}.confusion.png").read_bytes() for name in ("model", "saved")]
    assert pictures[0] == pictures[1]
    with Image.open(tmp_path / "model.confusion.png") as picture:
        assert min(picture.size) > 100


def test_views_change_the_score_of_a_model(run: Run, street: Path, street_run: Path, tmp_path: Path) -> None:
    command = ("evaluate", "--model", street_run, "--data", f"{street}:val", "--device", "cpu", "--out")
    run(*command, tmp_path / "plain.json")
    run(*command, tmp_path / "views.json", "--flip", "--scales", "0.5,1")
    plain, views = (numbers_of(tmp_path / f"{name}.json") for name in ("plain", "views"))
    assert plain.keys() == views.keys()
    assert plain["semantic/mIoU"] != views["semantic/mIoU"]


def test_the_truth_is_perfect(street: Path, val: Dataset, tmp_path: Path) -> None:
    write_scenes([val.scene(i) for i in range(2)], tmp_path, "truth", known_tasks())
    for form in (street / "labels/val", tmp_path / "scenes.json", tmp_path):
        numbers = score(form, val)
        assert numbers.pop("images") == 2
        assert set(numbers.values()) == {1.0}
        assert {name.partition("/")[0] for name in numbers} == {"semantic"}  # no regions, so no score of regions


def test_missing_predictions_are_wrong_everywhere_and_reported(street: Path, val: Dataset, tmp_path: Path) -> None:
    shutil.copy(street / "labels/val/4.png", tmp_path)
    numbers = score(tmp_path, val)
    known = [int((val.semantic(i) >= 0).sum()) for i in range(2)]
    assert numbers["images_missing"] == 1
    assert numbers["images"] == 2
    assert numbers["semantic/accuracy"] == pytest.approx(known[0] / sum(known))
    assert 0 < numbers["semantic/mIoU"] < 1


@pytest.mark.parametrize("value", [255, 65535])
def test_pixels_predicted_as_no_class_are_wrong(street: Path, val: Dataset, tmp_path: Path, value: int) -> None:
    for i, name in enumerate(("4.png", "5.png")):
        ids = np.asarray(Image.open(street / "labels/val" / name)).astype(np.uint16)
        ids[val.semantic(i).numpy() == 1] = value
        Image.fromarray(ids).save(tmp_path / name)
    numbers = score(tmp_path, val)
    assert numbers["semantic/IoU_road"] == 0
    assert numbers["semantic/IoU_sky"] == numbers["semantic/IoU_car"] == 1
    assert numbers["semantic/mIoU"] == pytest.approx(2 / 3)


def test_a_score_by_hand(tmp_path: Path) -> None:
    classes = Categories((Category("a", 3), Category("b", 9)))
    for name, pixels in (("truth", [[3, 3, 9, 9]]), ("x", [[3, 9, 9, 255]])):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(pixels, np.uint8)).save(tmp_path / name / "x.png")
    maps = LabelMaps([tmp_path / "truth/x.png"], lambda file, size: read_map(file, classes, size))
    dataset = Dataset("hand", classes, [Record(Path("x.jpg"), (1, 4), 1, {})], [[]], {}, maps)
    numbers = score(tmp_path / "x", dataset)
    assert numbers["semantic/accuracy"] == 0.5
    assert numbers["semantic/IoU_a"] == 1 / 2
    assert numbers["semantic/IoU_b"] == 1 / 3


def test_truth_without_any_label_gives_no_number_that_is_none(
    run: Run, street: Path, street_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(street, tmp_path / "void")
    for file in (tmp_path / "void/labels/val").iterdir():
        Image.new("L", (80, 64), 255).save(file)
    data, out = f"{tmp_path / 'void'}:val", tmp_path / "n.json"
    run("evaluate", "--model", street_run, "--data", data, "--out", out, "--device", "cpu")
    assert numbers_of(out) == {"images": 2}
    assert (tmp_path / "n.confusion.png").exists()
    run("evaluate", "--predictions", tmp_path / "void/labels/val", "--data", data, "--out", out)
    assert numbers_of(out) == {"images": 2}


def test_pictures_without_a_map_do_not_count(street: Path, street_run: Path, val: Dataset) -> None:
    model = segue.load(street_run, device="cpu")
    apart = [evaluate(model, without_map(val, i), progress=False).numbers["semantic/accuracy"] for i in (0, 1)]
    right = []
    for i in (1, 0):
        truth, found = val.semantic(i), model.predict(val.image(i)).semantic
        right.append(float((found == truth)[truth >= 0].double().mean()))
    assert apart == pytest.approx(right)
    shares = score(street / "labels/val", without_map(val, 0))
    assert shares["semantic/accuracy"] == 1
    with pytest.raises(DataError, match="no annotation of semantic; name a split"):
        evaluate(model, without_map(val, 0, 1))


def test_predictions_without_maps_have_nothing_to_score(val: Dataset, tmp_path: Path) -> None:
    bare = [replace(val.scene(i), semantic=None) for i in range(2)]
    write_scenes(bare, tmp_path, "x", known_tasks())
    for form in (tmp_path / "scenes.json", tmp_path):
        with pytest.raises(DataError, match=r"nothing that the data set has truth for|no index PNG"):
            evaluate_predictions(form, val, known_tasks())


def test_a_file_that_two_pictures_would_share_is_refused(street: Path, val: Dataset) -> None:
    records = [replace(record, file=Path(f"{i}/4.png")) for i, record in enumerate(val.records)]
    with pytest.raises(DataError, match=r"4\.png: several pictures have this name; score the scenes\.json"):
        evaluate_predictions(street / "labels/val", replace(val, records=records), [SEMANTIC])


@pytest.mark.parametrize("ids", [(0, 1, 2), (7, 24, 0), (1, 255, 2), (300, 7, 65535), (0, 255, 4)])
def test_saved_maps_are_read_back(ids: tuple[int, ...], tmp_path: Path) -> None:
    classes = Categories(tuple(Category(f"class {i}", i) for i in ids))
    labels = torch.randint(-1, 3, (5, 7), generator=torch.Generator().manual_seed(0)).short()
    labels[0, :4] = torch.arange(-1, 3)
    picture = index_picture(Scene((5, 7), classes, Regions.empty(), semantic=labels))
    picture.save(tmp_path / "a.png")
    known = (labels >= 0).numpy()
    assert np.array_equal(np.asarray(picture)[known], np.array(ids)[labels.numpy()[known]])
    assert torch.equal(read_map(tmp_path / "a.png", classes, (5, 7)), labels)


def test_ids_that_leave_no_value_for_unlabelled_or_fit_no_png() -> None:
    labels = torch.tensor([[-1, 0, 1, 2]], dtype=torch.int16)

    def picture(*ids: int) -> Image.Image:
        classes = Categories(tuple(Category(str(i), i) for i in ids))
        return index_picture(Scene((1, 4), classes, Regions.empty(), semantic=labels))

    assert np.asarray(picture(0, 255, 65535)).tolist() == [[1, 0, 255, 65535]]
    for ids in ((-1, 0, 2), (0, 1, 65536)):
        with pytest.raises(DataError, match=f"category ids from {ids[0]} to {ids[2]} do not fit a PNG"):
            picture(*ids)
