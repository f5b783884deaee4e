from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.coco import categories_from_coco
from segue.data.dataset import open_dataset
from segue.data.records import Dataset, Record
from segue.engine.output import write_scenes
from segue.engine.predictions import evaluate_predictions, format_table, write_metrics
from segue.errors import DataError, UsageError
from segue.structures import Scene
from segue.tasks import BOXES, MASKS

TASKS = [BOXES, MASKS]
PARSERS = {task.name: task.parse for task in TASKS}


@pytest.fixture
def dataset(cells: Path) -> Dataset:
    return open_dataset(str(cells), PARSERS)


def perfect(dataset: Dataset) -> list[Scene]:
    """The truth with scores."""
    scenes = [dataset.scene(i) for i in range(len(dataset))]
    return [replace(s, regions=replace(s.regions, scores=torch.full((len(s.regions),), 0.9))) for s in scenes]


def results_of(dataset: Dataset, *keys: str) -> list[dict[str, Any]]:
    """The truth as COCO results."""
    kept = ("image_id", "category_id", *keys)
    rows = [row for rows in dataset.annotations for row in rows]
    return [{**{key: row[key] for key in kept}, "score": 0.9} for row in rows]


def score(folder: Path, dataset: Dataset, content: Any) -> dict[str, float]:
    path = folder / "predictions.json"
    path.write_text(json.dumps(content))
    return evaluate_predictions(path, dataset, TASKS).numbers


def test_saved_truth_is_perfect(tmp_path: Path, dataset: Dataset) -> None:
    write_scenes(perfect(dataset), tmp_path, "truth", TASKS)
    numbers = evaluate_predictions(tmp_path / "scenes.json", dataset, TASKS).numbers
    assert numbers["boxes/AP"] == numbers["masks/AP"] == pytest.approx(1)
    assert numbers["matching/AP50"] == numbers["matching/AP90"] == 1
    assert numbers["images"] == 6
    assert "images_missing" not in numbers
    assert numbers["seconds"] > 0


def test_pictures_without_prediction_are_misses(tmp_path: Path, dataset: Dataset) -> None:
    write_scenes(perfect(dataset)[:2], tmp_path, "truth", TASKS)
    numbers = evaluate_predictions(tmp_path / "scenes.json", dataset, TASKS).numbers
    assert numbers["images"] == 6
    assert numbers["images_missing"] == 4
    counts = [len(dataset.regions(i)) for i in range(6)]
    assert numbers["matching/AP50"] == pytest.approx(sum(counts[:2]) / sum(counts))


def test_no_prediction_at_all(tmp_path: Path, dataset: Dataset) -> None:
    for content in ([], {"version": 1, "scenes": []}):
        numbers = score(tmp_path, dataset, content)
        assert numbers["boxes/AP"] == numbers["masks/AP"] == numbers["matching/AP50"] == 0
        assert numbers["images_missing"] == 6


def test_results_are_matched_by_image_id(tmp_path: Path, dataset: Dataset) -> None:
    numbers = score(tmp_path, dataset, results_of(dataset, "bbox", "segmentation"))
    assert numbers["boxes/AP"] == numbers["masks/AP"] == pytest.approx(1)


def test_only_what_the_predictions_carry_is_scored(tmp_path: Path, dataset: Dataset) -> None:
    numbers = score(tmp_path, dataset, results_of(dataset, "bbox"))
    assert {name.partition("/")[0] for name in numbers} == {"boxes", "images", "seconds"}
    masks = score(tmp_path, dataset, results_of(dataset, "segmentation"))  # a box follows from the mask
    assert masks["masks/AP"] == pytest.approx(1)
    assert masks["boxes/AP50"] == pytest.approx(1)


def test_only_what_the_data_set_has_is_scored(tmp_path: Path, cells: Path, dataset: Dataset) -> None:
    write_scenes(perfect(dataset), tmp_path, "truth", TASKS)
    boxes_only = open_dataset(str(cells), {"boxes": BOXES.parse})
    numbers = evaluate_predictions(tmp_path / "scenes.json", boxes_only, TASKS).numbers
    assert "boxes/AP" in numbers
    assert "masks/AP" not in numbers
    with pytest.raises(DataError, match="nothing that the data set has truth for"):
        evaluate_predictions(tmp_path / "scenes.json", boxes_only, [MASKS])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_official_results_score_as_in_pycocotools(real_data: Callable[[str], Path], kind: str) -> None:
    folder = real_data("coco_eval_reference")
    case = json.loads((folder / "expected_pycocotools.json").read_text())["results"][kind]
    truth = json.loads((folder / case["gt"]).read_text())
    rows = [[a for a in truth["annotations"] if a["image_id"] == image["id"]] for image in truth["images"]]
    records = [Record(Path(i["file_name"]), (i["height"], i["width"]), i["id"], {}) for i in truth["images"]]
    dataset = Dataset("reference", categories_from_coco(truth["categories"]), records, rows, PARSERS)
    numbers = evaluate_predictions(folder / case["dt"], dataset, [BOXES if kind == "bbox" else MASKS]).numbers
    group = "boxes" if kind == "bbox" else "masks"
    for name, value in zip(["AP", "AP50", "AP75", "APs", "APm", "APl"], case["stats"], strict=False):
        assert numbers[f"{group}/{name}"] == pytest.approx(value, abs=1e-9)


def renamed(dataset: Dataset, names: list[str]) -> Dataset:
    records = [replace(record, file=Path(name)) for record, name in zip(dataset.records, names, strict=False)]
    return Dataset(dataset.name, dataset.categories, records, dataset.annotations, PARSERS)


def test_equal_names_are_told_apart_by_their_folders(tmp_path: Path, dataset: Dataset) -> None:
    twins = renamed(dataset, ["/data/a/1.png", "/data/b/1.png", "/data/b/1.tif"])
    scenes = [replace(s, file=f) for s, f in zip(perfect(dataset), ["old/a/1.png", "b/1.png", "1.tif"], strict=False)]
    write_scenes(scenes, tmp_path, "truth", TASKS)
    assert evaluate_predictions(tmp_path / "scenes.json", twins, TASKS).numbers["masks/AP"] == pytest.approx(1)
    write_scenes([replace(scenes[0], file="1.png")], tmp_path, "truth", TASKS)
    with pytest.raises(DataError, match="could be any of 2 pictures"):
        evaluate_predictions(tmp_path / "scenes.json", twins, TASKS)


def test_scenes_that_do_not_fit_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    first = {"file": dataset.records[0].file.name, "width": 1, "height": 2, "regions": []}
    h, w = dataset.records[0].size
    right = {**first, "width": w, "height": h}
    region = {"label": "unicorn", "score": 0.5, "bbox": [1, 2, 3, 4]}
    for scenes, fault in (
        ([first], "predicted on 1x2 pixels"),
        ([right, right], "a second scene"),
        ([{**right, "file": "elsewhere.png"}], "elsewhere.png: is no picture of"),
        ([{**right, "regions": [region]}], "unknown label 'unicorn'"),
    ):
        with pytest.raises(DataError, match=fault):
            score(tmp_path, dataset, {"version": 1, "scenes": scenes})


def test_results_that_do_not_fit_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    good = results_of(dataset, "bbox")[0]
    empty = {"size": list(dataset.records[0].size), "counts": "x"}
    bare = {key: value for key, value in good.items() if key != "bbox"}
    for row, fault in (
        ({**good, "image_id": 999}, "image_id 999"),
        ({**good, "category_id": 999}, "category_id 999"),
        ({**good, "score": float("nan")}, "score nan"),
        (bare, "neither bbox nor segmentation"),
        ({**bare, "keypoints": [1, 2, 3]}, "neither bbox nor segmentation"),
        ({**bare, "segmentation": empty}, "run lengths"),
    ):
        with pytest.raises(DataError, match=rf"result 1: .*{fault}"):
            score(tmp_path, dataset, [good, row])


def test_other_kinds_are_refused_with_what_is_supported(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no index PNG"):
        evaluate_predictions(tmp_path, dataset, TASKS)
    with pytest.raises(UsageError, match="panoptic"):
        score(tmp_path, dataset, {"annotations": [], "categories": []})
    with pytest.raises(DataError, match=r"no scenes\.json"):
        score(tmp_path, dataset, {"a": 1})


def test_a_table_groups_by_prefix() -> None:
    text = format_table({"boxes/AP": 0.5, "boxes/AP50": 0.75, "images": 12, "masks/AP": 0.25, "seconds": 1.5})
    words = "boxes AP 0.5000 AP50 0.7500 masks AP 0.2500 images 12 seconds 1.5000"
    assert " ".join(text.split()) == words
    widths = {len(line) for line in text.splitlines() if line.startswith("  ")}
    assert len(widths) == 1  # values stand in one column
    assert format_table({}) == ""


def test_metrics_files_are_valid_json(tmp_path: Path) -> None:
    write_metrics(tmp_path / "new" / "metrics.json", {"boxes/AP": 0.5, "x/y": float("nan"), "images": 3})
    assert json.loads((tmp_path / "new" / "metrics.json").read_text()) == {"boxes/AP": 0.5, "x/y": None, "images": 3}
