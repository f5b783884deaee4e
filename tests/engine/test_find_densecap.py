"""Search by sentence with DenseCap: a region's code is of the proposal, not of the box that came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from searching import QUERY, WORDS, photo_folder, same, watch

from segue.data.images import read_image
from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.find import find, teller_of
from segue.engine.load import load
from segue.engine.recipe import check_densecap, to_plain
from segue.engine.region_index import NAME
from segue.models.densecap import DenseCap
from segue.models.weights import ModelFile, write_model
from segue.structures import Categories

LOW = 0.1
"""Below all scores of the random network."""

CATEGORIES = Categories.from_names(["object"])
SETTINGS: dict[str, Any] = {
    "width": 4,
    "norm": "batch",
    "localisation": {"anchors": [[24, 24], [48, 32]], "channels": 8, "proposals": 12},
    "captions": {"channels": 16, "hidden": 16, "embedding": 16, "words": list(WORDS)},
    "detections": 6,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = check_densecap(SETTINGS, "the test")
    torch.manual_seed(3)
    network = DenseCap(settings, CATEGORIES)
    for layer in (network.captions.decoder.code, network.captions.decoder.logits):
        torch.nn.init.normal_(layer.weight, std=2.0)  # regions differ in what is said of them
    path = tmp_path_factory.mktemp("densecap") / "model.safetensors"
    content = {"densecap": to_plain(settings)}
    write_model(path, ModelFile("told", content, CATEGORIES.to_json(), (48, 64), network.state_dict()))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> DenseCapPredictor:
    predictor = load(file, "cpu")
    assert isinstance(predictor, DenseCapPredictor)
    return predictor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return photo_folder(tmp_path, monkeypatch)


def test_codes_are_those_that_the_sentences_are_told_from(model: DenseCapPredictor, folder: Path) -> None:
    image = read_image(folder / "0.png")
    regions, codes = model.region_codes(image, LOW)
    scene = model.predict(image, LOW)
    assert 0 < len(regions) == len(codes) <= 6
    assert torch.equal(regions.boxes, scene.regions.boxes)
    assert torch.equal(regions.scores, scene.regions.scores)
    assert model.captions.decode(codes, regions, scene.size) == scene.regions.captions
    middle = float(regions.scores.median())
    assert len(model.region_codes(image, middle)[1]) == int((regions.scores >= middle).sum()) < len(codes)


def test_pictures_are_ranked_by_their_likeliest_region(model: DenseCapPredictor, folder: Path) -> None:
    search, (teller, head) = find(model, QUERY, folder, threshold=LOW), teller_of(model)
    best = {}
    for number in range(4):
        regions, codes = teller.region_codes(read_image(folder / f"{number}.png"), LOW)
        with torch.no_grad():
            likelihoods, order = head.log_likelihood(codes, QUERY).sort(descending=True)
        match = next(m for m in search.matches if m.file.name == f"{number}.png")
        torch.testing.assert_close(match.likelihoods, likelihoods, atol=0.02, rtol=0)  # codes have 16 bits
        assert torch.equal(match.regions.boxes[0], regions.boxes[order[0]])
        best[match.file.name] = float(likelihoods[0])
    assert [m.file.name for m in search.matches] == sorted(best, key=lambda name: -best[name])
    assert max(best.values()) - min(best.values()) > 0.1  # else the ranking would say little


def test_a_second_search_looks_at_nothing(
    model: DenseCapPredictor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = watch(monkeypatch)
    first = find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 4
    assert same(find(model, QUERY, folder, threshold=LOW), first)
    assert len(looked) == 4


def test_the_command(run: Callable[..., str], file: Path, folder: Path) -> None:
    out = run("find", QUERY, folder, "--model", file, "--threshold", LOW, "--device", "cpu")
    assert len(out.splitlines()) == 5
    assert (folder / NAME).is_file()
