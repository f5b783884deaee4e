"""A caption head is put on a trained network: words from the data, the rest frozen, sentences in files and scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.cli import main
from segue.data.dataset import open_dataset
from segue.data.toybox.write import Order, write_toybox
from segue.engine.evaluate import evaluate
from segue.engine.load import load
from segue.engine.recipe import check_recipe
from segue.engine.train import train
from segue.errors import RecipeError
from segue.models.weights import read_model
from segue.structures import Categories
from segue.tasks import TASKS, parsers_of

HEADS: dict[str, Any] = {"boxes": {"channels": 16, "detections": 6, "score": 0.0}}
CAPTIONS = {"channels": 16, "hidden": 16, "embedding": 16, "threshold": 2}
VALUES: dict[str, Any] = {
    "name": "told",
    "network": {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 16},
        "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms_train": 32, "post_nms_train": 32, "post_nms": 16},
        "regions": {"samples": 16, "positive_share": 0.5},
        "tasks": HEADS,
    },
    "training": {"steps": 2, "batch": 2, "optimizer": "adamw", "lr": 0.01, "warmup": 1, "log_every": 1},
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told") / "set"
    write_toybox(folder, Order(train=4, val=2, size=96, seed=5))
    return folder


@pytest.fixture(scope="module")
def first(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with boxes alone."""
    run = tmp_path_factory.mktemp("runs") / "boxes"
    train(check_recipe({**VALUES, "data": {"train": f"{toys}:train"}}, "the test"), run, device="cpu")
    return run


def values_of(toys: Path, first: Path, freeze: list[str]) -> dict[str, Any]:
    return {
        **VALUES,
        "data": {"train": f"{toys}:train", "val": f"{toys}:val"},
        "weights": str(first / "last.safetensors"),
        "network": {**VALUES["network"], "tasks": {**HEADS, "captions": CAPTIONS}},
        "training": {**VALUES["training"], "steps": 3, "freeze": freeze, "best": "captions/mAP"},
    }


@pytest.fixture(scope="module")
def run(toys: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "told"
    recipe = check_recipe(values_of(toys, first, ["trunk", "rpn", "heads.boxes"]), "the test")
    train(recipe, folder, device="cpu")
    return folder


def test_what_is_frozen_stays_to_the_bit_and_has_no_loss(first: Path, run: Path) -> None:
    before, after = (read_model(folder / "last.safetensors").state for folder in (first, run))
    frozen = [name for name in after if not name.startswith("heads.captions")]
    assert set(frozen) == set(before)
    assert all(torch.equal(before[name], after[name]) for name in frozen)  # statistics of batch norms included
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [{name for name in row if name.startswith("loss/")} for row in rows if "lr" in row]
    assert losses == [{"loss/captions"}] * 3
    learnt = [row["loss/captions"] for row in rows if "lr" in row]
    assert learnt[-1] < learnt[0]


def test_an_unknown_part_cannot_be_frozen(toys: Path, first: Path, tmp_path: Path) -> None:
    recipe = check_recipe(values_of(toys, first, ["trunks"]), "the test")
    with pytest.raises(RecipeError, match=r"training\.freeze: the network has no part 'trunks'; did you mean 'trunk'"):
        train(recipe, tmp_path / "run", device="cpu")


def test_the_vocabulary_is_that_of_the_training_captions_and_in_the_model_file(toys: Path, run: Path) -> None:
    words = read_model(run / "last.safetensors").network["tasks"]["captions"]["words"]
    assert {"a", "the", "on"} <= set(words)
    told = open_dataset(f"{toys}:train", parsers_of(TASKS))
    text = " ".join(text for i in range(len(told)) for text in told.regions(i).captions or []).lower()
    assert all(word in text for word in words)


def test_scores_have_those_of_captions(toys: Path, run: Path) -> None:
    predictor = load(run, "cpu")
    dataset = open_dataset(f"{toys}:val", parsers_of(predictor.tasks))
    numbers = evaluate(predictor, dataset, progress=False).numbers
    assert {"captions/mAP", "captions/METEOR", "captions/detmAP", "boxes/AP"} <= set(numbers)
    assert 0 <= numbers["captions/mAP"] <= numbers["captions/detmAP"] <= 1
    assert numbers["captions/METEOR_has_synonym"] == 0


def test_predict_writes_sentences_a_column_and_a_page(toys: Path, run: Path, tmp_path: Path) -> None:
    photo = sorted((toys / "images/val").iterdir())[0]
    assert main(["predict", str(photo), "--model", str(run), "--out", str(tmp_path), "--threshold", "0"]) == 0
    entry = json.loads((tmp_path / "scenes.json").read_text())["scenes"][0]
    captions = [region["caption"] for region in entry["regions"]]
    assert captions
    assert all(isinstance(caption, str) for caption in captions)
    page = (tmp_path / "page.html").read_text()
    assert all(caption in page for caption in captions)
    assert page.count("<section") == 1


def test_a_model_without_captions_writes_no_page(toys: Path, first: Path, tmp_path: Path) -> None:
    photo = sorted((toys / "images/val").iterdir())[0]
    assert main(["predict", str(photo), "--model", str(first), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "page.html").exists()


def test_objects_of_some_classes_score_as_in_all(toys: Path, first: Path) -> None:
    predictor = load(first, "cpu")
    dataset = open_dataset(f"{toys}:val", parsers_of(predictor.tasks))
    mugs = [category for category in dataset.categories if category.name in ("mug", "person")]
    ids = {category.id for category in mugs}
    some = replace(
        dataset,
        categories=Categories(tuple(mugs)),
        annotations=[[a for a in rows if a["category_id"] in ids] for rows in dataset.annotations],
    )
    alone = evaluate(predictor, some, progress=False).numbers
    told = evaluate(predictor, replace(some, categories=dataset.categories), progress=False).numbers
    assert alone["boxes/AP"] == told["boxes/AP"]
