"""A random model that tells captions, and photos, for the tests of the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_values
from PIL import Image
from torch import Tensor

from segue.engine import find as find_module
from segue.engine.find import Search, Teller
from segue.engine.load import load
from segue.engine.recipe import check_network, to_plain
from segue.engine.region_predictor import RegionPredictor
from segue.models.region_network import RegionNetwork
from segue.models.weights import ModelFile, write_model
from segue.structures import Categories
from segue.tasks import BOXES, CAPTIONS

LOW = 0.3
"""Below all scores of the random network, which knows one class."""

WORDS = ("a", "red", "blue", "mug", "chair", "on", "the", "left", "grass")
QUERY = "a red mug on the grass"
CATEGORIES = Categories.from_names(["thing"])

Refused = Callable[..., str]


def write_random_model(path: Path, seed: int, words: tuple[str, ...] = WORDS) -> Path:
    values = tiny_values(Path())["network"]
    values["proposals"] |= {"pre_nms": 16, "post_nms": 16}
    boxes = {"channels": 16, "detections": 6, "score": 0.0}
    captions = {"channels": 16, "hidden": 16, "embedding": 16, "words": list(words)}
    settings = check_network({**values, "tasks": {"boxes": boxes, "captions": captions}}, [BOXES, CAPTIONS], "the test")
    torch.manual_seed(seed)
    network = RegionNetwork(settings, CATEGORIES, [BOXES, CAPTIONS])
    head: Any = network.heads["captions"]
    torch.nn.init.normal_(head.decoder.code.weight, std=2.0)  # regions differ in what is said of them
    torch.nn.init.normal_(head.decoder.logits.weight, std=2.0)
    write_model(path, ModelFile(f"m{seed}", to_plain(settings), CATEGORIES.to_json(), None, network.state_dict()))
    return path


def load_model(path: Path) -> RegionPredictor:
    predictor = load(path, "cpu")
    assert isinstance(predictor, RegionPredictor)
    return predictor


def write_photo(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    Image.fromarray(small).resize((80, 64), Image.Resampling.BICUBIC).save(path)


def photo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of four photos and two files that are none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        write_photo(photos / f"{number}.png", number)
    (photos / "notes.txt").write_text("no picture")
    (photos / "film.mp4").write_bytes(b"no picture either")
    return photos


def watch(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean brightness of each picture that the model looks at from now on."""
    seen: list[float] = []
    look = find_module.look

    def watched(predictor: Teller, image: Tensor, *rest: Any) -> Any:
        seen.append(float(image.float().mean()))
        return look(predictor, image, *rest)

    monkeypatch.setattr(find_module, "look", watched)
    return seen


def same(one: Search, two: Search) -> bool:
    """Equal to the last bit."""
    return [m.file.name for m in one.matches] == [m.file.name for m in two.matches] and all(
        torch.equal(a.likelihoods, b.likelihoods) and torch.equal(a.regions.boxes, b.regions.boxes)
        for a, b in zip(one.matches, two.matches, strict=True)
    )
