"""Whatever a user gets wrong: exit code 2 or 3, one line with the file and the cure, and nothing lost."""

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from segue.cli import main
from segue.data.cells import make_cells
from segue.data.images import to_pil
from segue.engine.region_predictor import RegionPredictor
from segue.models.weights import read_model, write_model

Refused = Callable[..., str]


# --- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND", "segue --help"]),
        (["prdict", "x.png"], ["prdict", "predict", "segue --help"]),
        (["predict"], ["INPUT", "segue predict --help"]),
        (["predict", "x.png", "--colour"], ["--colour", "--help"]),
        (["predict", "x.png", "--threshold", "high"], ["--threshold", "'high' is not a number from 0 to 1"]),
        (["predict", "x.png", "--threshold", "nan"], ["--threshold", "'nan'"]),
        (["predict", "x.png", "--batch", "0"], ["--batch", "'0' is neither auto nor a whole number from 1"]),
        (["predict", "x.png", "--batch", "zero"], ["--batch", "'zero' is neither auto nor a whole number from 1"]),
        (["predict", "x.png", "--tile", "-5"], ["--tile"]),
        (["evaluate", "--data", "x"], ["--model", "--predictions"]),
        (["evaluate", "--data", "x", "--model", "a", "--predictions", "b"], ["not allowed"]),
        (["data", "make", "dogs", "--out", "x"], ["dogs", "cells"]),
        (["data", "make", "cells"], ["--out"]),
    ],
)
def test_arguments_that_make_no_sense(refused: Refused, arguments: list[str], words: list[str]) -> None:
    line = refused(*arguments)
    assert all(word in line for word in words), line


def test_debug_shows_the_traceback_and_the_same_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["data", "check", str(tmp_path / "none.json")]
    assert main(arguments) == 2
    line = capsys.readouterr().err
    for debug in (["--debug", *arguments], [*arguments, "--debug"]):
        assert main(debug) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("Traceback")
        assert shown.endswith(line)


# --- pictures ----------------------------------------------------------------------------------------------------


def bomb(width: int = 60000, height: int = 60000) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def animation() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.effect_noise((20, 20), 60) for _ in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(buffer, kind)
    return buffer.getvalue()


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.png": (lambda: encoded("PNG")[:2000], "damaged"),
    "truncated.jpg": (lambda: encoded("JPEG")[:900], "damaged"),
    "empty.png": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"this is no picture", "known format"),
    "animated.gif": (animation, "several frames"),
    "bomb.png": (bomb, "pixels"),
    "video.mp4": (lambda: b"no video", "not a video"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture(refused: Refused, name: str, model_file: Path, tmp_path: Path) -> None:
    make, word = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(make())
    line = refused("predict", path, "--model", model_file, "--out", tmp_path / "out")
    assert str(path) in line
    assert word in line
    assert "; " in line  # the cure
    assert list((tmp_path / "out").iterdir()) == []


def test_some_broken_pictures_among_others(refused: Refused, cells: Path, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, (make, _) in BROKEN.items():
        (folder / name).write_bytes(make())
    for name in ("a.png", "z.png"):
        (folder / name).write_bytes((cells.parent / "cells_000.png").read_bytes())
    out = tmp_path / "out"
    line = refused("predict", folder, "--model", model_file, "--out", out, "--batch", "4", code=3)
    assert f"{len(BROKEN)} of {len(BROKEN) + 2} inputs failed" in line
    assert all(name in line for name in BROKEN)
    assert {p.name for p in out.iterdir()} == {"a.png", "z.png", "scenes.json"}
    scenes = json.loads((out / "scenes.json").read_text())["scenes"]
    assert [Path(scene["file"]).name for scene in scenes] == ["a.png", "z.png"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.png", ["no such file", "check the path"]),
        ("*.png", ["matches no file", "check"]),
        ("folder", ["no picture", "name a folder"]),
        ("a" * 300 + ".png", ["too long"]),
        ("new\nline\x1b]31m.png", ["no such file", "check the path"]),
    ],
)
def test_inputs_that_are_not_there(
    refused: Refused, name: str, words: list[str], model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    line = refused("predict", tmp_path / name, "--model", model_file, "--out", tmp_path / "out")
    assert all(word in line for word in words), line
    assert line.isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_the_smallest_pictures_are_fine(size: tuple[int, int], model_file: Path, tmp_path: Path) -> None:
    Image.new("L", size, 77).save(tmp_path / "small.png")
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "small.png"), "--model", str(model_file), "--out", str(out)]) == 0
    scene = json.loads((out / "scenes.json").read_text())["scenes"][0]
    assert (scene["width"], scene["height"]) == size


@pytest.mark.parametrize("name", ["nuclei", "toybox"])
@pytest.mark.parametrize("tiles", [[], ["--tile", "512"]])
def test_bundled_models_take_pictures_of_odd_sizes_and_refuse_what_is_too_large(
    refused: Refused, name: str, tiles: list[str], tmp_path: Path
) -> None:
    folder, out = tmp_path / "odd", tmp_path / "out"
    folder.mkdir()
    sizes = {"dot.png": (1, 1), "flat.png": (8000, 5), "tall.png": (5, 8000), "void.png": (200, 100)}
    for file, size in sizes.items():
        Image.new("RGB", size, (0, 0, 0)).save(folder / file)
    (folder / "wide.png").write_bytes(bomb(30000, 20000))
    line = refused("predict", folder, "--model", name, "--out", out, *tiles, code=3)
    assert "1 of 5 inputs failed" in line
    assert "wide.png: more than 178,956,970 pixels; scale it down" in line
    scenes = {Path(s["file"]).name: s for s in json.loads((out / "scenes.json").read_text())["scenes"]}
    assert {file: (scene["width"], scene["height"]) for file, scene in scenes.items()} == sizes
    assert scenes["dot.png"]["regions"] == scenes["void.png"]["regions"] == []


@pytest.mark.parametrize("tiles", [[], ["--tile", "64"]])
def test_more_objects_than_the_network_has_room_for(tiles: list[str], model_file: Path, tmp_path: Path) -> None:
    """It has room for 20, of each tile if there are tiles."""
    pixels = make_cells(0, (128, 128), (60, 80))[0]
    to_pil(pixels).save(tmp_path / "crowd.png")
    out = tmp_path / "out"
    arguments = ["--model", str(model_file), "--threshold", "0", "--out", str(out), *tiles]
    assert main(["predict", str(tmp_path / "crowd.png"), *arguments]) == 0
    found = len(json.loads((out / "scenes.json").read_text())["scenes"][0]["regions"])
    assert (found == 20) if not tiles else (20 < found <= 9 * 20)


def test_a_picture_that_memory_has_no_room_for(
    refused: Refused, cells: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RegionPredictor, "scenes", lambda *given: torch.empty(1 << 60))
    picture = cells.parent / "cells_000.png"
    line = refused("predict", picture, "--model", model_file, "--out", tmp_path / "out")
    assert "memory has no room for what the network makes of it" in line
    assert "--tile" in line
    assert str(picture) in line


# --- places ------------------------------------------------------------------------------------------------------


def test_an_output_folder_that_cannot_be(refused: Refused, cells: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    photo = cells.parent / "cells_000.png"
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        line = refused("predict", photo, "--model", model_file, "--out", out)
        assert str(out) in line
        assert "cannot write" in line
        assert "choose another place" in line
    commands: list[list[object]] = [
        ["data", "make", "cells", "--out", tmp_path / "file"],
        ["data", "show", cells, "--out", tmp_path / "file" / "sheet.png"],
    ]
    for command in commands:
        assert str(tmp_path / "file") in refused(*command)
    assert (tmp_path / "file").read_text() == "mine"


def test_make_keeps_what_a_folder_holds(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    line = refused("data", "make", "cells", "--out", tmp_path / "full")
    assert "diary.txt" in line
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["diary.txt"]


def test_earlier_results_stay_whole_when_predict_fails(
    refused: Refused, cells: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, photo = tmp_path / "out", cells.parent / "cells_000.png"
    assert main(["predict", str(photo), "--model", str(model_file), "--out", str(out)]) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (tmp_path / "bad.png").write_bytes(b"bad")
    refused("predict", tmp_path / "bad.png", "--model", model_file, "--out", out)
    refused("predict", photo, "--model", tmp_path / "none.safetensors", "--out", out)
    refused("predict", photo, "--model", model_file, "--out", out, "--tile", "10")
    monkeypatch.setattr("segue.engine.predict.overlay", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert "No space left" in refused("predict", photo, "--model", model_file, "--out", out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


# --- models ------------------------------------------------------------------------------------------------------


class Attack:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.target, "owned"))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def foreign(path: Path, model_file: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}, path)


def bare(path: Path, model_file: Path) -> None:
    save_file(load_file(model_file), path)


def swapped(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    state = {name.replace("trunk.", "body."): tensor for name, tensor in model.state.items()}
    write_model(path, type(model)(**{**vars(model), "state": state}))


def resized(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    network = {**model.network, "pyramid": {**model.network["pyramid"], "channels": 24}}
    write_model(path, type(model)(**{**vars(model), "network": network}))


def empty_state(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    write_model(path, type(model)(**{**vars(model), "state": {}}))


def impossible(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    network = {**model.network, "backbone": {**model.network["backbone"], "width": 10**12}}
    write_model(path, type(model)(**{**vars(model), "network": network}))


def no_classes(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    write_model(path, type(model)(**{**vars(model), "categories": [{"name": "x"}]}))


def nan(path: Path, model_file: Path) -> None:
    model = read_model(model_file)
    state = {**model.state}
    name = next(n for n, t in state.items() if t.is_floating_point())
    state[name] = torch.full_like(state[name], float("nan"))
    write_model(path, type(model)(**{**vars(model), "state": state}))


MODELS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "foreign": (foreign, "something else than a Segue model"),
    "bare": (bare, "something else than a Segue model"),
    "swapped": (swapped, "do not fit the network"),
    "resized": (resized, "of another shape"),
    "empty_state": (empty_state, "missing"),
    "impossible": (impossible, "impossible network"),
    "no_classes": (no_classes, "impossible network"),
    "nan": (nan, "not numbers"),
    "truncated": (lambda path, file: path.write_bytes(file.read_bytes()[:-1000]), "not a whole safetensors file"),
    "empty": (lambda path, file: path.write_bytes(b""), "not a whole safetensors file"),
    "flipped": (lambda path, file: path.write_bytes(flipped(file.read_bytes(), -77)), "does not match its hash"),
    "torch": (lambda path, file: torch.save({"a": torch.zeros(2)}, path), "not a whole safetensors file"),
    "folder": (lambda path, file: path.mkdir(), "no best.safetensors"),
    "missing": (lambda path, file: None, "no such model file"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_files_that_are_no_model(refused: Refused, kind: str, cells: Path, model_file: Path, tmp_path: Path) -> None:
    path, (make, word) = tmp_path / "m.safetensors", MODELS[kind]
    make(path, model_file)
    line = refused("predict", cells.parent / "cells_000.png", "--model", path, "--out", tmp_path / "out")
    assert str(path) in line
    assert word in line
    assert "; " in line
    assert len(line) < 600
    assert not (tmp_path / "out").exists()
    assert word in refused("evaluate", "--model", path, "--data", cells)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_run(
    refused: Refused, protocol: int, cells: Path, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    path, owned = tmp_path / "m.safetensors", tmp_path / "owned"
    path.write_bytes(pickle.dumps(Attack(owned), protocol))
    assert "not a whole safetensors file" in refused("predict", cells.parent / "cells_000.png", "--model", path)
    recipe = write_recipe(weights=str(path))
    assert str(path) in refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert not owned.exists()


def test_a_name_with_a_typo(refused: Refused, cells: Path) -> None:
    line = refused("predict", cells.parent / "cells_000.png", "--model", "nuclie")
    assert "unknown model 'nuclie'" in line
    assert "did you mean 'nuclei'?" in line


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "cuda:x", "", "cpu:0"])
def test_a_device_that_is_not_there(
    refused: Refused, device: str, cells: Path, model_file: Path, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    commands: list[list[object]] = [
        ["predict", cells.parent / "cells_000.png", "--model", model_file],
        ["evaluate", "--model", model_file, "--data", cells],
        ["train", write_recipe(), "--out", tmp_path / "run"],
    ]
    for command in commands:
        line = refused(*command, "--device", device)
        assert f"no device {device!r}" in line
        assert "use auto, cpu" in line
    assert not (tmp_path / "run").exists()


def test_tasks_and_tiles_that_are_not_there(refused: Refused, cells: Path, model_file: Path) -> None:
    predict = ("predict", cells.parent / "cells_000.png", "--model", model_file)
    line = refused(*predict, "--tasks", "boxes,meshes")
    assert "no task 'meshes'" in line
    assert "it has boxes, masks" in line
    assert "no task ''" in refused(*predict, "--tasks", "")
    line = refused(*predict, "--tile", "63")
    assert "63 pixels are too small" in line
    assert "64 or more" in line


# --- annotations -------------------------------------------------------------------------------------------------

Content = dict[str, Any]


def first(content: Content, **values: Any) -> None:
    content["annotations"][0] |= values


FAULTS: dict[str, tuple[Callable[[Content], object], str]] = {
    "image-missing": (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png"),
    "path-outside": (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "leads out"),
    "path-outside, absolute": (lambda c: c["images"][0].update(file_name="/etc/passwd"), "leads out"),
    "unknown-category": (lambda c: first(c, category_id=99), "no category 99"),
    "unknown-image": (lambda c: first(c, image_id=99), "no image 99"),
    "box-empty": (lambda c: first(c, bbox=[5, 5, 0, 9]), "no area"),
    "box-outside": (lambda c: first(c, bbox=[500, 5, 9, 9]), "outside"),
    "box": (lambda c: first(c, bbox=[5, 5, float("nan"), 9]), "finite"),
    "polygon": (lambda c: first(c, segmentation=[[1, 2, 3, 4]]), "4 numbers"),
    "rle": (lambda c: first(c, segmentation={"size": [9, 9], "counts": [81]}), "size"),
    "rle, too short": (lambda c: first(c, segmentation={"size": [256, 256], "counts": [81]}), "81 pixels"),
    "id-twice": (lambda c: first(c, id=c["annotations"][1]["id"]), "have id"),
    "id-twice, images": (lambda c: c["images"][0].update(id=c["images"][1]["id"]), "have id"),
    "key": (lambda c: c["annotations"][0].pop("bbox"), "bbox"),
    "structure": (lambda c: c.pop("categories"), "categories"),
}


@pytest.fixture
def spoil(cells: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the synthetic annotations with some faults in."""

    def write(*faults: str) -> Path:
        content = json.loads(cells.read_text())
        for fault in faults:
            FAULTS[fault][0](content)
        path = tmp_path / "spoilt.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.mark.parametrize("fault", FAULTS)
def test_annotations_with_a_fault(
    refused: Refused, fault: str, spoil: Callable[..., Path], cells: Path, tmp_path: Path, write_recipe: Any
) -> None:
    path, word, code = spoil(fault), FAULTS[fault][1], fault.split(",")[0]
    line = refused("data", "check", path, "--images", cells.parent)
    assert str(path) in line
    assert "fatal" in line
    printed = refused.out  # type: ignore[attr-defined]
    assert f"fatal {code}: " in printed
    assert word in printed
    recipe = write_recipe(data={"train": str(path), "images": str(cells.parent)})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert str(path) in line
    assert "segue data check" in line
    assert not (tmp_path / "run").exists()


def test_no_command_takes_faulty_annotations(
    refused: Refused, spoil: Callable[..., Path], cells: Path, model_file: Path, tmp_path: Path
) -> None:
    path = spoil("box-empty")
    (tmp_path / "none.json").write_text("[]")
    for command in (
        ["evaluate", "--model", model_file, "--data"],
        ["evaluate", "--predictions", tmp_path / "none.json", "--data"],
        ["data", "show"],
    ):
        line = refused(*command, path, "--images", cells.parent)
        assert str(path) in line
        assert "segue data check" in line


def test_check_lists_all_faults_at_once(refused: Refused, spoil: Callable[..., Path], cells: Path) -> None:
    path = spoil("image-missing", "unknown-category", "rle")
    content = json.loads(path.read_text())
    for row in content["annotations"][10:20]:
        row["bbox"] = [0, 0, 0, 0]
    path.write_text(json.dumps(content))
    line = refused("data", "check", path, "--images", cells.parent)
    assert "13 fatal faults" in line
    printed = refused.out  # type: ignore[attr-defined]
    for text in ("image-missing: 1", "unknown-category: 1", "rle: 1", "box-empty: 10", "and 5 more"):
        assert text in printed


def test_names_cannot_steer_the_terminal(refused: Refused, cells: Path, tmp_path: Path) -> None:
    content = json.loads(cells.read_text())
    content["images"][0]["file_name"] = "\x1b[2J\x1b]0;owned\x07.png"
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content))
    refused("data", "check", path, "--images", cells.parent)
    assert all(line.isprintable() for line in refused.out.splitlines())  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[]", "3", '{"images": 1}', "\0", '{"a": 1e999}'])
def test_files_that_are_no_annotations(refused: Refused, content: str, tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(content)
    for command in (["data", "check"], ["data", "show"], ["evaluate", "--model", model_file, "--data"]):
        assert str(path) in refused(*command, path)


def test_data_that_is_not_there(refused: Refused, tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    for name in ("nowhere", tmp_path / "none.json", tmp_path):
        line = refused("data", "show", name)
        assert str(name) in line
        assert "; " in line
    line = refused("train", write_recipe(data={"train": "nowhere"}), "--out", tmp_path / "run", "--device", "cpu")
    assert "nowhere" in line
    assert "SEGUE_DATA" in line


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_breaks_while_training(
    refused: Refused, workers: int, cells: Path, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    content = json.loads(cells.read_text())
    content["images"] = content["images"][:1]
    number = content["images"][0]["id"]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == number]
    path = tmp_path / "data" / "data.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    broken = path.parent / content["images"][0]["file_name"]
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    recipe = write_recipe(data={"train": str(path), "val": None}, training={"workers": workers})
    line = refused("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    assert str(broken) in line
    assert len(line) < 400


# --- recipes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--set", "training.stepz=3"], "did you mean 'steps'"),
        (["--set", "training.steps=-3"], "steps must be at least 1"),
        (["--set", "nonsense"], "write --set key.in.dots=value"),
        (["--resume"], "train without --resume"),
        (["--set", "weights=nuclie"], "did you mean 'nuclei'"),
    ],
)
def test_recipes_that_ask_for_the_impossible(
    refused: Refused, arguments: list[str], word: str, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    line = refused("train", write_recipe(), "--out", tmp_path / "run", "--device", "cpu", *arguments)
    assert word in line


def test_a_recipe_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    assert "no such recipe" in refused("train", tmp_path / "none.yaml")
    (tmp_path / "tag.yaml").write_text("name: !!python/object/apply:os.system ['echo owned']")
    assert "tag.yaml" in refused("train", tmp_path / "tag.yaml")


# --- predictions -------------------------------------------------------------------------------------------------


def scenes(**changes: Any) -> Content:
    region = {
        "label": "nucleus",
        "score": 0.5,
        "bbox": [1, 1, 8, 8],
        "segmentation": {"size": [256, 256], "counts": [9, 9, 65518]},
        **changes.pop("region", {}),
    }
    scene = {"file": "cells_000.png", "width": 256, "height": 256, "regions": [region], **changes.pop("scene", {})}
    return {"version": 1, "model": "x", "scenes": [scene], **changes}


PREDICTIONS: dict[str, object] = {
    "no scenes": {"version": 1},
    "scenes no list": scenes(scenes={"a": 1}),
    "another version": scenes(version=99),
    "scene no object": scenes(scenes=[3]),
    "another picture": scenes(scene={"file": "other.png"}),
    "path outside": scenes(scene={"file": "../../etc/passwd"}),
    "another size": scenes(scene={"width": 10}),
    "huge size": scenes(scene={"width": 10**30}),
    "negative size": scenes(scene={"width": -256}),
    "unknown label": scenes(region={"label": "dog"}),
    "NaN score": scenes(region={"score": float("nan")}),
    "score as text": scenes(region={"score": "0.5"}),
    "score above one": scenes(region={"score": 7}),
    "infinite box": scenes(region={"bbox": [0, 0, float("inf"), 3]}),
    "no box": scenes(region={"bbox": None}),
    "negative box": scenes(region={"bbox": [0, 0, -4, 3]}),
    "RLE of another size": scenes(region={"segmentation": {"size": [9, 9], "counts": [81]}}),
    "RLE too short": scenes(region={"segmentation": {"size": [256, 256], "counts": [3]}}),
    "RLE of control characters": scenes(region={"segmentation": {"size": [256, 256], "counts": "\x01\x02"}}),
    "RLE of huge numbers": scenes(region={"segmentation": {"size": [256, 256], "counts": "o" * 5000}}),
    "polygon of two points": scenes(region={"segmentation": [[1, 2, 3, 4]]}),
    "regions no list": scenes(scene={"regions": "many"}),
    "result of unknown image": [{"image_id": 99, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}],
    "result of unknown category": [{"image_id": 1, "category_id": 99, "score": 1, "bbox": [0, 0, 1, 1]}],
    "result with NaN": [{"image_id": 1, "category_id": 1, "score": float("nan"), "bbox": [0, 0, 1, 1]}],
    "result without content": [{"image_id": 1, "category_id": 1, "score": 1}],
    "result no object": [[]],
    "annotations": {"images": [], "annotations": [], "categories": []},
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_hostile_predictions(refused: Refused, kind: str, cells: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(PREDICTIONS[kind]))
    line = refused("evaluate", "--predictions", path, "--data", cells, "--out", tmp_path / "numbers.json")
    assert str(path) in line
    assert "; " in line
    assert not (tmp_path / "numbers.json").exists()


def test_the_same_predictions_without_a_fault_are_taken(cells: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(scenes()))
    assert main(["evaluate", "--predictions", str(path), "--data", str(cells)]) == 0


def test_predictions_that_are_not_there(refused: Refused, cells: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        assert str(path) in refused("evaluate", "--predictions", path, "--data", cells)


def test_a_model_of_other_classes(
    refused: Refused, cells: Path, model_file: Path, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    content = json.loads(cells.read_text())
    content["categories"][0]["name"] = "dog"
    path = tmp_path / "dogs.json"
    path.write_text(json.dumps(content))
    line = refused("evaluate", "--model", model_file, "--data", path, "--images", cells.parent)
    assert "dog" in line
    assert "nucleus" in line
