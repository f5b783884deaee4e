"""DenseCap from a recipe to a model file, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.dataset import open_dataset
from segue.data.geometry import Geometry
from segue.data.toybox.write import Order, write_toybox
from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.evaluate import evaluate
from segue.engine.load import load, load_trained
from segue.engine.recipe import check_recipe, recipe_values
from segue.engine.train import train
from segue.errors import RecipeError
from segue.models.densecap import DenseCap, DenseCapSettings
from segue.tasks import BOXES, CAPTIONS, parsers_of

DENSECAP: dict[str, Any] = {
    "width": 4,
    "norm": "batch",
    "localisation": {"anchors": [[24, 24], [48, 32]], "channels": 8, "samples": 16, "proposals": 12},
    "captions": {"channels": 16, "hidden": 16, "embedding": 16, "threshold": 2, "dropout": 0.5},
    "detections": 6,
}
VALUES: dict[str, Any] = {
    "name": "told",
    "densecap": DENSECAP,
    "training": {"steps": 3, "batch": 2, "optimizer": "adamw", "lr": 0.001, "log_every": 1},
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("densecap") / "set"
    write_toybox(folder, Order(train=4, val=2, size=96, seed=5))
    return folder


@pytest.fixture(scope="module")
def run(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "densecap"
    values = {
        **VALUES,
        "data": {"train": f"{toys}:train", "val": f"{toys}:val"},
        "training": {**VALUES["training"], "freeze": ["vgg.stages.0", "vgg.stages.1"]},
    }
    train(check_recipe(values, "the test"), folder, device="cpu")
    return folder


def test_all_losses_are_logged_and_captions_decide_which_weights_are_best(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/captions", "loss/proposals", "loss/box_decay", "loss/objectness"} <= set(rows[0])
    assert any("captions/mAP" in row for row in rows)
    assert (run / "best.safetensors").is_file()


def test_a_model_file_tells_the_same_after_loading(toys: Path, run: Path) -> None:
    dataset = open_dataset(f"{toys}:val", parsers_of([BOXES, CAPTIONS]))
    predictor = load(run, device="cpu")
    assert isinstance(predictor, DenseCapPredictor)
    scene = predictor.predict(dataset.image(0), threshold=0.0)
    regions = scene.regions
    assert 0 < len(regions) <= 6
    assert regions.captions is not None
    assert not regions.labels.any()
    assert bool((regions.scores.diff() <= 0).all())
    assert set(" ".join(regions.captions).split()) <= set(predictor.network.settings.captions.words)
    again = load(run, device="cpu").predict(dataset.image(0), threshold=0.0)
    assert torch.equal(again.regions.boxes, regions.boxes)
    assert again.regions.captions == regions.captions
    assert predictor.only(["boxes"]).predict(dataset.image(0), threshold=0.0).regions.captions is None
    assert "captions/mAP" in evaluate(predictor, dataset, progress=False).numbers


def test_boxes_are_in_the_pictures_own_pixels(toys: Path, run: Path) -> None:
    image = open_dataset(f"{toys}:val", parsers_of([BOXES, CAPTIONS])).image(0)[:, :80]
    small = Geometry.resize((80, 96), (60, 72)).image(image)
    plain, resizing = load(run, device="cpu"), load(run, device="cpu")
    plain.resize, resizing.resize = None, (60, 72)
    inner, outer = plain.predict(small, threshold=0.0), resizing.predict(image, threshold=0.0)
    assert outer.size == (80, 96)
    torch.testing.assert_close(outer.regions.boxes * 0.75, inner.regions.boxes)
    assert outer.regions.captions == inner.regions.captions


def test_a_picture_in_tiles_is_told_too(toys: Path, run: Path) -> None:
    image = open_dataset(f"{toys}:val", parsers_of([BOXES, CAPTIONS])).image(0)
    regions = load(run, device="cpu").tiled(image, 64, threshold=0.0).regions
    assert regions.captions is not None
    assert len(regions.captions) == len(regions) > 0


def test_what_is_frozen_stays_and_the_rest_learns(run: Path) -> None:
    trained = load_trained(run)
    assert isinstance(trained, DenseCapPredictor)
    torch.manual_seed(0)  # the recipe's
    fresh = DenseCap(trained.network.settings, trained.categories).state_dict()
    after = trained.network.state_dict()
    same = {name for name in fresh if name.endswith("weight") and torch.equal(fresh[name], after[name])}
    assert {name for name in same if name.startswith("vgg")} == {
        name for name in fresh if name.endswith("weight") and name.startswith(("vgg.stages.0", "vgg.stages.1"))
    }
    assert not {"captions.fc1.weight", "localisation.conv.weight", "objectness.weight"} & same


def test_a_recipe_survives_as_plain_values() -> None:
    recipe = check_recipe({**VALUES, "data": {"train": "x"}}, "the test")
    assert recipe.kind == "densecap"
    assert recipe.training.best == "captions/mAP"
    plain = recipe_values(recipe)
    assert not {"network", "semantic"} & set(plain)
    assert check_recipe(plain, "the test") == recipe
    assert check_recipe({**VALUES, "data": {"train": "x"}, "densecap": {}}, "x").densecap == DenseCapSettings()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": {}}, "both network and densecap"),
        ({"semantic": {"network": {"unet": {}}}}, "both semantic and densecap"),
        ({"densecap": {"widht": 4}}, "densecap.widht: unknown key 'widht'; did you mean 'width'"),
        ({"densecap": {"localisation": {"anchor": []}}}, "densecap.localisation.anchor: unknown key"),
        ({"densecap": {"localisation": {"anchors": []}}}, "densecap.localisation: anchors must be pairs"),
        ({"densecap": {"losses": {"captions": "much"}}}, "densecap.losses.captions: "),
    ],
)
def test_faults_of_a_recipe_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe({**VALUES, "data": {"train": "x"}, **wrong}, "x")
