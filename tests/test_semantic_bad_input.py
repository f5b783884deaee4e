"""Whatever a user gets wrong with label maps: one line with the file and the cure, and never a number that is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.models.weights import read_model, write_model

Refused = Callable[..., str]
Run = Callable[..., str]
Write = Callable[..., Path]


@pytest.fixture
def copy(street: Path, tmp_path: Path) -> Path:
    """The street, to be spoilt."""
    return Path(shutil.copytree(street, tmp_path / "copy"))


def save(pixels: Any, file: Path) -> None:
    Image.fromarray(np.array(pixels, np.uint8)).save(file)


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss/semantic"] for line in lines if "lr" in line]


# --- label maps --------------------------------------------------------------------------------------------------

SPOILT: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "another size": (lambda f: save(np.zeros((64, 79)), f), ["the label map is 79x64, its picture 80x64", "exchange"]),
    "turned": (lambda f: save(np.zeros((80, 64)), f), ["64x80", "80x64"]),
    "unknown values": (
        lambda f: save(np.full((64, 80), 9), f),
        ["no class is known for value 9 (5120 pixels)", "class list"],
    ),
    "RGB": (lambda f: save(np.zeros((64, 80, 3)), f), ["RGB where a map of class numbers is expected", "one channel"]),
    "no picture": (lambda f: f.write_bytes(b"nothing"), ["not a picture"]),
    "cut short": (lambda f: f.write_bytes(f.read_bytes()[:60]), ["damaged"]),
    "empty": (lambda f: f.write_bytes(b""), ["empty"]),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_label_map(
    refused: Refused, kind: str, copy: Path, street_run: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    spoil, words = SPOILT[kind]
    for split, name in (("train", "2.png"), ("val", "5.png")):
        spoil(copy / "labels" / split / name)
    recipe = write_street_recipe(data={"train": f"{copy}:train", "val": None}, training={"batch": 4})
    commands: list[tuple[str, list[object]]] = [
        ("train/2.png", ["train", recipe, "--out", tmp_path / "run", "--device", "cpu"]),
        ("val/5.png", ["evaluate", "--model", street_run, "--data", f"{copy}:val", "--device", "cpu"]),
        ("val/5.png", ["evaluate", "--predictions", copy / "labels/val", "--data", f"{copy}:val"]),
    ]
    for file, command in commands:
        line = refused(*command)
        assert str(copy / "labels" / file) in line
        assert all(word in line for word in words), line
        assert "; " in line
    assert "1 fatal" in refused("data", "check", f"{copy}:val")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_spoilt_label_map_in_a_loader_process(
    refused: Refused, workers: int, copy: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    for number in range(4):
        save(np.full((64, 80), 9), copy / f"labels/train/{number}.png")
    recipe = write_street_recipe(data={"train": f"{copy}:train", "val": None}, training={"workers": workers})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert "no class is known for value 9" in line
    assert str(copy / "labels/train") in line


def test_class_weights_meet_the_fault_first(
    refused: Refused, copy: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    save(np.full((64, 80), 9), copy / "labels/train/3.png")
    semantic = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": {"balance": 1.0}}
    recipe = write_street_recipe(data={"train": f"{copy}:train"}, semantic=semantic)
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert str(copy / "labels/train/3.png") in line


def test_missing_pairs(
    refused: Refused, copy: Path, street_run: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    (copy / "labels/train/1.png").unlink()
    (copy / "images/val/5.png").unlink()
    recipe = write_street_recipe(data={"train": f"{copy}:train", "val": None})
    for split, fault, command in (
        ("train", "there is no label map of this name: 1", ["train", recipe, "--out", tmp_path / "run"]),
        ("val", "there is no picture of this name: 5", ["evaluate", "--model", street_run, "--data", f"{copy}:val"]),
    ):
        line = refused(*command, "--device", "cpu")
        assert str(copy) in line
        assert fault in line
        assert f"segue data check {copy}:{split}" in line
    assert not (tmp_path / "run").exists()


def test_a_split_without_maps(
    refused: Refused, copy: Path, street_run: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    shutil.rmtree(copy / "labels/val")
    train, val = f"{copy}:train", f"{copy}:val"
    for data in ({"train": val, "val": train}, {"train": train, "val": val}):
        line = refused("train", write_street_recipe(data=data), "--out", tmp_path / "run", "--device", "cpu")
        assert val in line
        assert "; name a" in line
        assert not (tmp_path / "run" / "metrics.jsonl").exists()  # found before any step
    line = refused("evaluate", "--model", street_run, "--data", val, "--device", "cpu")
    assert f"{val}: no annotation of semantic; name a split" in line
    line = refused("evaluate", "--predictions", copy / "labels/train", "--data", val)
    assert "; " in line


def test_objects_are_no_label_maps(
    refused: Refused,
    cells: Path,
    street: Path,
    street_run: Path,
    model_file: Path,
    write_street_recipe: Write,
    write_recipe: Write,
    tmp_path: Path,
) -> None:
    recipe = write_street_recipe(data={"train": str(cells), "val": None})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert f"{cells}: no label maps to learn from; name a data set" in line
    assert str(cells) in refused("evaluate", "--model", street_run, "--data", cells, "--device", "cpu")
    assert f"{street}:val" in refused("evaluate", "--model", model_file, "--data", f"{street}:val", "--device", "cpu")


def test_a_class_list_that_is_not_the_models(
    refused: Refused, copy: Path, street_run: Path, write_street_recipe: Write, street: Path, tmp_path: Path
) -> None:
    recipe = write_street_recipe(data={"train": f"{street}:train", "val": f"{copy}:val"})
    commands: list[list[object]] = [
        ["evaluate", "--model", street_run, "--data", f"{copy}:val"],
        ["train", recipe, "--out", tmp_path / "run"],
    ]
    for text, fault in (
        ("7: sky\n24: road\n0: bus\n255: void\n", "its class 3 is bus, the model's car"),
        ("7: sky\n24: road\n0: car\n3: tree\n255: void\n", "its class 4 is tree, the model's missing"),
        ("7: sky\n24: road\n0: void\n255: void\n", "its class 3 is missing, the model's car"),
        ("24: road\n7: sky\n0: car\n255: void\n", "its class 1 is road, the model's sky"),
    ):
        (copy / "classes.txt").write_text(text)
        for command in commands:
            line = refused(*command, "--device", "cpu")
            assert f"{copy}:val" in line
            assert fault in line
            assert "; evaluate on data with the model's classes" in line


def test_a_class_list_that_makes_no_sense(refused: Refused, copy: Path, street_run: Path) -> None:
    (copy / "classes.txt").write_text("7: sky\n7: road\n")
    line = refused("evaluate", "--model", street_run, "--data", f"{copy}:val", "--device", "cpu")
    assert f"{copy / 'classes.txt'}: category id 7 occurs more than once; " in line


# --- what trains all the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [{}, {"balance": 1.0}, {"dice": 0.5}, {"hardest": 0.3}])
def test_a_picture_without_any_label_trains(
    run: Run, loss: dict[str, float], copy: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    for number in range(3):
        save(np.full((64, 80), 255), copy / f"labels/train/{number}.png")
    semantic = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": loss}
    training = {"steps": 8, "batch": 1, "evaluate_every": 8}
    recipe = write_street_recipe(data={"train": f"{copy}:train"}, semantic=semantic, training=training)
    run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    values = losses(tmp_path / "run")
    assert all(np.isfinite(values))
    assert sum(value == 0 for value in values) == 6
    assert read_model(tmp_path / "run/best.safetensors").state["class_weights"].isfinite().all()


def test_a_set_without_any_label_trains_to_nothing(
    run: Run, copy: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    for number in range(4):
        save(np.full((64, 80), 255), copy / f"labels/train/{number}.png")
    semantic = {"network": {"unet": {"width": 4, "depth": 2}}, "loss": {"balance": 1.0, "dice": 1.0}}
    recipe = write_street_recipe(data={"train": f"{copy}:train", "val": None}, semantic=semantic, training={"steps": 2})
    run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert losses(tmp_path / "run") == [0, 0]


def test_a_val_split_without_any_label_decides_nothing(
    refused: Refused, copy: Path, write_street_recipe: Write, tmp_path: Path
) -> None:
    for number in (4, 5):
        save(np.full((64, 80), 255), copy / f"labels/val/{number}.png")
    recipe = write_street_recipe(data={"val": f"{copy}:val"}, training={"steps": 1})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert "training.best: no metric 'semantic/mIoU'; known are images" in line


def small_set(folder: Path, size: tuple[int, int]) -> Path:
    (folder / "classes.txt").parent.mkdir()
    (folder / "classes.txt").write_text("0: a\n1: b\n")
    for kind, shape in (("images", (*size, 3)), ("labels", size)):
        (folder / kind).mkdir()
        for number in range(2):
            save(np.arange(np.prod(shape)).reshape(shape) % 2, folder / kind / f"{number}.png")
    return folder


def test_pictures_below_the_stride_of_the_network(
    run: Run, refused: Refused, write_street_recipe: Write, tmp_path: Path
) -> None:
    small = small_set(tmp_path / "small", (3, 2))
    data, still = {"train": str(small), "val": str(small)}, {"steps": 2, "batch": 2}
    recipe = write_street_recipe(data=data, training=still, augmentation={"crop": None})
    run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert all(np.isfinite(losses(tmp_path / "run")))
    run("predict", small / "images", "--model", tmp_path / "run", "--out", tmp_path / "out", "--device", "cpu")
    with Image.open(tmp_path / "out/0.semantic.png") as found:
        assert found.size == (2, 3)
    command = ("train", recipe, "--out", tmp_path / "one", "--device", "cpu", "--set", "training.batch=1")
    line = refused(*command)
    assert "too few pixels for batch norm; raise training.batch" in line
    assert str(small / "images") in line


# --- recipes and options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("semantic.network={unett: {}}", ["unknown network 'unett'", "did you mean 'unet'?"]),
        ("semantic.network={unet: {widht: 8}}", ["street.yaml: semantic.network.unet.widht", "did you mean 'width'?"]),
        ("semantic.network={unet: {width: wide}}", ["semantic.network.unet.width", "'wide'"]),
        ("semantic.network={unet: 3}", ["semantic.network.unet", "allowed keys are width"]),
        ("semantic.network={unet: {}, plain: {}}", ["semantic: network must name one network"]),
        ("semantic.network={}", ["semantic: network must name one network"]),
        ("semantic.network=unet", ["semantic.network", "'unet'"]),
        ("semantic.netwrok={unet: {}}", ["unknown key 'netwrok'", "did you mean 'network'?"]),
        ("semantic=unet", ["semantic", "allowed keys are network"]),
        ("semantic.loss.balanse=1", ["unknown key 'balanse'", "did you mean 'balance'?"]),
        ("semantic.loss.hardest=0", ["semantic.loss", "hardest must be above 0"]),
        ("semantic.conventions=imagenet", ["semantic.conventions", "'segue'"]),
        ("network.backbone.depth=18", ["street.yaml: both network and semantic", "leave one of them out"]),
        ("training.best=semantic/mIuO", ["training.best: no metric 'semantic/mIuO'", "semantic/mIoU"]),
        ("training.best=masks/AP", ["training.best: no metric 'masks/AP'", "semantic/mIoU"]),
    ],
)
def test_recipes_that_ask_for_the_impossible(
    refused: Refused, setting: str, words: list[str], write_street_recipe: Write, tmp_path: Path
) -> None:
    recipe = write_street_recipe(training={"steps": 1})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu", "--set", setting)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scales", "1,,2"], ["--scales", "no list of numbers such as 0.75,1,1.25"]),
        (["--scales", "big"], ["--scales", "'big'"]),
        (["--scales", ""], ["--scales", "no list of numbers"]),
        (["--scales", "0"], ["--scales", "from 0.1 to 10"]),
        (["--scales", "1,nan"], ["--scales", "from 0.1 to 10"]),
        (["--scales", "1,inf"], ["--scales", "from 0.1 to 10"]),
        (["--scales=-1"], ["--scales", "from 0.1 to 10"]),
        (["--tile", "63"], ["63 pixels are too small", "64 or more"]),
        (["--tasks", "boxes"], ["street has no task 'boxes'", "it has semantic"]),
    ],
)
def test_options_that_make_no_sense(
    refused: Refused, options: list[str], words: list[str], street: Path, street_run: Path
) -> None:
    line = refused("predict", street / "images/val", "--model", street_run, "--device", "cpu", *options)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("options", [["--flip"], ["--scales", "0.5,1"]])
def test_a_model_that_finds_objects_has_no_pixel_options(
    refused: Refused, options: list[str], cells: Path, model_file: Path
) -> None:
    commands: list[list[object]] = [
        ["predict", cells.parent / "cells_000.png", "--model", model_file],
        ["evaluate", "--data", cells, "--model", model_file],
    ]
    for command in commands:
        line = refused(*command, "--device", "cpu", *options)
        assert "tiny finds objects" in line
        assert "; leave them out" in line


# --- models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "word"),
    [
        ({"semantic": {"network": {"unet": {"width": 5, "depth": 2}}}}, "of another shape"),
        ({"semantic": {"network": {"plain": {}}}}, "do not fit the network"),
        ({"semantic": {"network": {"unett": {}}}}, "unknown network 'unett'"),
        ({"semantic": {"network": {"unet": {"width": 10**12}}}}, "impossible network"),
        ({"semantic": {"network": {}}}, "one network"),
        ({"semantic": {}}, "network"),
        ({"semantic": 3}, "expected keys and values"),
    ],
)
def test_model_files_with_another_network(
    refused: Refused, network: dict[str, Any], word: str, street: Path, street_run: Path, tmp_path: Path
) -> None:
    model = read_model(street_run / "best.safetensors")
    write_model(tmp_path / "m.safetensors", type(model)(**{**vars(model), "network": network}))
    line = refused("predict", street / "images/val", "--model", tmp_path / "m.safetensors", "--device", "cpu")
    assert word in line
    assert "; " in line
    assert len(line) < 600


# --- predictions -------------------------------------------------------------------------------------------------


def scenes(**changes: Any) -> dict[str, Any]:
    scene = {"file": "4.png", "width": 80, "height": 64, "regions": [], "semantic": "4.semantic.png", **changes}
    return {"version": 1, "model": "x", "scenes": [scene]}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"semantic": "gone.png"}, "gone.png: no such file"),
        ({"semantic": "../copy/labels/val/4.png"}, "is no file beside it"),
        ({"semantic": "/etc/passwd"}, "is no file beside it"),
        ({"semantic": "."}, "is no file beside it"),
        ({"semantic": "below"}, "a folder, not a picture"),
        ({"semantic": "\0"}, "is no file beside it"),
        ({"semantic": 3}, "semantic 3 is no file beside it"),
        ({"semantic": ["4.semantic.png"]}, "is no file beside it"),
        ({"semantic": "small.png"}, "small.png: the label map is 8x6, its picture 80x64"),
        ({"semantic": "foreign.png"}, "foreign.png: no class is known for value 9"),
        ({"semantic": "rgb.png"}, "rgb.png: RGB where a map of class numbers is expected"),
        ({"semantic": None}, "holds nothing that the data set has truth for"),
        ({"width": 64, "height": 80}, "predicted on 64x80 pixels, the data set's picture has 80x64"),
        ({"file": "1.png"}, "is no picture of"),
    ],
)
def test_hostile_scenes(refused: Refused, change: dict[str, Any], word: str, copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    (folder / "below").mkdir(parents=True)
    shutil.copy(copy / "labels/val/4.png", folder / "4.semantic.png")
    save(np.zeros((6, 8)), folder / "small.png")
    save(np.full((64, 80), 9), folder / "foreign.png")
    save(np.zeros((64, 80, 3)), folder / "rgb.png")
    (folder / "scenes.json").write_text(json.dumps(scenes(**change)))
    command = ("evaluate", "--predictions", folder / "scenes.json", "--data", f"{copy}:val")
    line = refused(*command, "--out", tmp_path / "numbers.json")
    assert word in line
    assert str(folder) in line
    assert "; " in line
    assert not (tmp_path / "numbers.json").exists()


def test_the_same_scenes_without_a_fault_are_taken(run: Run, copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy / "labels/val/4.png", tmp_path / "4.semantic.png")
    (tmp_path / "scenes.json").write_text(json.dumps(scenes()))
    assert "images_missing" in run("evaluate", "--predictions", tmp_path / "scenes.json", "--data", f"{copy}:val")


def test_folders_that_hold_no_predictions(refused: Refused, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", copy, copy / "labels"):
        line = refused("evaluate", "--predictions", place, "--data", f"{copy}:val")
        assert f"{place}: no index PNG of {copy}:val; name the files as in 4.png" in line
    line = refused("evaluate", "--predictions", copy / "images/val", "--data", f"{copy}:val")
    assert f"{copy}/images/val/4.png: RGB where a map of class numbers is expected" in line
    assert "none" in refused("evaluate", "--predictions", tmp_path / "none", "--data", f"{copy}:val")
