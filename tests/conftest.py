"""Fixtures that several rooms use: a tiny data set, a tiny recipe, real data where it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six synthetic pictures with their COCO JSON; returns the JSON."""
    from segue.data.cells import write_cells

    folder = tmp_path_factory.mktemp("cells")
    write_cells(folder, 6, seed=3)
    return next(folder.glob("*.json"))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of nuclei with random weights. From a threshold of 0.3 on down it finds 20 things in any picture."""
    from segue.engine.recipe import check_network, to_plain
    from segue.models.region_network import RegionNetwork
    from segue.models.weights import ModelFile, write_model
    from segue.structures import Categories
    from segue.tasks import BOXES, MASKS

    values = tiny_values(Path())["network"]
    values["proposals"] |= {"pre_nms": 64, "post_nms": 64}
    values["tasks"]["boxes"] |= {"detections": 20, "score": 0.0}
    settings, categories = check_network(values, [BOXES, MASKS], "the test"), Categories.from_names(["nucleus"])
    torch.manual_seed(5)
    network = RegionNetwork(settings, categories, [BOXES, MASKS])
    torch.nn.init.normal_(network.heads["masks"].logits.weight, std=0.5)  # masks of some shape
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_model(path, ModelFile("tiny", to_plain(settings), categories.to_json(), None, network.state_dict()))
    return path


def tiny_values(data: Path) -> dict[str, Any]:
    """A recipe that trains in seconds."""
    return {
        "name": "tiny",
        "data": {"train": str(data), "val": str(data)},
        "network": {
            "backbone": {"depth": 18, "width": 8},
            "pyramid": {"channels": 16},
            "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms_train": 64, "post_nms_train": 64},
            "regions": {"samples": 16},
            "tasks": {"boxes": {"channels": 32}, "masks": {"channels": 16, "convolutions": 1}},
        },
        "augmentation": {"crop": 96},
        "training": {
            "steps": 6,
            "batch": 2,
            "lr": 0.01,
            "warmup": 2,
            "ema": 0.9,
            "log_every": 1,
            "evaluate_every": 6,
            "checkpoint_every": 2,
        },
    }


@pytest.fixture
def write_recipe(tmp_path: Path, cells: Path) -> Callable[..., Path]:
    """Write the tiny recipe with some values changed: ``write_recipe(training={"steps": 2})``."""
    return recipe_writer(tmp_path / "tiny.yaml", tiny_values(cells))


def recipe_writer(path: Path, values: dict[str, Any]) -> Callable[..., Path]:
    """Writes these values, the parts that are named changed."""

    def write(**changes: Any) -> Path:
        changed = {**values}
        for part, change in changes.items():
            changed[part] = {**values.get(part, {}), **change} if isinstance(change, dict) else change
        path.write_text(yaml.safe_dump(changed))
        return path

    return write


STREET = {7: (90, 160, 240), 24: (70, 60, 60), 0: (200, 60, 40)}
"""Id and colour of sky, road and car: ids are neither in order nor indices. 255 is unlabelled."""


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pictures of 64x80 pixels with label maps of three classes: four in train, two in val."""
    folder = tmp_path_factory.mktemp("street")
    (folder / "classes.txt").write_text("7: sky\n24: road\n0: car\n255: void\n")
    rng = np.random.default_rng(0)
    for number in range(6):
        split = "train" if number < 4 else "val"
        labels = np.full((64, 80), 7, np.uint8)
        labels[rng.integers(20, 40) :] = 24
        top, left = rng.integers(0, [40, 50])
        labels[top : top + 20, left : left + 24] = 0
        colors = np.array([STREET[int(value)] for value in labels.flat]).reshape(64, 80, 3)
        labels[:2] = 255
        pixels = (colors + rng.normal(0, 12, colors.shape)).clip(0, 255).astype(np.uint8)
        for kind, array in (("images", pixels), ("labels", labels)):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / split / f"{number}.png")
    return folder


def street_values(data: Path) -> dict[str, Any]:
    """A recipe that learns the street in two seconds."""
    return {
        "name": "street",
        "data": {"train": f"{data}:train", "val": f"{data}:val"},
        "semantic": {"network": {"unet": {"width": 4, "depth": 2}}},
        "augmentation": {"crop": 64},
        "training": {
            "steps": 40,
            "batch": 2,
            "optimizer": "adamw",
            "lr": 0.02,
            "warmup": 2,
            "log_every": 1,
            "evaluate_every": 40,
            "checkpoint_every": 40,
            "best": "semantic/mIoU",
        },
    }


@pytest.fixture
def write_street_recipe(tmp_path: Path, street: Path) -> Callable[..., Path]:
    """As `write_recipe`, for the street."""
    return recipe_writer(tmp_path / "street.yaml", street_values(street))


@pytest.fixture(scope="session")
def street_run(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Path:
    """The folder of a run that learned the street."""
    from segue.engine.recipe import check_recipe
    from segue.engine.train import train

    folder = tmp_path_factory.mktemp("street_run")
    train(check_recipe(street_values(street), "the test"), folder, device="cpu")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that succeeds, in an empty working folder; returns what it prints."""
    from segue.cli import main

    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> str:
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert "Traceback" not in captured.err
        return captured.out

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that fails: one line on stderr, nothing written into the working folder; returns the line."""
    from segue.cli import main

    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("SEGUE_DATA", raising=False)

    def call(*arguments: object, code: int = 2) -> str:
        try:
            got = main([str(a) for a in arguments])
        except SystemExit as leave:  # from argparse
            got = int(leave.code or 0)
        captured = capsys.readouterr()
        assert got == code, captured
        *progress, line = captured.err.splitlines()
        assert all(bar.startswith(("train: ", "evaluate: ")) for bar in progress if bar), captured.err
        assert line.startswith("segue: error: ")
        assert "Traceback" not in captured.err + captured.out
        assert list(Path.cwd().iterdir()) == []
        call.out = captured.out  # type: ignore[attr-defined]
        return line

    return call


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """The folder of a real data set below SEGUE_DATA, or a skip with the reason."""

    def find(name: str) -> Path:
        root = os.environ.get("SEGUE_DATA")
        if not root:
            pytest.skip("SEGUE_DATA is not set")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"SEGUE_DATA has no {name}")
        return Path(root) / name

    return find
