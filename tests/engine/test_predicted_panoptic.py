"""Scores of saved panoptic maps: COCO's panoptic results, and what `segue predict` saves."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hotcoco.panoptic import PanopticEval

from segue.data.dataset import open_dataset
from segue.data.panoptic_write import write_panoptic
from segue.data.records import Dataset
from segue.data.toybox.write import Order, write_toybox
from segue.engine.output import write_scenes
from segue.engine.predicted_maps import carries_maps
from segue.engine.predictions import evaluate_predictions
from segue.engine.recipe import check_network, to_plain
from segue.errors import DataError, UsageError
from segue.models.region_network import RegionNetwork
from segue.models.weights import ModelFile, write_model
from segue.ops.panoptic import segment_areas
from segue.structures import Scene
from segue.tasks import known_tasks, parsers_of, tasks_named

Run = Callable[..., str]
Change = Callable[[dict[str, Any]], object]
TASKS = known_tasks()


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys") / "set"
    write_toybox(folder, Order(train=0, val=3, size=64, seed=6))
    return folder


@pytest.fixture(scope="module")
def dataset(toys: Path) -> Dataset:
    return open_dataset(f"{toys}:val", parsers_of(TASKS), panoptic=True)


@pytest.fixture(scope="module")
def truth(dataset: Dataset) -> list[Scene]:
    """What is annotated, as a model would say it."""
    scenes = [dataset.scene(i) for i in range(len(dataset))]
    return [replace(s, regions=replace(s.regions, scores=torch.full((len(s.regions),), 0.9))) for s in scenes]


def write_json(scenes: Sequence[Scene], dataset: Dataset, path: Path) -> Path:
    ids = [record.id for record in dataset.records]
    write_panoptic(zip(ids, scenes, strict=False), path)
    return path


def shifted(scene: Scene) -> Scene:
    """The panoptic map moved down by 3 pixels, with the segments that are left."""
    assert scene.panoptic is not None
    assert scene.segments is not None
    plane = torch.zeros_like(scene.panoptic)
    plane[3:] = scene.panoptic[:-3]
    there = torch.isin(scene.segments.ids, plane.unique())
    segments = replace(scene.segments, ids=scene.segments.ids[there], labels=scene.segments.labels[there])
    return replace(scene, panoptic=plane, segments=replace(segments, scores=None, crowd=None, areas=None))


def score(path: Path, dataset: Dataset) -> dict[str, float]:
    numbers = evaluate_predictions(path, dataset, TASKS).numbers
    return {name: value for name, value in numbers.items() if name != "seconds"}


def test_the_truth_as_coco_panoptic_results_is_perfect(dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    numbers = score(write_json(truth, dataset, tmp_path / "found.json"), dataset)
    assert numbers.pop("images") == 3
    assert set(numbers.values()) == {1.0}
    names = [f"panoptic/{name}{end}" for end in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ")]
    assert sorted(numbers) == sorted(names)


def test_the_truth_as_scenes_is_perfect_in_every_task(dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    write_scenes(truth, tmp_path, "truth", TASKS)
    numbers = score(tmp_path / "scenes.json", dataset)
    for name in ("boxes/AP", "masks/AP", "keypoints/AP", "semantic/mIoU", "panoptic/PQ", "panoptic/PQ_stuff"):
        assert numbers[name] == pytest.approx(1), name
    assert "images_missing" not in numbers


def test_the_command_joins_the_panoptic_truth(
    run: Run, toys: Path, dataset: Dataset, truth: list[Scene], tmp_path: Path
) -> None:
    found = write_json([shifted(scene) for scene in truth], dataset, tmp_path / "found.json")
    write_scenes(map(shifted, truth), tmp_path, "shifted", TASKS)
    numbers = {}
    for split in ("val", "panoptic_val"):
        run("evaluate", "--predictions", found, "--data", f"{toys}:{split}", "--out", tmp_path / "n.json")
        numbers[split] = json.loads((tmp_path / "n.json").read_text())
        del numbers[split]["seconds"]
    assert numbers["val"] == numbers["panoptic_val"] == score(found, dataset)
    assert 0.1 < numbers["val"]["panoptic/PQ"] < 0.95
    run("evaluate", "--predictions", tmp_path / "scenes.json", "--data", f"{toys}:val", "--out", tmp_path / "n.json")
    scenes = json.loads((tmp_path / "n.json").read_text())
    panoptic = {name: value for name, value in scenes.items() if name.startswith("panoptic/")}
    assert panoptic == {name: value for name, value in numbers["val"].items() if name != "images"}
    assert scenes["masks/AP"] == pytest.approx(1)


def test_another_tool_gives_the_same_numbers(toys: Path, dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    found = write_json([shifted(scene) for scene in truth], dataset, tmp_path / "found.json")
    numbers = score(found, dataset)
    other = PanopticEval(toys / "annotations" / "panoptic_val.json", found)
    other.evaluate()
    for end, group in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
        expected = [other.results()[group][key] for key in ("pq", "sq", "rq")]
        assert [numbers[f"panoptic/{name}{end}"] for name in ("PQ", "SQ", "RQ")] == pytest.approx(expected, abs=1e-9)


def test_only_ids_files_and_segments_are_needed(dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    path = write_json([shifted(scene) for scene in truth], dataset, tmp_path / "found.json")
    before, content = score(path, dataset), json.loads(path.read_text())
    for entry in content["annotations"]:
        rows = entry["segments_info"]
        entry["segments_info"] = [{key: row[key] for key in ("id", "category_id")} for row in rows]
    path.write_text(json.dumps({"annotations": content["annotations"][::-1]}))
    assert score(path, dataset) == before


def test_pictures_without_a_map_are_misses(dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    def labels(scenes: Sequence[Scene]) -> Counter[int]:
        return Counter(label for s in scenes if s.segments for label in s.segments.labels.tolist())

    every, first = labels(truth), labels(truth[:1])
    expected = sum(first[label] / (first[label] + (number - first[label]) / 2) for label, number in every.items())
    write_scenes([truth[0], replace(truth[1], panoptic=None, segments=None)], tmp_path, "x", TASKS)
    for path, missing in ((write_json(truth[:1], dataset, tmp_path / "p.json"), 2), (tmp_path / "scenes.json", 1)):
        numbers = score(path, dataset)
        assert numbers["panoptic/PQ"] == pytest.approx(expected / len(every))
        assert numbers["images_missing"] == missing


NETWORK: dict[str, Any] = {
    "backbone": {"depth": 18, "width": 8},
    "pyramid": {"channels": 16},
    "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms": 32, "post_nms": 32},
    "tasks": {
        "boxes": {"channels": 16, "detections": 12, "score": 0.0},
        "masks": {"channels": 8, "convolutions": 1},
        "semantic": {"channels": 8},
        "panoptic": {"score": 0.08, "overlap": 0.8, "stuff_area": 20},
    },
}


def test_a_model_scores_as_what_it_saved(run: Run, toys: Path, dataset: Dataset, tmp_path: Path) -> None:
    tasks = tasks_named(list(NETWORK["tasks"]))
    settings = check_network(NETWORK, tasks, "the test")
    torch.manual_seed(2)
    network = RegionNetwork(settings, dataset.categories, tasks)
    for head in (network.heads["masks"], network.pixel_heads["semantic"]):
        torch.nn.init.normal_(head.logits.weight, std=0.6)  # type: ignore[union-attr, arg-type]
    model, numbers = tmp_path / "joint.safetensors", {}
    write_model(model, ModelFile("joint", to_plain(settings), dataset.categories.to_json(), None, network.state_dict()))
    run("predict", toys / "images" / "val", "--model", model, "--threshold", 0, "--out", tmp_path, "--device", "cpu")
    for kind, what in (("--model", model), ("--predictions", tmp_path / "scenes.json")):
        run("evaluate", kind, what, "--data", f"{toys}:val", "--out", tmp_path / "n.json")
        numbers[kind] = json.loads((tmp_path / "n.json").read_text())
        del numbers[kind]["seconds"]
    assert numbers["--predictions"] == pytest.approx(numbers["--model"], abs=1e-6, nan_ok=True)
    assert {"boxes/AP", "masks/AP", "semantic/mIoU", "panoptic/PQ"} <= numbers["--model"].keys()


def test_results_without_maps_keep_their_classes(run: Run, toys: Path, tmp_path: Path) -> None:
    plain = open_dataset(f"{toys}:val", parsers_of(TASKS))
    rows = [
        {**{key: row[key] for key in ("image_id", "category_id", "bbox", "segmentation")}, "score": 0.5}
        for annotations in plain.annotations
        for row in annotations[::2]
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    run("evaluate", "--predictions", path, "--data", f"{toys}:val", "--out", tmp_path / "n.json")
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert {name.partition("/")[0] for name in numbers} == {"boxes", "masks", "matching", "images", "seconds"}
    expected = score(path, plain)
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)


def test_scenes_with_maps_are_scored_without_a_panoptic_truth(toys: Path, truth: list[Scene], tmp_path: Path) -> None:
    write_scenes(truth, tmp_path, "truth", TASKS)
    numbers = score(tmp_path / "scenes.json", open_dataset(f"{toys}:val", parsers_of(TASKS)))
    assert numbers["masks/AP"] == pytest.approx(1)
    assert not any(name.startswith(("panoptic/", "semantic/")) for name in numbers)


def test_which_predictions_carry_maps(dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    assert carries_maps(tmp_path)
    assert carries_maps(write_json(truth, dataset, tmp_path / "found.json"))
    write_scenes(truth, tmp_path / "all", "x", TASKS)
    write_scenes([replace(s, panoptic=None, segments=None) for s in truth], tmp_path / "semantic", "x", TASKS)
    bare = [replace(s, panoptic=None, segments=None, semantic=None) for s in truth]
    write_scenes(bare, tmp_path / "bare", "x", TASKS)
    told = {name: carries_maps(tmp_path / name / "scenes.json") for name in ("all", "semantic", "bare")}
    assert told == {"all": True, "semantic": True, "bare": False}
    for content in ("", "[]", '[{"label": "semantic"}]'):
        (tmp_path / "x.json").write_text(content)
        assert not carries_maps(tmp_path / "x.json")
    assert not carries_maps(tmp_path / "none.json")


def test_panoptic_results_that_do_not_fit(toys: Path, dataset: Dataset, truth: list[Scene], tmp_path: Path) -> None:
    path = write_json(truth, dataset, tmp_path / "found.json")
    plain = open_dataset(f"{toys}:val", parsers_of(TASKS))
    with pytest.raises(DataError, match=r"found\.json: .* has no panoptic maps to compare with; name a set with"):
        score(path, plain)
    fewer = replace(dataset, records=dataset.records[1:], annotations=dataset.annotations[1:])
    with pytest.raises(DataError, match=r"found\.json: image_id 1 is not in .*; use its numbers, or score on"):
        score(path, fewer)
    with pytest.raises(UsageError, match=r"annotations are no predictions; give a scenes\.json, .* panoptic JSON"):
        score(toys / "annotations" / "instances_val.json", dataset)


def row(**values: object) -> Change:
    return lambda told: told["segments_info"][0].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.pop("segments_info"), "panoptic: segments_info is no list; write it again"),
        (lambda told: told["segments_info"].append(3), "panoptic: segment 3 is not an object with keys"),
        (lambda told: told["segments_info"].append(told["segments_info"][0]), "a segment is listed twice"),
        (row(id=0), "segment 0 is no whole number from 1 to 16777215"),
        (row(id=2**80), "is no whole number from 1 to 16777215"),
        (row(id=True), "segment True is no whole number"),
        (row(label=4), "label 4 of segment 1 is no text"),
        (row(label="unicorn"), "unknown label 'unicorn'; known are person"),
        (row(score=float("nan")), "score nan of segment 1 is no number from 0 to 1"),
        (row(score=1.5), r"score 1\.5 of segment 1 is no number from 0 to 1"),
        (row(area=-1), r"panoptic\.png: segment 1 has \d+ pixels, its area in scenes\.json is -1; mend"),
        (
            row(id=77),
            r"panoptic\.png: number 1 is in the panoptic map.*; mend the map or segments_info in scenes",
        ),
        (lambda told: told["segments_info"].append({"id": 77, "label": "sky"}), r"segment 77 has no pixel.*; mend"),
        (lambda told: told.pop("file"), "panoptic '' is no file beside it; predict again"),
        (lambda told: told.update(file=None), "panoptic '' is no file beside it; predict again"),
        (lambda told: told.update(file="../x.png"), r"panoptic '\.\./x\.png' is no file beside it"),
        (lambda told: told.update(file="gone.png"), r"gone\.png: no such file"),
    ],
)
def test_scenes_with_a_fault_in_their_maps(
    truth: list[Scene], tmp_path: Path, refused: Run, toys: Path, change: Change, words: str
) -> None:
    write_scenes(truth[:1], tmp_path, "x", TASKS)
    path = tmp_path / "scenes.json"
    content = json.loads(path.read_text())
    change(content["scenes"][0]["panoptic"])
    path.write_text(json.dumps(content))
    line = refused("evaluate", "--predictions", path, "--data", f"{toys}:val")
    assert str(tmp_path) in line
    assert re.search(words, line), line


def test_an_entry_that_is_no_object_is_refused(truth: list[Scene], tmp_path: Path, refused: Run, toys: Path) -> None:
    write_scenes(truth[:1], tmp_path, "x", TASKS)
    path = tmp_path / "scenes.json"
    content = json.loads(path.read_text())
    content["scenes"][0]["panoptic"] = "x.png"
    path.write_text(json.dumps(content))
    line = refused("evaluate", "--predictions", path, "--data", f"{toys}:val")
    assert "panoptic: segments_info is no list" in line


def test_areas_in_scenes_are_those_of_the_map(truth: list[Scene], tmp_path: Path) -> None:
    write_scenes(truth[:1], tmp_path, "x", TASKS)
    rows = json.loads((tmp_path / "scenes.json").read_text())["scenes"][0]["panoptic"]["segments_info"]
    assert truth[0].panoptic is not None
    assert truth[0].segments is not None
    assert [r["area"] for r in rows] == segment_areas(truth[0].panoptic, truth[0].segments).tolist()
