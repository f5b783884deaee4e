"""The command line from the outside: what each command does, prints and leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segue
from segue.cli import main
from segue.data.video import frames, write_video
from segue.engine.output import read_scenes
from segue.structures import Masks
from segue.tasks import BOXES, MASKS

Run = Callable[..., str]
LOW = ("--threshold", "0.3", "--device", "cpu")


@pytest.fixture
def photos(cells: Path, tmp_path: Path) -> Path:
    """A folder with three of the synthetic pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        shutil.copy(cells.parent / f"cells_00{i}.png", folder)
    return folder


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_predict_leaves_what_was_promised_and_nothing_else(
    run: Run, photos: Path, model_file: Path, tmp_path: Path
) -> None:
    before = files_below(tmp_path)
    text = run("predict", photos, "--model", model_file, "--out", tmp_path / "out", *LOW)
    assert text.startswith("60 regions in 3 inputs")
    names = {f"out/cells_00{i}.png" for i in range(3)} | {"out/scenes.json"}
    assert files_below(tmp_path) - before == names
    content = json.loads((tmp_path / "out" / "scenes.json").read_text())
    assert content.keys() == {"version", "model", "scenes"}
    assert (content["version"], content["model"]) == (1, "tiny")
    model = segue.load(model_file, device="cpu")
    for entry, photo in zip(content["scenes"], sorted(photos.iterdir()), strict=True):
        assert entry.keys() == {"file", "width", "height", "regions", "overlay"}
        assert entry["file"] == photo.as_posix()
        assert (entry["width"], entry["height"]) == (256, 256)
        with Image.open(tmp_path / "out" / entry["overlay"]) as overlay:
            assert overlay.size == (256, 256)
            assert not np.array_equal(np.asarray(overlay), np.asarray(Image.open(photo).convert("RGB")))
        regions = model.predict(photo, threshold=0.3).regions
        for i, row in enumerate(entry["regions"]):
            assert row.keys() == {"label", "score", "bbox", "segmentation"}
            assert row["label"] == "nucleus"
            assert row["score"] == pytest.approx(float(regions.scores[i]), abs=1e-6)
            x, y, w, h = row["bbox"]
            assert [x, y, x + w, y + h] == pytest.approx(regions.boxes[i].tolist(), abs=2e-3)
            assert row["segmentation"]["size"] == [256, 256]
    parsers = {"boxes": BOXES.parse, "masks": MASKS.parse}
    for scene, photo in zip(read_scenes(tmp_path / "out/scenes.json", parsers), sorted(photos.iterdir()), strict=True):
        assert isinstance(scene.regions.masks, Masks)
        assert torch.equal(scene.regions.masks.dense(), model.predict(photo, threshold=0.3).regions.masks.dense())


def test_predict_writes_below_the_working_folder_by_default(run: Run, photos: Path, model_file: Path) -> None:
    run("predict", photos / "cells_000.png", "--model", model_file, *LOW)
    assert files_below(Path.cwd()) == {"segue-out/scenes.json", "segue-out/cells_000.png"}


def test_predict_into_its_input_folder_keeps_the_input(run: Run, photos: Path, model_file: Path) -> None:
    before = {p.name: p.read_bytes() for p in photos.iterdir()}
    for _ in range(2):  # the second run replaces what the first wrote
        run("predict", photos / "cells_000.png", "--model", model_file, "--out", photos, *LOW)
    assert {name: (photos / name).read_bytes() for name in before} == before
    overlay = json.loads((photos / "scenes.json").read_text())["scenes"][0]["overlay"]
    assert overlay not in before
    assert files_below(photos) == {*before, overlay, "scenes.json"}


def test_two_inputs_of_one_name_get_two_overlays(run: Run, photos: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(photos / "cells_001.png", tmp_path / "more" / "cells_000.png")
    both = (photos / "cells_000.png", tmp_path / "more" / "cells_000.png")
    run("predict", *both, "--model", model_file, "--out", tmp_path / "out", *LOW)
    scenes = json.loads((tmp_path / "out" / "scenes.json").read_text())["scenes"]
    assert len({scene["overlay"] for scene in scenes}) == 2
    assert all((tmp_path / "out" / scene["overlay"]).exists() for scene in scenes)


def test_only_the_tasks_asked_for(run: Run, photos: Path, model_file: Path, tmp_path: Path) -> None:
    run("predict", photos, "--model", model_file, "--out", tmp_path / "out", "--tasks", "boxes", *LOW)
    for scene in json.loads((tmp_path / "out" / "scenes.json").read_text())["scenes"]:
        assert scene["regions"]
        assert all(row.keys() == {"label", "score", "bbox"} for row in scene["regions"])


def test_threshold(run: Run, photos: Path, model_file: Path, tmp_path: Path) -> None:
    scores = segue.load(model_file, device="cpu").predict(photos / "cells_000.png", threshold=0.0).regions.scores
    middle = float(scores.median())
    photo = photos / "cells_000.png"
    run("predict", photo, "--model", model_file, "--out", tmp_path / "out", "--threshold", middle)
    regions = json.loads((tmp_path / "out" / "scenes.json").read_text())["scenes"][0]["regions"]
    assert len(regions) == int((scores >= middle).sum()) < len(scores)


def test_sizes_in_turns_keep_their_order_and_their_overlays(
    run: Run, photos: Path, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    sizes = [(96, 64), (64, 96), (96, 64), (32, 32), (64, 96), (96, 64)]
    with Image.open(photos / "cells_000.png") as image:
        for number, size in enumerate(sizes):
            image.crop((0, 0, *size)).save(folder / f"{number}.png")
    run("predict", folder, "--model", model_file, "--out", tmp_path / "out", "--batch", "auto", *LOW)
    scenes = json.loads((tmp_path / "out" / "scenes.json").read_text())["scenes"]
    assert [Path(scene["file"]).name for scene in scenes] == [f"{number}.png" for number in range(len(sizes))]
    assert [(scene["width"], scene["height"]) for scene in scenes] == sizes
    for scene, size in zip(scenes, sizes, strict=True):
        with Image.open(tmp_path / "out" / scene["overlay"]) as overlay:
            assert overlay.size == size


def test_a_video_gives_a_scene_per_frame_and_an_overlay_video(run: Run, model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    clips = [tmp_path / "clip.mp4", tmp_path / "more" / "clip.mp4"]
    clips[1].parent.mkdir()
    for clip in clips:
        write_video(clip, [torch.full((3, 64, 96), 40 * i, dtype=torch.uint8) for i in range(3)], rate=5)
    out = tmp_path / "out"
    out.mkdir()
    (out / "clip.overlay.mp4").write_bytes(b"somebody else's")
    for _ in range(2):  # the second run replaces the overlays of the first
        run("predict", *clips, "--model", model_file, "--out", out, "--batch", "2", "--tile", "64", *LOW)
    assert files_below(out) == {"scenes.json", "clip.overlay.mp4", "clip.2.overlay.mp4", "clip.3.overlay.mp4"}
    assert (out / "clip.overlay.mp4").read_bytes() == b"somebody else's"
    scenes = json.loads((out / "scenes.json").read_text())["scenes"]
    assert [scene["file"] for scene in scenes] == [f"{clip}#{i}" for clip in clips for i in range(3)]
    assert all((scene["width"], scene["height"]) == (96, 64) for scene in scenes)
    drawn = [pixels for _, pixels in frames(out / "clip.2.overlay.mp4")]
    assert [tuple(pixels.shape) for pixels in drawn] == [(3, 64, 96)] * 3


def test_both_forms_of_evaluate_agree(run: Run, cells: Path, model_file: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    table = run("evaluate", "--model", model_file, "--data", cells, "--out", asked, "--device", "cpu")
    run("predict", cells.parent, "--model", model_file, "--out", tmp_path / "out", "--threshold", "0")
    scenes, saved = tmp_path / "out" / "scenes.json", tmp_path / "saved.json"
    run("evaluate", "--predictions", scenes, "--data", cells, "--out", saved)
    a, b = json.loads(asked.read_text()), json.loads(saved.read_text())
    assert {"boxes/AP", "boxes/AP50", "masks/AP", "masks/AP50", "matching/AP50", "images", "seconds"} <= a.keys()
    assert a.keys() == b.keys()
    assert a["images"] == b["images"] == 6
    for name in a.keys() - {"seconds"}:
        assert isinstance(a[name], int | float)
        assert b[name] == pytest.approx(a[name], abs=1e-6), name
        assert name.split("/")[-1] in table


def test_perfect_predictions_score_one(run: Run, cells: Path, tmp_path: Path) -> None:
    truth = json.loads(cells.read_text())
    kept = ("image_id", "category_id", "bbox", "segmentation")
    rows = [{**{key: row[key] for key in kept}, "score": 0.9} for row in truth["annotations"]]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    out = tmp_path / "numbers.json"
    run("evaluate", "--predictions", tmp_path / "results.json", "--data", cells, "--out", out)
    numbers = json.loads(out.read_text())
    assert numbers["masks/AP"] == numbers["boxes/AP"] == pytest.approx(1)
    assert numbers["matching/AP50"] == 1


def test_train_then_use_the_run(run: Run, write_recipe: Callable[..., Path], cells: Path, tmp_path: Path) -> None:
    recipe = write_recipe()
    folder = tmp_path / "runs" / "first"
    text = run("train", recipe, "--out", folder, "--set", "training.steps=2", "--device", "cpu")
    assert "masks" in text
    assert str(folder) in text
    assert files_below(Path.cwd()) == set()
    assert {"best.safetensors", "checkpoint.safetensors", "metrics.jsonl", "recipe.yaml"} <= files_below(folder)
    run("predict", cells.parent / "cells_000.png", "--model", folder, "--out", tmp_path / "out")


def test_data_make_show_and_check(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("data", "make", "cells", "--count", "2", "--seed", "7", "--out", tmp_path / name)
    assert files_below(tmp_path / "a") == {"cells_000.png", "cells_001.png", "cells.json"}
    for name in files_below(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    data = tmp_path / "a" / "cells.json"
    assert "2 images" in run("data", "show", data, "--out", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 512
    assert "no faults" in run("data", "check", data, "--images", tmp_path / "a")


def test_models_names_the_zoo(run: Run) -> None:
    text = run("models")
    for word in ("nuclei", "boxes", "masks", "Apache-2.0", "MB", "bundled"):
        assert word in text


def outside(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


def test_help_is_quick_because_it_imports_no_torch() -> None:
    code = (
        "import sys; from segue.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'scipy', 'PIL', 'pydantic', 'hotcoco', 'yaml'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    for arguments in (["--help"], ["predict", "--help"], ["models"], ["predict"]):
        done = outside(sys.executable, "-c", code, *arguments)
        assert done.returncode == 0, done.stderr


def test_the_module_is_the_command() -> None:
    script = Path(sys.executable).with_name("segue")
    for arguments in (["--version"], ["models"], ["predict", "--help"], ["nonsense"]):
        one, two = outside(sys.executable, "-m", "segue", *arguments), outside(str(script), *arguments)
        assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)
        assert one.stdout or one.stderr


def test_every_command_is_in_the_help() -> None:
    text = outside(sys.executable, "-m", "segue", "--help").stdout
    assert all(f"\n    {command} " in text for command in ("predict", "train", "evaluate", "data", "models"))


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "segue", "models"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segue.cli.models", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "segue: stopped\n"
