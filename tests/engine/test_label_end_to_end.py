"""The label of a picture from the recipe to the files: trained, scored, predicted, saved, read again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segue
from segue.data.dataset import open_dataset
from segue.data.images import read_image, to_pil
from segue.data.toybox.write import Order, write_toybox
from segue.engine.page import PageWriter
from segue.engine.predictor import Predictor


@pytest.fixture(scope="module")
def toybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toybox")
    write_toybox(folder, Order(train=3, val=4, size=64, seed=3))
    return folder


@pytest.fixture
def model(tmp_path: Path, toybox: Path, write_recipe: Callable[..., Path], run: Callable[..., str]) -> Path:
    """Trained for two steps, then taught to say "tree" of every picture."""
    recipe = write_recipe(
        data={"train": f"{toybox}:train", "val": f"{toybox}:val"},
        network={"tasks": {"boxes": {"channels": 16}, "label": {"channels": 8}}},
        augmentation={"crop": None},
        training={"steps": 2, "evaluate_every": 2, "best": "label/top1", "ema": 0.0},
    )
    run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(line["loss/label"] > 0 for line in lines if "loss/label" in line)
    assert any("loss/label" in line for line in lines)
    return tmp_path / "run"


def taught(model: Path, word: str) -> Predictor:
    predictor = segue.load(model, device="cpu")
    network: Any = predictor.network
    head = network.image_heads["label"]
    with torch.no_grad():
        head.logits.weight.zero_()
        head.logits.bias.copy_(torch.tensor([float(name == word) for name in head.names]))
    return predictor


def test_from_recipe_to_saved_predictions(tmp_path: Path, toybox: Path, model: Path, run: Callable[..., str]) -> None:
    truth = open_dataset(f"{toybox}:val", {}, labels=True).labels
    assert truth is not None
    table = run(
        "evaluate", "--model", model, "--data", f"{toybox}:val", "--out", tmp_path / "a.json", "--device", "cpu"
    )
    assert "top1" in table
    run("predict", toybox / "images/val", "--model", model, "--out", tmp_path / "out", "--device", "cpu")
    scenes = json.loads((tmp_path / "out/scenes.json").read_text())["scenes"]
    right = sum(scene["label"] == label for scene, label in zip(scenes, truth, strict=True))
    run(
        "evaluate",
        "--predictions",
        tmp_path / "out/scenes.json",
        "--data",
        f"{toybox}:val",
        "--out",
        tmp_path / "b.json",
    )
    for file in ("a.json", "b.json"):
        assert json.loads((tmp_path / file).read_text())["label/top1"] == right / len(truth)
    run("predict", toybox / "images/val", "--model", model, "--tasks", "boxes", "--out", tmp_path / "boxes")
    assert all("label" not in scene for scene in json.loads((tmp_path / "boxes/scenes.json").read_text())["scenes"])


def test_pictures_that_the_predictions_lack_are_wrong(tmp_path: Path, toybox: Path, run: Callable[..., str]) -> None:
    truth = open_dataset(f"{toybox}:val", {}, labels=True)
    entries: list[dict[str, Any]] = [
        {"file": record.file.name, "width": 64, "height": 64, "label": label, "regions": []}
        for record, label in zip(truth.records, truth.labels or [], strict=True)
    ]
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"version": 1, "model": "", "scenes": entries[:3]}))
    run("evaluate", "--predictions", path, "--data", f"{toybox}:val", "--out", tmp_path / "out.json")
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert (numbers["label/top1"], numbers["images_missing"]) == (0.75, 1)


def test_an_unknown_label_is_refused(tmp_path: Path, toybox: Path, refused: Callable[..., str]) -> None:
    entry = {"file": "000001.png", "width": 64, "height": 64, "label": "unicorn", "regions": []}
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"version": 1, "model": "", "scenes": [entry]}))
    line = refused("evaluate", "--predictions", path, "--data", f"{toybox}:val")
    assert "000001.png: unknown label 'unicorn'; known are person" in line


def test_tiles_page_and_single_pictures(tmp_path: Path, toybox: Path, model: Path) -> None:
    picture = read_image(toybox / "images/val/000001.png")
    predictor = segue.load(model, device="cpu")
    plain = predictor.predict(picture)
    assert predictor.tiled(picture, 64, 0.5).label == plain.label
    large = picture.repeat_interleave(4, 1).repeat_interleave(4, 2)
    seen: list[tuple[int, ...]] = []
    network: Any = predictor.network
    network.trunk.register_forward_hook(lambda module, args, levels: seen.append(tuple(args[0].shape[2:])))
    assert predictor.tiled(large, 64, 0.5).label == plain.label  # the small copy is the picture itself
    assert max(seen) == (64, 64)
    teacher = taught(model, "tree")
    assert [scene.label for scene in teacher.predict([picture, picture], batch=2)] == ["tree", "tree"]
    assert teacher.only(["boxes"]).predict(picture).label is None
    assert teacher.only(["boxes"]).tiled(picture, 64, 0.5).label is None
    page = PageWriter(tmp_path, "")
    page.add(plain, to_pil(picture), teacher.tasks)
    assert not page.sections  # a label alone makes no page
