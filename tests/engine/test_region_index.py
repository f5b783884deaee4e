"""The index that a search keeps beside the pictures, and what may happen to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from searching import LOW, QUERY, load_model, photo_folder, same, watch, write_photo, write_random_model
from torch import Tensor

from segue.engine.find import find, model_hash
from segue.engine.region_index import KEY, NAME, Reader, places, read_index
from segue.engine.region_predictor import RegionPredictor
from segue.models.weights import seal


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegionPredictor:
    return load_model(write_random_model(tmp_path_factory.mktemp("captioning") / "model.safetensors", 3))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return photo_folder(tmp_path, monkeypatch)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return watch(monkeypatch)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def sealed(change: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change tables and header, and seal them as if they were right."""

    def damage(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()[KEY].partition(" ")[2])
        tensors = load_file(path)
        change(tensors, header)
        path.write_bytes(save(tensors, {KEY: seal(tensors, json.dumps(header))}))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch here'\ntR."),
        lambda path: path.write_bytes(save({"x": torch.zeros(2)})),
        cut,
        flip,
        sealed(lambda t, h: h.pop("names")),
        sealed(lambda t, h: h.update(names=[*h["names"][:-1], 7])),
        sealed(lambda t, h: h.update(names=h["names"][:1] * 4)),
        sealed(lambda t, h: h.update(names=h["names"][:3])),
        sealed(lambda t, h: h.update(threshold=float("nan"))),
        sealed(lambda t, h: h.update(threshold="low")),
        sealed(lambda t, h: t.pop("labels")),
        sealed(lambda t, h: t.update(more=torch.zeros(1))),
        sealed(lambda t, h: t.update(codes=t["codes"].float())),
        sealed(lambda t, h: t.update(codes=t["codes"][:, 1:].contiguous())),
        sealed(lambda t, h: t.update(labels=torch.tensor(0))),
        sealed(lambda t, h: t["counts"].add_(1)),
        sealed(lambda t, h: t["counts"].add_(torch.tensor([-99, 99, 0, 0]))),
        sealed(lambda t, h: t["sizes"].neg_()),
        sealed(lambda t, h: t["labels"].add_(1)),
        sealed(lambda t, h: t["scores"].fill_(torch.nan)),
        sealed(lambda t, h: t["boxes"].fill_(torch.inf)),
        sealed(lambda t, h: t["codes"].fill_(torch.nan)),
    ],
)
def test_a_damaged_index_is_made_anew(
    model: RegionPredictor, folder: Path, looked: list[float], damage: Callable[[Path], None]
) -> None:
    first = find(model, QUERY, folder, threshold=LOW)
    damage(folder / NAME)
    again = find(model, QUERY, folder, threshold=LOW)
    assert same(again, first)
    assert len(looked) == 8
    (note,) = again.notes
    assert note.startswith(f"{folder / NAME}: ")
    assert note.endswith("; the index is made anew")
    assert find(model, QUERY, folder, threshold=LOW).notes == []
    assert len(looked) == 8


def test_names_in_an_index_are_no_paths(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    find(model, QUERY, folder, threshold=LOW)
    write_photo(folder.parent / "secret.png", 9)
    sealed(lambda t, h: h.update(names=["../secret.png", *h["names"][1:]]))(folder / NAME)
    search = find(model, QUERY, folder, threshold=LOW)
    assert sorted(match.file.name for match in search.matches) == ["0.png", "1.png", "2.png", "3.png"]
    assert len(looked) == 5


def test_a_folder_that_cannot_be_written_has_its_index_elsewhere(
    model: RegionPredictor, folder: Path, looked: list[float]
) -> None:
    (folder / NAME).mkdir()  # nor can anyone, not even root, rename a file to that
    (folder / NAME / "x").touch()
    first = find(model, QUERY, folder, threshold=LOW)
    inside, elsewhere = places(folder)
    assert (inside, first.notes) == (folder / NAME, [])
    assert elsewhere.is_file()
    assert same(find(model, QUERY, folder, threshold=LOW), first)
    assert len(looked) == 4
    elsewhere.unlink()
    elsewhere.mkdir()
    (note,) = find(model, QUERY, folder, threshold=LOW).notes
    assert "cannot write" in note
    assert note.endswith("the next search looks at all pictures again")


def test_the_index_that_knows_more_is_taken(model: RegionPredictor, folder: Path, looked: list[float]) -> None:
    find(model, QUERY, folder, threshold=LOW)
    inside, elsewhere = places(folder)
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(inside.read_bytes())
    write_photo(folder / "1.png", 11)
    find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 5
    inside_bytes = inside.read_bytes()
    inside.write_bytes(elsewhere.read_bytes())
    elsewhere.write_bytes(inside_bytes)
    find(model, QUERY, folder, threshold=LOW)
    assert len(looked) == 5


def test_an_index_is_of_a_model(model: RegionPredictor, folder: Path) -> None:
    find(model, QUERY, folder, threshold=LOW)
    reader = Reader(model_hash(model), 1, 16)
    index = read_index(folder / NAME, reader)
    assert index is not None
    assert list(index.entries) == ["0.png", "1.png", "2.png", "3.png"]
    assert read_index(folder / NAME, replace(reader, model="another")) is None
