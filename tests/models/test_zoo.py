"""The zoo: names, where its files are, and public weights that come once; no server but the loopback's is asked."""

import hashlib
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from segue.errors import CheckpointError, UsageError
from segue.models import checkpoints, download, zoo
from segue.models.download import WebFile
from segue.models.weights import ModelFile, read_model
from segue.models.zoo import FRAMEWORKS, ZOO, fetched, find_model, zoo_model
from segue.models.zoo_model import ZooModel
from segue.models.zoo_public import PUBLIC
from segue.models.zoo_text import describe, listing

NAME = "torchvision/maskrcnn_resnet50_fpn_v2"
CONTENT = b"weights of another framework"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: tuple[str, int]) -> None:
        assert address[0] == "127.0.0.1", "asked the network"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("SEGUE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every download brings `CONTENT`, and every conversion the same model; returns what was done."""
    done: list[str] = []

    def bring(file: WebFile, path: Path) -> None:
        done.append(f"download {file.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)

    def convert(path: Path, source: str | None = None) -> ModelFile:
        done.append(f"convert {source}")
        assert path.read_bytes() == CONTENT
        return ModelFile("any", {"tasks": {}}, [], None, {"a": torch.ones(2)}, {"converted": "yes"})

    monkeypatch.setattr(zoo, "download", bring)
    monkeypatch.setattr(checkpoints, "convert", convert)
    return done


def test_names_are_unique_and_say_their_framework() -> None:
    assert len({model.name for model in ZOO}) == len(ZOO) >= 29
    assert {*checkpoints.SOURCES} == FRAMEWORKS
    assert all(model.name.startswith(f"{model.source}/") for model in PUBLIC)


@pytest.mark.parametrize("model", PUBLIC, ids=lambda model: model.name)
def test_public_weights_are_told_completely(model: ZooModel) -> None:
    assert model.web
    assert model.web.url.startswith(("https://download.pytorch.org/models/", "https://dl.fbaipublicfiles.com/"))
    digits = {"torchvision": 8, "detectron2": 6, "meshrcnn": 0}[model.source]
    assert len(model.web.digest) == digits
    assert model.web.digest in model.web.name.rpartition(".")[0][-9:]
    int(model.web.digest or "0", 16)
    assert " on " in model.metric
    assert all(f"{task}/" in model.metric or task in ("semantic", "panoptic") for task in model.tasks.split(", "))
    assert ("CC-BY-SA 3.0" in model.licence) == (model.source == "detectron2")
    assert model.input.startswith("RGB" if model.source == "torchvision" else "BGR")
    assert model.state == "to download"


def test_listing_and_details_are_narrow_and_name_all() -> None:
    text = listing()
    assert max(len(line) for line in text.splitlines()) <= 100
    for model in ZOO:
        assert f"  {model.name} " in text
        for fact in (model.name, model.classes, model.metric, model.input, model.licence, model.state):
            assert fact in describe(model)
    assert "186 MB, to download" in text
    assert "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth" in describe(zoo_model(NAME))


def test_models_asks_no_network_and_imports_no_torch(run: Callable[..., str]) -> None:
    assert NAME in run("models")
    assert "sha256 73cbd019" in run("models", NAME)


def test_a_name_that_is_not_there(refused: Callable[..., str]) -> None:
    assert f"unknown model 'torchvision/maskrcnn'; did you mean '{NAME[:33]}" in refused(
        "models", "torchvision/maskrcnn"
    )
    with pytest.raises(UsageError, match="did you mean 'detectron2/mask_rcnn_R_50_FPN_3x'"):
        find_model("detectron2/mask_rcnn_R_50_FPN_3")


def test_a_file_below_a_folder_of_a_framework_s_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "mine").write_bytes(b"")
    assert find_model("torchvision/mine") == Path("torchvision/mine")
    assert find_model("torchvision/other.safetensors") == Path("torchvision/other.safetensors")


def test_public_weights_come_once_and_are_converted_once(
    served: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo, "check", lambda *_: None)
    path = find_model(NAME)
    assert path.parent == tmp_path / "cache" / "models" / NAME
    file = read_model(path)
    assert (file.name, file.notes["converted"]) == (NAME, "yes")
    assert file.notes["licence"].startswith("none stated")
    assert file.notes["url"].endswith("73cbd019.pth")
    said = capsys.readouterr().err
    assert said.startswith(f"segue: {NAME}: 186 MB; licence: none stated for the weights")
    assert zoo_model(NAME).state == "downloaded"
    assert find_model(NAME) == path
    assert served == ["download maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", "convert torchvision"]
    assert capsys.readouterr().err == ""
    path.unlink()  # as after an update of Segue
    find_model(NAME)
    assert served[2:] == ["convert torchvision"]


def test_a_file_that_was_put_there_by_hand_is_checked(served: list[str]) -> None:
    model = zoo_model(NAME)
    assert model.weights
    model.weights.parent.mkdir(parents=True)
    model.weights.write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match=r"SHA-256 begins with .{8}, not 73cbd019; remove it"):
        fetched(model)
    assert model.weights.exists()
    assert served == []
    assert model.web
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    fetched(replace(model, web=replace(model.web, digest=digest)))
    assert served == ["convert torchvision"]


def test_offline_the_error_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], tmp_path: Path
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise download.URLError(OSError(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(download, "urlopen", offline)
    with pytest.raises(CheckpointError) as error:
        find_model(NAME)
    file = "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"
    assert str(error.value) == (
        f"https://download.pytorch.org/models/{file}: cannot be downloaded (Temporary failure in name resolution); "
        f"try again, or fetch it elsewhere and put it at {tmp_path / 'cache' / 'models' / NAME / file}"
    )


def test_from_a_server_to_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(CONTENT)
    model = ModelFile("any", {"tasks": {}}, [], None, {"a": torch.ones(2)})
    monkeypatch.setattr(checkpoints, "convert", lambda path, source: model)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        web = WebFile(f"http://127.0.0.1:{server.server_port}/weights.pth", "sha256", "00000000")
        entry = replace(zoo_model(NAME), web=web)
        with pytest.raises(CheckpointError, match="not 00000000"):
            fetched(entry)
        assert entry.state == "to download"
        entry = replace(entry, web=replace(web, digest=hashlib.sha256(CONTENT).hexdigest()[:8]))
        assert read_model(fetched(entry)).name == NAME
        server.shutdown()
        thread.join()
    assert entry.weights
    assert entry.weights.read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="folders of other rights")
def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGUE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write"):
        find_model(NAME)
