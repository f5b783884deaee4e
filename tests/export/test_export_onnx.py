"""`segue export`: whole networks as files, by the command, against the model."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

import segue
from segue.data.images import to_pil
from segue.engine.load import load_trained
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.export import onnx_file
from segue.export.check import Differences, Session
from segue.models.inference import Speed
from segue.models.one_graph import RegionGraph


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model of nuclei, exported."""
    path = tmp_path_factory.mktemp("exported") / "nuclei.onnx"
    onnx_file.export_onnx(load_trained("nuclei"), path)
    return path


def pictures(count: int, h: int, w: int, seed: int = 0) -> torch.Tensor:
    from segue.data.cells import make_cells

    return torch.stack([make_cells((seed, i), (h, w))[0] for i in range(count)])


@pytest.mark.parametrize(("count", "h", "w"), [(1, 96, 96), (3, 131, 70), (2, 64, 257)])
def test_any_number_of_pictures_of_any_size(nuclei: Path, count: int, h: int, w: int) -> None:
    images, threshold = pictures(count, h, w), torch.tensor(0.3)
    with torch.no_grad():
        expected = RegionGraph(load_trained("nuclei").network)(images, threshold)
    found = Session(nuclei.read_bytes()).run([images, threshold])
    assert found.keys() == expected.keys()
    assert {name: v.shape for name, v in found.items()} == {name: v.shape for name, v in expected.items()}
    differences = Differences()
    differences.add(expected, found, 0.3)
    assert differences.detections > count
    assert differences.fault == ""


def test_the_file_finds_what_predict_finds(nuclei: Path) -> None:
    image = pictures(1, 128, 160, seed=4)
    regions = segue.load("nuclei", "cpu").predict(image[0], threshold=0.5).regions
    found = Session(nuclei.read_bytes()).run([image, torch.tensor(0.5)])
    valid = found["valid"][0]
    assert int(valid.sum()) == len(regions) > 3
    torch.testing.assert_close(found["boxes"][0, valid], regions.boxes, atol=0.05, rtol=0)
    torch.testing.assert_close(found["scores"][0, valid], regions.scores, atol=1e-4, rtol=0)


def test_a_picture_without_objects_leaves_every_slot_empty(nuclei: Path) -> None:
    found = Session(nuclei.read_bytes()).run([torch.zeros(2, 3, 90, 70, dtype=torch.uint8), torch.tensor(0.3)])
    assert not any(values.any() for values in found.values())


def test_the_file_is_standard_and_says_what_it_is(nuclei: Path) -> None:
    model = onnx.load(nuclei)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.domain for entry in model.opset_import] == [""]
    assert not model.functions
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["segue.model"] == "nuclei"
    assert said["segue.licence"].startswith("Apache-2.0")
    assert [category["name"] for category in json.loads(said["segue.categories"])] == ["nucleus"]
    compared = json.loads(said["segue.differences"])
    assert compared["pictures"] >= 4
    assert 0 < compared["scores"] <= 1e-4


def test_the_program_of_the_page(
    nuclei: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/export.md, "In Python, without Segue or PyTorch"."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "toybox.onnx").symlink_to(nuclei)
    image = pictures(1, 128, 160, seed=4)[0]
    to_pil(image).save(tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    printed = capsys.readouterr().out.splitlines()
    regions = segue.load("nuclei", "cpu").predict(image, threshold=0.5).regions
    assert regions.masks is not None
    areas = [int(line.split()[-2]) for line in printed]
    assert all(line.startswith("nucleus 0.") and line.endswith(" pixels") for line in printed)
    expected = pytest.approx(regions.masks.area.tolist(), rel=0.2, abs=8)  # boxes are rounded there
    assert areas == expected


def test_more_objects_than_slots(model_file: Path) -> None:
    """The tiny model finds 20 things in any picture, which are all that it has room for."""
    predictor, images = load_trained(model_file), pictures(2, 100, 120)
    with torch.no_grad():
        found = RegionGraph(predictor.network)(images, torch.tensor(0.0))
    assert found["valid"].shape == (2, 20)
    assert found["valid"].all()
    torch.testing.assert_close(found["boxes"][1], predictor.predict(images[1], threshold=0.0).regions.boxes)


def test_a_semantic_network_by_the_command(street_run: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    printed = run("export", "--model", street_run, "--out", tmp_path / "street.onnx")
    assert "street.onnx: the same as the model" in printed
    image = torch.randint(0, 256, (1, 3, 50, 61), dtype=torch.uint8)
    scene = segue.load(street_run, "cpu").predict(image[0])
    found = Session((tmp_path / "street.onnx").read_bytes()).run([image])
    assert float((found["semantic"][0] == scene.semantic).float().mean()) > 0.999


def test_strict_export_gives_the_same(model_file: Path) -> None:
    graph = RegionGraph(load_trained(model_file).network)
    inputs, free = onnx_file.example(graph), torch.export.Dim.DYNAMIC
    shapes = {"images": {0: free, 2: free, 3: free}, "threshold": None}
    program = torch.export.export(graph, (), inputs, dynamic_shapes=shapes, strict=True).module()
    images, threshold = pictures(1, 130, 200), torch.tensor(0.3)
    with torch.no_grad():
        expected, found = graph(images, threshold), program(images=images, threshold=threshold)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)


def test_refusals(refused: Callable[..., str]) -> None:
    assert "an ONNX file ends in .onnx" in refused("export", "--model", "nuclei", "--out", "x.bin")
    assert "invalid choice: 'tflite'" in refused("export", "--model", "nuclei", "--format", "tflite", "--out", "x.onnx")
    assert "unknown model 'nuclie'" in refused("export", "--model", "nuclie", "--out", "x.onnx")
    assert "unknown model 'nuclei+toybox'" in refused("export", "--model", "nuclei+toybox", "--out", "x.onnx")


def test_a_place_that_cannot_be_written(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("")
    below, folder = tmp_path / "file" / "x.onnx", tmp_path / "y.onnx"
    folder.mkdir()
    line = refused("export", "--model", "nuclei", "--out", below)
    assert f"{below}: cannot write" in line
    assert "choose another place" in line
    assert f"{folder}: is a folder; name a file" in refused("export", "--model", "nuclei", "--out", folder)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_too_old(
    package: str, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "version", lambda name: "0.1.19" if name == package else "99.0")
    line = refused("export", "--model", "nuclei", "--out", tmp_path / "x.onnx")
    oldest = ".".join(map(str, onnx_file.NEEDED[package]))
    assert f"segue export: {package} 0.1.19 is older than {oldest}; pip install 'segue[export]'" in line
    assert not (tmp_path / "x.onnx").exists()


def test_what_is_needed_is_what_the_extra_installs() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    asked = dict(text.split(">=") for text in extras["optional-dependencies"]["export"])
    assert {name: tuple(map(int, asked[name].split("."))) for name in onnx_file.NEEDED} == onnx_file.NEEDED


@pytest.mark.filterwarnings("ignore:this processor")
@pytest.mark.parametrize("speed", ["exact", "fast", "int8"])
def test_a_network_in_its_form_for_inference(speed: Speed, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    predictor = segue.load(model_file, "cpu", speed, list(pictures(1, 96, 96)) if speed == "int8" else None)
    with pytest.raises(UsageError, match=r"tiny: .*cannot be exported; take that of .*load_trained"):
        onnx_file.export_onnx(predictor, out)
    assert not out.exists()


def test_the_file_multiplies_in_32_bits(refused: Callable[..., str]) -> None:
    for speed in ("fast", "int8"):
        line = refused("export", "--model", "nuclei", "--out", "x.onnx", "--speed", speed)
        assert f"--speed: invalid choice: '{speed}'" in line
        assert line.endswith("see segue export --help")


def test_captions_that_the_model_searches_with_beams_are_announced() -> None:
    predictor = load_trained("toybox")
    assert isinstance(predictor, RegionPredictor)
    assert predictor.captions is not None
    onnx_file.warn_of_beams(predictor)  # the bundled model takes the likeliest word, as the file does
    predictor.captions.settings = replace(predictor.captions.settings, beams=3)
    with pytest.warns(UserWarning, match="captions follow 3 beams in the model"):
        onnx_file.warn_of_beams(predictor)


def test_a_graph_that_gives_something_else_is_not_written(
    street_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: torch.nn.Module, name: str) -> tuple[object, list[str]]:
        made = traced(copy.deepcopy(graph), name)
        for parameter in graph.parameters():
            torch.nn.init.normal_(parameter)
        return made

    traced = onnx_file.traced
    monkeypatch.setattr(onnx_file, "traced", wrong)
    with pytest.raises(UsageError, match="gives something else"):
        onnx_file.export_onnx(load_trained(street_run), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
