"""Whatever is wrong or odd with panoptic maps: one line with the file and the cure, or it works."""

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

from segue.data.toybox.write import Order, write_toybox
from segue.engine.recipe import check_recipe
from segue.engine.train import train

Refused = Callable[..., str]
Run = Callable[..., str]
Content = dict[str, Any]

PICTURE = 2
"""The one that is spoilt; its first segment is a thing."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys") / "set"
    write_toybox(folder, Order(train=0, val=2, size=64, seed=6))
    return folder


@pytest.fixture
def copy(toys: Path, tmp_path: Path) -> Path:
    """The set, to be spoilt."""
    return Path(shutil.copytree(toys, tmp_path / "copy"))


def predictions(toys: Path, folder: Path) -> Path:
    """The truth as predictions, in a place of its own."""
    shutil.copytree(toys / "annotations" / "panoptic_val", folder / "found")
    return Path(shutil.copy(toys / "annotations" / "panoptic_val.json", folder / "found.json"))


def change(path: Path, edit: Callable[[Content], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def entry(content: Content) -> Content:
    found: Content = content["annotations"][PICTURE - 1]
    return found


def rows(content: Content) -> list[Content]:
    found: list[Content] = entry(content)["segments_info"]
    return found


def png(path: Path) -> Path:
    """The map of the spoilt picture."""
    return path.with_suffix("") / f"{PICTURE:06}.png"


def edit_map(path: Path, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(edit(np.asarray(Image.open(png(path))).copy())).save(png(path))


def new_segment(pixels: np.ndarray) -> np.ndarray:
    pixels[:3, :4] = [231, 3, 0]
    return pixels


def without_first(pixels: np.ndarray) -> np.ndarray:
    pixels[(pixels == [1, 0, 0]).all(-1)] = 0
    return pixels


DISAGREEMENTS: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "a number that the JSON lacks": (lambda p: edit_map(p, new_segment), "map-values", ["999", "panoptic"]),
    "a row is missing": (lambda p: change(p, lambda c: rows(c).pop(0)), "map-values", [" 1 "]),
    "a segment without pixels": (lambda p: edit_map(p, without_first), "map-segments", ["segment 1 has no pixel"]),
    "a row too many": (
        lambda p: change(p, lambda c: rows(c).append({**rows(c)[0], "id": 77})),
        "map-segments",
        ["segment 77 has no pixel"],
    ),
    "an area that is off": (
        lambda p: change(p, lambda c: rows(c)[0].update(area=7)),
        "map-segments",
        ["segment 1 has 1", "pixels, its area in", "is 7"],
    ),
    "another size": (lambda p: edit_map(p, lambda pixels: pixels[1:]), "map-size", ["64x63", "64x64"]),
    "one channel": (lambda p: edit_map(p, lambda pixels: pixels[..., 0]), "map-colours", ["one channel"]),
    "cut short": (lambda p: png(p).write_bytes(png(p).read_bytes()[:99]), "map-unreadable", ["damaged"]),
}


@pytest.mark.parametrize("kind", DISAGREEMENTS)
def test_maps_and_json_that_disagree(refused: Refused, kind: str, copy: Path, toys: Path, tmp_path: Path) -> None:
    spoil, code, words = DISAGREEMENTS[kind]
    truth, found = copy / "annotations" / "panoptic_val.json", predictions(toys, tmp_path)
    spoil(truth)
    for split in ("panoptic_val", "val"):
        line = refused("data", "check", f"{copy}:{split}")
        printed = refused.out  # type: ignore[attr-defined]
        assert "1 fatal fault" in line
        assert f"fatal {code}: 1\n  {PICTURE:06}.png: " in printed
        assert all(word in printed for word in words), printed
    line = refused("evaluate", "--predictions", found, "--data", f"{copy}:val")
    assert str(png(truth)) in line
    assert all(word in line for word in words), line
    spoil(found)
    line = refused("evaluate", "--predictions", found, "--data", f"{toys}:val")
    assert str(png(found)) in line
    assert all(word in line for word in words), line
    assert "; " in line


STRUCTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no maps at all": (lambda p: shutil.rmtree(p.with_suffix("")), "the folder of its PNG files is not found"),
    "a class that is not there": (
        lambda p: change(p, lambda c: rows(c)[0].update(category_id=99)),
        f"annotation of image {PICTURE}: there is no category 99",
    ),
    "a crowd that is neither 0 nor 1": (
        lambda p: change(p, lambda c: rows(c)[0].update(iscrowd=2)),
        "is 2, not 0 or 1",
    ),
    "one number twice": (lambda p: change(p, lambda c: rows(c).append(rows(c)[0])), "segment 1 is listed twice"),
    "one picture twice": (lambda p: change(p, lambda c: c["annotations"].append(entry(c))), "listed twice"),
    "a name that leads out": (lambda p: change(p, lambda c: entry(c).update(file_name="../../x.png")), "leads out of"),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_files_that_make_no_sense(refused: Refused, kind: str, copy: Path, toys: Path, tmp_path: Path) -> None:
    spoil, words = STRUCTURES[kind]
    truth, found = copy / "annotations" / "panoptic_val.json", predictions(toys, tmp_path)
    spoil(truth)
    recipe = write_recipe(copy, tmp_path)
    for command in (
        ("data", "check", f"{copy}:panoptic_val"),
        ("data", "check", f"{copy}:val"),
        ("data", "show", f"{copy}:val", "--out", tmp_path / "sheet.png"),
        ("evaluate", "--predictions", found, "--data", f"{copy}:val"),
        ("train", recipe, "--out", tmp_path / "run", "--device", "cpu"),
    ):
        line = refused(*command)
        assert str(truth) in line
        assert words in line
        assert "; " in line
    spoil(found)
    line = refused("evaluate", "--predictions", found, "--data", f"{toys}:val")
    assert str(found) in line
    assert words in line


@pytest.mark.parametrize("annotations", [3, []])
def test_files_without_annotations(refused: Refused, annotations: Any, copy: Path, toys: Path, tmp_path: Path) -> None:
    truth, found = copy / "annotations" / "panoptic_val.json", predictions(toys, tmp_path)
    change(truth, lambda c: c.update(annotations=annotations))
    for command in (
        ("data", "show", f"{copy}:val", "--out", tmp_path / "sheet.png"),
        ("evaluate", "--predictions", found, "--data", f"{copy}:val"),
        ("train", write_recipe(copy, tmp_path), "--out", tmp_path / "run", "--device", "cpu"),
    ):
        assert f"{truth}: 'annotations' is missing, empty or no list; give a COCO panoptic file" in refused(*command)
    line = refused("evaluate", "--predictions", truth, "--data", f"{toys}:val")
    assert f"{truth}: annotations are no predictions; give a scenes.json" in line


def test_a_map_that_is_gone(refused: Refused, copy: Path, toys: Path, tmp_path: Path) -> None:
    truth, found = copy / "annotations" / "panoptic_val.json", predictions(toys, tmp_path)
    for path in (truth, found):
        png(path).unlink()
    refused("data", "check", f"{copy}:val")
    assert f"fatal map-missing: 1\n  {PICTURE:06}.png" in refused.out  # type: ignore[attr-defined]
    line = refused("evaluate", "--predictions", predictions(toys, tmp_path / "whole"), "--data", f"{copy}:val")
    assert f"{png(truth)}: no such file" in line
    line = refused("evaluate", "--predictions", found, "--data", f"{toys}:val")
    assert f"{png(found)}: no such file" in line


def test_other_classes_than_those_of_the_instances(refused: Refused, copy: Path, toys: Path, tmp_path: Path) -> None:
    change(copy / "annotations" / "panoptic_val.json", lambda c: c["categories"][0].update(name="elf"))
    found = predictions(toys, tmp_path)
    for command in (
        ("data", "show", f"{copy}:val", "--out", tmp_path / "sheet.png"),
        ("evaluate", "--predictions", found, "--data", f"{copy}:val"),
        ("train", write_recipe(copy, tmp_path), "--out", tmp_path / "run", "--device", "cpu"),
    ):
        line = refused(*command)
        assert "category 'person' with id 1 is not in the other file about these pictures" in line
        assert "give both files the same categories" in line


# --- what is odd, but right --------------------------------------------------------------------------------------


def values(data: Path) -> Content:
    """A recipe of one step over all pictures with all tasks."""
    return {
        "name": "tiny",
        "data": {"train": f"{data}:val"},
        "network": {
            "backbone": {"depth": 18, "width": 8},
            "pyramid": {"channels": 16},
            "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms_train": 32, "post_nms_train": 32},
            "regions": {"samples": 16},
            "tasks": {
                "boxes": {"channels": 16},
                "masks": {"channels": 8, "convolutions": 1},
                "keypoints": {"channels": 8, "convolutions": 1},
                "semantic": {"channels": 8},
                "panoptic": {},
            },
        },
        "augmentation": {"crop": 64},
        "training": {"steps": 1, "batch": 2, "lr": 0.001, "warmup": 0, "log_every": 1},
    }


def write_recipe(data: Path, folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(json.dumps(values(data)))
    return folder / "tiny.yaml"


def losses(data: Path, folder: Path) -> dict[str, float]:
    """The losses of one step."""
    train(check_recipe(values(data), "the test"), folder, device="cpu")
    logged = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    return {name.removeprefix("loss/"): value for name, value in logged.items() if name.startswith("loss/")}


def only_stuff(folder: Path, pictures: list[int]) -> None:
    """Take the things off the annotations of some pictures, and give their pixels to no class."""

    def stuff(content: Content) -> None:
        things = {category["id"] for category in content["categories"] if category["isthing"]}
        for annotation in content["annotations"]:
            if annotation["image_id"] in pictures:
                kept = [row for row in annotation["segments_info"] if row["category_id"] not in things]
                annotation["segments_info"] = kept
                file = folder / "annotations" / "panoptic_val" / annotation["file_name"]
                pixels = np.asarray(Image.open(file)).copy()
                pixels[~np.isin(pixels[..., 0], [row["id"] for row in kept])] = 0
                Image.fromarray(pixels).save(file)

    def none(content: Content) -> None:
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] not in pictures]

    change(folder / "annotations" / "panoptic_val.json", stuff)
    for kind in ("instances", "person_keypoints"):
        change(folder / "annotations" / f"{kind}_val.json", none)


def numbers_of(run: Run, found: Path, data: Path, out: Path) -> dict[str, float]:
    run("evaluate", "--predictions", found, "--data", f"{data}:val", "--out", out)
    numbers: dict[str, float] = json.loads(out.read_text())
    return numbers


@pytest.mark.parametrize("pictures", [[2], [1, 2]])
def test_pictures_with_only_stuff(run: Run, copy: Path, toys: Path, tmp_path: Path, pictures: list[int]) -> None:
    only_stuff(copy, pictures)
    for split in ("val", "panoptic_val"):
        assert ", 0 of them fatal" in run("data", "check", f"{copy}:{split}")
        run("data", "show", f"{copy}:{split}", "--out", tmp_path / "sheet.png")
    perfect = numbers_of(run, predictions(copy, tmp_path / "own"), copy, tmp_path / "n.json")
    assert perfect["panoptic/PQ"] == perfect["panoptic/PQ_stuff"] == 1
    assert ("panoptic/PQ_things" in perfect) == (len(pictures) < 2)
    found = numbers_of(run, predictions(toys, tmp_path / "all"), copy, tmp_path / "n.json")
    assert found["panoptic/PQ"] == 1  # things on what nobody has labelled do not count
    step = losses(copy, tmp_path / "run")
    assert all(math.isfinite(value) for value in step.values())
    objects = {name for name, value in step.items() if value}
    assert objects == ({"semantic"} if len(pictures) == 2 else set(step))


def test_crowds(run: Run, copy: Path, toys: Path, tmp_path: Path) -> None:
    """A crowd is no miss where nothing is found, and no error where something of its class is found on it."""

    def gather(content: Content) -> None:
        for annotation in content["annotations"]:
            if annotation.get("segments_info"):
                annotation["segments_info"][0]["iscrowd"] = 1
        for number in {a["image_id"] for a in content["annotations"] if "bbox" in a}:
            next(a for a in content["annotations"] if a["image_id"] == number)["iscrowd"] = 1

    for kind in ("panoptic", "instances"):
        change(copy / "annotations" / f"{kind}_val.json", gather)
    for split in ("val", "panoptic_val"):
        assert ", 0 of them fatal" in run("data", "check", f"{copy}:{split}")
    run("data", "show", f"{copy}:val", "--out", tmp_path / "sheet.png")
    found = predictions(toys, tmp_path / "all")
    assert numbers_of(run, found, copy, tmp_path / "n.json")["panoptic/PQ"] == 1
    for number in (1, 2):
        edit = np.asarray(Image.open(found.with_suffix("") / f"{number:06}.png")).copy()
        Image.fromarray(without_first(edit)).save(found.with_suffix("") / f"{number:06}.png")
    change(found, lambda c: [a["segments_info"].pop(0) for a in c["annotations"]])
    assert numbers_of(run, found, copy, tmp_path / "n.json")["panoptic/PQ"] == 1
    assert numbers_of(run, found, toys, tmp_path / "n.json")["panoptic/PQ"] < 1
    assert all(math.isfinite(value) for value in losses(copy, tmp_path / "run").values())


def test_what_the_sheet_shows_and_the_numbers_say(run: Run, copy: Path, tmp_path: Path) -> None:
    """The text is of the instances, with a panoptic file beside them or without; the pictures are not."""
    texts, sheets = [], []
    for _ in range(2):
        texts.append(run("data", "show", f"{copy}:val", "--out", tmp_path / "sheet.png"))
        sheets.append((tmp_path / "sheet.png").read_bytes())
        (copy / "annotations" / "panoptic_val.json").unlink(missing_ok=True)
    assert texts[0] == texts[1]
    assert "13 classes" in texts[0]
    assert sheets[0] != sheets[1]
