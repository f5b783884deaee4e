"""A task written in one file outside the package trains, evaluates, draws and saves, and nothing else changes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TASK = '''
"""How bright a region is: one number, from a file outside the package."""
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn import functional as F
from PIL import ImageDraw
from segue.tasks import RegionTask

@dataclass(frozen=True)
class BrightnessSettings:
    width: int = 8

class BrightnessHead(nn.Module):
    pooled = 3
    def __init__(self, channels, categories, conventions, settings):
        super().__init__()
        hidden = nn.Linear(channels * 9, settings.width)
        self.layers = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(settings.width, 1))
    def forward(self, rois):
        return self.layers(rois)[:, 0]
    def losses(self, raw, regions, truth):
        if not len(truth):
            return {"brightness": raw.sum() * 0}
        goal = truth.extra["brightness"][regions.matched.clamp(0, len(truth) - 1)]
        distance = F.smooth_l1_loss(raw, goal, reduction="none") * regions.positive
        return {"brightness": distance.sum() / regions.positive.sum().clamp(min=1)}
    def decode(self, raw, regions, size):
        return raw

class BrightnessError:
    def __init__(self, categories):
        self.count = 0
    def update(self, predicted, truth):
        self.count += len(predicted.regions.extra["brightness"])
    def compute(self):
        return {"brightness/count": float(self.count)}

def parse(annotations, size):
    return torch.tensor([float(a.get("area", 0)) % 7 / 7 for a in annotations])

def draw(image, scene):
    pen = ImageDraw.Draw(image)
    for box, value in zip(scene.regions.boxes.tolist(), scene.regions.extra.get("brightness", []), strict=False):
        pen.text(box[:2], f"{float(value):.1f}")
    return image

def to_json(regions):
    return [{"brightness": round(float(v), 3)} for v in regions.extra["brightness"]]

BRIGHTNESS = RegionTask(
    "brightness", BrightnessSettings, BrightnessHead, parse, metrics=(BrightnessError,), draw=draw, to_json=to_json
)
'''


def test_a_task_from_outside(tmp_path: Path, write_recipe: Callable[..., Path], cells: Path) -> None:
    site = tmp_path / "site"
    info = site / "brightness-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "brightness_task.py").write_text(TASK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[segue.tasks]\nbrightness = brightness_task:BRIGHTNESS\n")
    recipe = write_recipe(
        network={"tasks": {"boxes": {"channels": 16}, "brightness": {"width": 4}}},
        training={"steps": 2, "best": "brightness/count", "ema": 0.0},
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "segue", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    model, out = str(tmp_path / "run"), tmp_path / "out"
    run("train", str(recipe), "--out", model, "--device", "cpu")
    run("evaluate", "--model", model, "--data", str(cells), "--out", str(tmp_path / "numbers.json"))
    assert json.loads((tmp_path / "numbers.json").read_text())["brightness/count"] > 0
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "loss/brightness" in logged[0]
    picture = str(cells.parent / "cells_000.png")
    run("predict", picture, "--model", model, "--out", str(out), "--threshold", "0")
    regions = json.loads((out / "scenes.json").read_text())["scenes"][0]["regions"]
    assert regions
    assert all("brightness" in region and "bbox" in region for region in regions)
    assert next(out.glob("*.png")).stat().st_size > 1000
