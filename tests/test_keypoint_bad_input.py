"""Whatever is wrong or odd with keypoints: one line with the file and the cure, or it works."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.engine.recipe import check_recipe
from segue.engine.train import train

Refused = Callable[..., str]
Run = Callable[..., str]
Content = dict[str, Any]

CATEGORIES: list[Content] = [
    {"id": 1, "name": "person", "keypoints": ["left_hand", "right_hand", "nose"], "skeleton": [[1, 3], [2, 3]]},
    {"id": 2, "name": "mug"},
    {"id": 3, "name": "car", "keypoints": ["front", "back"], "skeleton": [[1, 2]]},
]
POINTS = {1: [8, 9, 2, 28, 9, 1, 18, 30, 2], 3: [6, 20, 2, 30, 20, 2]}


def annotation(number: int, picture: int, category: int, **more: object) -> Content:
    own = {"keypoints": POINTS[category]} if category in POINTS else {}
    place = {"image_id": picture, "bbox": [4, 4, 30, 30], "area": 900, "iscrowd": 0}
    return {"id": number, "category_id": category, **place, **own, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two pictures with a person each; a mug on one, a car on the other."""
    folder = tmp_path / "set"
    folder.mkdir()
    images = [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in (1, 2)]
    for row in images:
        pixels = np.random.default_rng(row["id"]).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / str(row["file_name"]))
    rows = [annotation(1, 1, 1), annotation(2, 1, 2), annotation(3, 2, 1), annotation(4, 2, 3)]
    content = {"images": images, "categories": CATEGORIES, "annotations": rows}
    (folder / "instances_val.json").write_text(json.dumps(content))
    return folder / "instances_val.json"


def change(path: Path, edit: Callable[[Content], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def first(**values: object) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(values)


def results(folder: Path, *rows: Content) -> Path:
    """Perfect results for both persons and the car, then these."""
    keys = ("image_id", "category_id", "bbox", "keypoints")
    truth = (annotation(1, 1, 1), annotation(3, 2, 1), annotation(4, 2, 3))
    perfect = [{**{key: row[key] for key in keys}, "score": 0.5} for row in truth]
    (folder / "found.json").write_text(json.dumps([*perfect, *rows]))
    return folder / "found.json"


def values(data: Path) -> Content:
    """A recipe of one step over both pictures."""
    return {
        "name": "tiny",
        "data": {"train": str(data)},
        "network": {
            "backbone": {"depth": 18, "width": 8},
            "pyramid": {"channels": 16},
            "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms_train": 32, "post_nms_train": 32},
            "regions": {"samples": 16},
            "tasks": {"boxes": {"channels": 16}, "keypoints": {"channels": 8, "convolutions": 1}},
        },
        "augmentation": {"crop": 64},
        "training": {"steps": 1, "batch": 2, "lr": 0.001, "warmup": 0, "log_every": 1},
    }


def write_recipe(data: Path, folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(json.dumps(values(data)))
    return folder / "tiny.yaml"


def keypoint_loss(data: Path, folder: Path) -> float:
    """The loss of one step, all losses of which are numbers."""
    train(check_recipe(values(data), "the test"), folder, device="cpu")
    logged = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert all(math.isfinite(value) for name, value in logged.items() if name.startswith("loss"))
    return float(logged["loss/keypoints"])


def numbers_of(run: Run, found: Path, data: Path) -> dict[str, Any]:
    out = found.with_name("numbers.json")
    run("evaluate", "--predictions", found, "--data", data, "--out", out)
    numbers: dict[str, Any] = json.loads(out.read_text())
    return numbers


# --- what is wrong -----------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[object, str]] = {
    "too short": ([8, 9, 2], "1 keypoints, but its category has 3"),
    "too long": ([1, 2, 2] * 4, "4 keypoints, but its category has 3"),
    "no triples": ([8, 9, 2, 28], "not triples x, y, visibility of finite numbers"),
    "triples in triples": ([[8, 9, 2], [28, 9, 1], [18, 30, 2]], "not triples"),
    "a text": ("8 9 2", "not triples"),
    "not finite": ([float("nan"), 9, 2, 28, 9, 1, 18, 30, 2], "not triples"),
    "a place that is none": ([8, None, 2, 28, 9, 1, 18, 30, 2], "not triples"),
    "visibility 3": ([8, 9, 3, 28, 9, 1, 18, 30, 2], "visibility is 3, not 0 (not labelled), 1 (occluded) or 2"),
    "visibility -1": ([8, 9, 2, 28, 9, -1, 18, 30, 2], "visibility is -1"),
    "visibility 0.5": ([8, 9, 2, 28, 9, 0.5, 18, 30, 2], "visibility is 0.5"),
}


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("kind", WRONG)
def test_faults_of_the_annotations(refused: Refused, kind: str, beside: bool, path: Path, tmp_path: Path) -> None:
    """In the file of the instances, or in that of the people beside it."""
    points, words = WRONG[kind]
    faulty, found = path, results(tmp_path)
    if beside:
        faulty = Path(shutil.copy(path, path.with_name("person_keypoints_val.json")))
        change(path, lambda c: [row.pop("keypoints", None) for row in [*c["categories"], *c["annotations"]]])
        change(path, lambda c: [row.pop("skeleton", None) for row in c["categories"]])
    change(faulty, first(keypoints=points))
    line = refused("data", "check", path.parent)
    assert "1 fatal fault" in line
    printed = refused.out  # type: ignore[attr-defined]
    assert "fatal keypoints: 1\n  annotation 1: " in printed
    assert words in printed
    for command in (
        ("data", "show", path),
        ("evaluate", "--predictions", found, "--data", path),
        ("train", write_recipe(path, tmp_path), "--out", tmp_path / "run", "--device", "cpu"),
    ):
        line = refused(*command)
        assert f"{faulty}: annotation 1: " in line
        assert words in line
        assert f"segue data check {faulty}" in line


WRONG_RESULTS: dict[str, tuple[Content, str]] = {
    "too short": ({"keypoints": [8, 9, 1]}, "result 3: 1 keypoints, while a person has 3; give x, y, score for each"),
    "too long": ({"keypoints": [8, 9, 1] * 4}, "result 3: 4 keypoints, while a person has 3"),
    "no triples": ({"keypoints": [8, 9, 1, 3]}, "result 3: keypoints are no triples of finite numbers"),
    "not finite": ({"keypoints": [8, float("inf"), 1] * 3}, "result 3: keypoints are no triples of finite numbers"),
    "none": ({"keypoints": None}, "result 3: keypoints are no triples of finite numbers"),
    "of another class": ({"category_id": 3}, "result 3: 3 keypoints, while a car has 2"),
    "of no class": ({"category_id": 9}, "result 3: category_id 9 is not in"),
}


@pytest.mark.parametrize("kind", WRONG_RESULTS)
def test_faults_of_results(refused: Refused, kind: str, path: Path, tmp_path: Path) -> None:
    row, words = WRONG_RESULTS[kind]
    good = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [4, 4, 30, 30], "keypoints": POINTS[1]}
    found = results(tmp_path, {**good, **row})
    line = refused("evaluate", "--predictions", found, "--data", path)
    assert f"{found}, {words}" in line
    assert "; " in line


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([8, 9, 1] * 4, "4 keypoints, while a person has 3; give x, y, score for each"),
        ([8, 9], "keypoints are not triples of finite numbers"),
        ("x", "keypoints are not triples of finite numbers"),
        ([8, float("nan"), 1], "keypoints are not triples of finite numbers"),
    ],
)
def test_faults_of_scenes(refused: Refused, points: object, words: str, path: Path, tmp_path: Path) -> None:
    region = {"label": "person", "score": 0.5, "bbox": [4, 4, 30, 30], "keypoints": points}
    scene = {"file": "1.png", "width": 64, "height": 64, "regions": [region]}
    (tmp_path / "scenes.json").write_text(json.dumps({"version": 1, "scenes": [scene]}))
    line = refused("evaluate", "--predictions", tmp_path / "scenes.json", "--data", path)
    assert f"{tmp_path / 'scenes.json'}, 1.png" in line
    assert words in line
    assert "; " in line


def test_keypoints_without_a_class_that_has_some(refused: Refused, run: Run, path: Path, tmp_path: Path) -> None:
    """A warning; but there is nothing to learn from."""
    change(path, lambda c: [row.pop("keypoints", None) for row in c["categories"]])
    change(path, lambda c: [row.pop("skeleton", None) for row in c["categories"]])
    text = run("data", "check", path)
    assert "warning keypoints-nameless: 3" in text
    line = refused("train", write_recipe(path, tmp_path), "--out", tmp_path / "run", "--device", "cpu")
    assert "network.tasks.keypoints: no category has keypoints; leave the task out, or name" in line


# --- what is odd, but right --------------------------------------------------------------------------------------


def test_classes_with_and_without_skeletons(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("data", "check", path).endswith("no faults\n")
    numbers = numbers_of(run, results(tmp_path), path)
    assert numbers["keypoints/AP"] == pytest.approx(1)
    assert keypoint_loss(path, tmp_path / "run") > 0


def test_the_order_of_the_results_decides_nothing(run: Run, path: Path, tmp_path: Path) -> None:
    """Though the first of a picture may be of a class without keypoints."""
    mug = {"image_id": 1, "category_id": 2, "score": 0.9, "bbox": [4, 4, 30, 30]}
    rows = json.loads(results(tmp_path, mug, {**mug, "image_id": 2}).read_text())
    numbers = []
    for order in (rows, rows[::-1]):
        (tmp_path / "found.json").write_text(json.dumps(order))
        numbers.append({k: v for k, v in numbers_of(run, tmp_path / "found.json", path).items() if k != "seconds"})
    assert numbers[0] == numbers[1]
    assert numbers[0]["keypoints/AP"] == pytest.approx(1)


@pytest.mark.parametrize("points", [[0] * 9, [5, 6, 0] * 3, None, "left out"])
def test_a_person_with_no_visible_joint(run: Run, points: Any, path: Path, tmp_path: Path) -> None:
    """Neither a miss nor an error where it is found."""
    if points == "left out":
        change(path, lambda c: c["annotations"][0].pop("keypoints"))
    else:
        change(path, first(keypoints=points))
    run("data", "check", path)
    whole, fewer = results(tmp_path), tmp_path / "fewer.json"
    fewer.write_text(json.dumps(json.loads(whole.read_text())[1:]))
    for found in (whole, fewer):
        assert numbers_of(run, found, path)["keypoints/AP"] == pytest.approx(1)
    assert keypoint_loss(path, tmp_path / "run") > 0


def test_nobody_has_a_visible_joint(run: Run, path: Path, tmp_path: Path) -> None:
    change(path, lambda c: [row.update(keypoints=[0] * len(row.get("keypoints", []))) for row in c["annotations"]])
    run("data", "check", path)
    numbers = numbers_of(run, results(tmp_path), path)
    assert numbers.get("keypoints/AP") is None  # nothing to be right about
    assert numbers["boxes/AP50"] == pytest.approx(2 / 3)  # the mug is missed
    assert keypoint_loss(path, tmp_path / "run") == 0


def test_crowds_of_people(run: Run, path: Path, tmp_path: Path) -> None:
    """A crowd has no joints to find, and whoever is found in it counts neither way."""
    change(path, first(iscrowd=1, keypoints=[0] * 9, bbox=[0, 0, 40, 40]))
    run("data", "check", path)
    inside = {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [5, 5, 9, 9], "keypoints": [7, 7, 1] * 3}
    for found in (results(tmp_path), results(tmp_path, inside)):
        assert numbers_of(run, found, path)["keypoints/AP"] == pytest.approx(1)
    outside = {**inside, "image_id": 2, "bbox": [50, 50, 9, 9], "keypoints": [52, 52, 1] * 3}
    assert numbers_of(run, results(tmp_path, outside), path)["keypoints/AP"] < 1  # the other picture has no crowd
    assert keypoint_loss(path, tmp_path / "run") > 0
    change(path, lambda c: c["annotations"].__delitem__(slice(1, None)))
    assert keypoint_loss(path, tmp_path / "crowd alone") == 0


def test_pictures_without_a_person(run: Run, path: Path, tmp_path: Path) -> None:
    change(path, lambda c: c.update(annotations=[row for row in c["annotations"] if row["image_id"] == 2]))
    text = run("data", "check", path)
    assert ", 0 of them fatal" in text
    found = numbers_of(run, results(tmp_path), path)["keypoints/AP"]
    assert found == pytest.approx((0.5 + 1) / 2)  # of persons, one of whom is not there, and cars
    assert keypoint_loss(path, tmp_path / "run") > 0
