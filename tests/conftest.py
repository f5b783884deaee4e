"""Fixtures that several rooms use: a tiny data set, a tiny recipe, real data where it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

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

    def write(**changes: dict[str, Any]) -> Path:
        values = tiny_values(cells)
        for part, change in changes.items():
            values[part] = {**values.get(part, {}), **change} if isinstance(change, dict) else change
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


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
