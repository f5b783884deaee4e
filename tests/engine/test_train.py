import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import segue
from segue.engine.recipe import read_recipe
from segue.engine.train import train
from segue.errors import CheckpointError, TrainingError, UsageError

Write = Callable[..., Path]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_leaves_all_that_was_promised(write_recipe: Write, tmp_path: Path) -> None:
    run = tmp_path / "run"
    numbers = train(read_recipe(write_recipe()), run, device="cpu")
    assert {"boxes/AP", "masks/AP", "matching/AP50", "images", "seconds"} <= numbers.keys()
    names = {p.name for p in run.iterdir()}
    assert {"best.safetensors", "last.safetensors", "checkpoint.safetensors", "recipe.yaml", "metrics.jsonl"} <= names
    assert (run / "samples" / "step_000006.png").stat().st_size > 1000
    assert list((run / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2, 3, 4, 5, 6]
    assert read_recipe(run / "recipe.yaml") == read_recipe(write_recipe())
    scene = segue.load(run, device="cpu").predict(torch.zeros(3, 50, 70, dtype=torch.uint8), threshold=0.0)
    assert scene.size == (50, 70)


def test_resumed_after_sigkill_gives_the_same_weights_bit_for_bit(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(training={"steps": 12, "evaluate_every": 5})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = [sys.executable, "-m", "segue", "train", str(recipe), "--device", "cpu", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(whole)], check=True, env=environment, capture_output=True)
    process = subprocess.Popen([*command, str(broken)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)  # in the middle of an epoch of six pictures
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, str(broken), "--resume"], check=True, env=environment, capture_output=True)
    assert_equal(weights(whole), weights(broken))
    assert_equal(load_file(whole / "last.safetensors"), load_file(broken / "last.safetensors"))
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert sorted(steps) == sorted([*range(1, 13), 5, 10, 12])


def test_loader_processes_change_nothing(write_recipe: Write, tmp_path: Path) -> None:
    for name, workers in (("a", 0), ("b", 1)):
        training = {"steps": 2, "evaluate_every": 9, "workers": workers}
        train(read_recipe(write_recipe(training=training)), tmp_path / name, device="cpu")
    assert_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_two_processes_see_what_one_sees(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(training={"steps": 2, "batch": 1, "ema": 0.0})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "segue"]
    subprocess.run(
        [*command, "train", str(recipe), "--device", "cpu", "--out", str(tmp_path / "run")],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2]
    assert segue.load(tmp_path / "run", device="cpu").name == "tiny"


def test_a_run_is_never_overwritten(write_recipe: Write, tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(training={"steps": 1, "evaluate_every": 9}))
    train(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="holds a training run already"):
        train(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="no checkpoint to resume"):
        train(recipe, tmp_path / "other", resume=True, device="cpu")


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_pictures(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segue.tasks.masks import MaskHead

    monkeypatch.setattr(MaskHead, "losses", lambda *_: {"masks": torch.tensor(float("nan"), requires_grad=True)})
    with pytest.raises(TrainingError, match=r"cells_00\d\.png.*loss is not a number \(masks\) at step 1"):
        train(read_recipe(write_recipe()), tmp_path / "run", device="cpu")


def test_early_stop(write_recipe: Write, tmp_path: Path) -> None:
    values = {"steps": 40, "lr": 0.0, "ema": 0.0, "evaluate_every": 1, "patience": 2, "warmup": 0}
    train(read_recipe(write_recipe(training=values)), tmp_path / "run", device="cpu")
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) < 10


def test_damaged_checkpoint_is_refused(write_recipe: Write, tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(training={"steps": 1, "evaluate_every": 9}))
    train(recipe, tmp_path / "run", device="cpu")
    path = tmp_path / "run" / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its hash"):
        train(recipe, tmp_path / "run", resume=True, device="cpu")


def test_a_picture_without_objects_trains_and_predicts(tmp_path: Path, write_recipe: Write) -> None:
    from PIL import Image

    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "empty.png")
    data = {
        "images": [{"id": 1, "file_name": "empty.png", "width": 80, "height": 60}],
        "annotations": [],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    recipe = read_recipe(write_recipe(data={"train": str(tmp_path / "data.json"), "val": None}))
    train(recipe, tmp_path / "run", device="cpu")
    scene = segue.load(tmp_path / "run", device="cpu").predict(tmp_path / "empty.png")
    assert len(scene.regions) == 0
    assert scene.regions.masks is not None


@pytest.mark.parametrize("values", [{"precision": "bf16"}, {"optimizer": "adamw", "clip": 1.0, "schedule": "step"}])
def test_other_ways_to_train(write_recipe: Write, tmp_path: Path, values: dict[str, object]) -> None:
    recipe = read_recipe(write_recipe(training={"steps": 2, "evaluate_every": 9, **values}))
    train(recipe, tmp_path / "run", device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    assert all(value == value for value in lines[-1].values())  # no NaN


def test_a_model_file_as_a_start_keeps_what_fits(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"steps": 1, "evaluate_every": 9, "lr": 0.0, "ema": 0.0, "weight_decay": 0.0}
    train(read_recipe(write_recipe(training=still)), tmp_path / "first", device="cpu")
    path = write_recipe(training={**still, "seed": 5}, weights=str(tmp_path / "first" / "last.safetensors"))
    wider = {"boxes": {"channels": 40}, "masks": {"channels": 16, "convolutions": 1}}
    train(read_recipe(path, [f"network.tasks={json.dumps(wider)}"]), tmp_path / "second", device="cpu")
    fresh = "heads.boxes.fc1, heads.boxes.fc2, heads.boxes.logits, heads.boxes.deltas"
    assert f"  fresh  {fresh}: another shape" in capsys.readouterr().out
    first, second = (load_file(tmp_path / run / "last.safetensors") for run in ("first", "second"))
    kept = "trunk.backbone.stages.2.0.conv1.weight"
    assert torch.equal(first[kept], second[kept])
    assert first["heads.boxes.fc1.weight"].shape != second["heads.boxes.fc1.weight"].shape
