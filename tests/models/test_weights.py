"""Model files: whole or refused, never half right."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from segue.errors import CheckpointError, UsageError
from segue.models.weights import (
    KEY,
    ModelFile,
    content_hash,
    load_state,
    load_what_fits,
    read_model,
    seal,
    write_model,
)
from segue.models.zoo import ZOO, find_model

STATE = {
    "a.weight": torch.tensor([[1.5, -2.25], [0.0, 1e-30]]),
    "b.count": torch.tensor(3),
    "c.half": torch.tensor([0.1, 0.2], dtype=torch.float16),
    "d.none": torch.zeros(0, 4),
}
MODEL = ModelFile(
    name="tést",
    network={"tasks": {"boxes": {}}, "width": 8},
    categories=[{"name": "nucleus", "id": 1}],
    resize=(100, 200),
    state=STATE,
    notes={"metrics": {"masks/AP": 0.5}},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def test_round_trip(path: Path) -> None:
    write_model(path, MODEL)
    read = read_model(path)
    assert same(read.state, STATE)
    assert replace(read, state={}) == replace(MODEL, state={})


def test_half_stores_float32_in_two_bytes_and_nothing_else(path: Path) -> None:
    write_model(path, MODEL, half=True)
    state = read_model(path).state
    assert state["a.weight"].dtype == torch.float16
    assert torch.equal(state["a.weight"], STATE["a.weight"].half())
    assert state["b.count"].dtype == torch.int64


def test_the_same_model_is_the_same_file(path: Path) -> None:
    contents = set()
    for _ in range(5):
        write_model(path, MODEL)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_tensors_of_any_layout_are_written(path: Path) -> None:
    state = {"x": torch.arange(12.0).view(3, 4).T, "y": torch.zeros(1, 2, 3, 4).to(memory_format=torch.channels_last)}
    write_model(path, replace(MODEL, state=state))
    assert same(read_model(path).state, state)


def test_every_flipped_bit_is_found(path: Path) -> None:
    write_model(path, MODEL)
    content = path.read_bytes()
    for place in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place // 2 % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            read_model(path)


def test_every_truncation_is_found(path: Path) -> None:
    write_model(path, MODEL)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            read_model(path)


def test_the_hash_depends_on_all_that_matters() -> None:
    x = torch.tensor([1.0, 2.0])
    states = [
        {"a": x},
        {"b": x},
        {"a": x[None]},
        {"a": x.double()},
        {"a": x.view(torch.int32)},
        {"a": torch.tensor([1.0, -2.0])},
        {"a": x, "b": x[:0]},
        {},
    ]
    hashes = {content_hash(state, header) for state in states for header in ("", "{}")}
    assert len(hashes) == 2 * len(states)
    assert content_hash({"a": x, "b": x}, "") == content_hash({"b": x, "a": x}, "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(path: Path, value: float) -> None:
    write_model(path, replace(MODEL, state={**STATE, "e": torch.tensor([1.0, value])}))
    with pytest.raises(CheckpointError, match="not numbers, first in e; train it again"):
        read_model(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": 99}, "format 99, this Segue reads 1; update segue"),
        ({"format": 1}, "makes no sense"),
        ([], "makes no sense"),
        ({"format": 1, "name": "x", "network": [3], "categories": [], "resize": None}, "makes no sense"),
        ({"format": 1, "name": "x", "network": {}, "categories": 3, "resize": None}, "makes no sense"),
        ({"format": 1, "name": "x", "network": {}, "categories": [], "resize": [1]}, "makes no sense"),
        ({"format": 1, "name": "x", "network": {}, "categories": [], "resize": "no"}, "makes no sense"),
    ],
)
def test_headers_that_make_no_sense(path: Path, header: object, message: str) -> None:
    save_file(STATE, path, {KEY: seal(STATE, json.dumps(header))})
    with pytest.raises(CheckpointError, match=message):
        read_model(path)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(path, MODEL)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match=r"model\.safetensors: cannot write: No space left"):
        write_model(path, replace(MODEL, state={}))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_header_is_readable_by_others(path: Path) -> None:
    write_model(path, MODEL)
    with safe_open(path, framework="pt") as file:
        digest, _, header = file.metadata()[KEY].partition(" ")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert json.loads(header)["notes"] == MODEL.notes


def test_load_state_is_exact_or_lists_what_differs() -> None:
    network = nn.Linear(2, 3)
    goal = {"weight": torch.ones(3, 2, dtype=torch.float16), "bias": torch.zeros(3)}
    load_state(network, goal, Path("m"))
    assert torch.equal(network.weight, torch.ones(3, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wrong = {"weight": torch.zeros(2, 3), "other": torch.zeros(1)}
    message = r"m: weights do not fit .*: 1 missing \(first bias\), 1 unknown \(first other\), 1 of another shape"
    with pytest.raises(CheckpointError, match=message):
        load_state(network, wrong, Path("m"))
    assert same(before, network.state_dict())


def test_load_what_fits_says_what_it_took() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    fresh = network[1].weight.detach().clone()
    state = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(4), "unknown": torch.ones(1)}
    assert load_what_fits(network, state) == (["0.weight"], ["0.bias", "1.weight", "1.bias"])
    assert torch.equal(network[0].weight, torch.ones(3, 2))
    assert torch.equal(network[1].weight, fresh)


def test_a_run_folder_means_its_best_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no best\.safetensors or last\.safetensors"):
        find_model(str(tmp_path))
    (tmp_path / "last.safetensors").write_bytes(b"")
    assert find_model(str(tmp_path)).name == "last.safetensors"
    (tmp_path / "best.safetensors").write_bytes(b"")
    assert find_model(str(tmp_path)).name == "best.safetensors"


def test_zoo_names() -> None:
    assert find_model("nuclei") == ZOO[0].path
    with pytest.raises(UsageError, match=r"unknown model 'nucleus'; did you mean 'nuclei'\?"):
        find_model("nucleus")
    with pytest.raises(UsageError, match="unknown model 'xyz'; see `segue models`"):
        find_model("xyz")
    assert find_model("some/where") == Path("some/where")
