"""The job of `segue view`: scenes, a training run, or the way of one region, as a recording for Rerun's viewer."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segue.data.images import read_image
from segue.data.inputs import find_inputs, is_video
from segue.data.video import frame_rate, frames
from segue.drawing.recording import log_categories, log_scene, rerun
from segue.drawing.recording_layout import run_layout, scene_layout
from segue.engine.explain import explain
from segue.engine.load import load
from segue.engine.output import NAME
from segue.engine.predictor import Predictor
from segue.engine.saved import Seen, saved_scenes
from segue.engine.view_explained import log_explanation
from segue.errors import DataError, UsageError
from segue.files import atomic_file
from segue.structures import Categories, Regions, Scene
from segue.tasks import TASKS, all_tasks, parsers_of
from segue.tasks.keypoints import DRAWN

METRICS, SAMPLES = "metrics.jsonl", "samples"
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
"""Environment variables of which Linux sets one where there is a screen."""


@dataclass(frozen=True)
class ViewOptions:
    """What to show, and how.

    Attributes:
        model: predicts what pictures hold, or says what the classes in a folder of results are.
        threshold: detections with a lower score are left out.
        device: of the model.
        explain: show the way of the region with this number, from 1 on, the surest first.
        save: write a recording there and open none.
    """

    model: str | None = None
    threshold: float = 0.5
    device: str = "auto"
    explain: int | None = None
    save: Path | None = None

    def __post_init__(self) -> None:
        if self.save is not None and self.save.suffix != ".rrd":
            raise UsageError("a recording's name ends in .rrd", where=self.save, cure="change --save")


def view(path: Path, options: ViewOptions) -> int:
    """Show or save what there is at ``path``; returns how many scenes, or steps of a run.

    ``path`` is a folder of `segue predict`, a training run, or with a model a picture, a video or a folder of them.

    Raises:
        UsageError: Rerun is not installed, there is no screen, or the options do not fit ``path``.
        DataError: the results or the run make no sense.
        ImageError: a picture cannot be read.
    """
    rr = rerun()
    if options.save is None and not has_screen():
        raise UsageError("there is no screen here", cure="add --save FILE.rrd, and open that where there is one")
    stream = rr.RecordingStream("segue")
    if options.save is None:
        stream.spawn()
        count = fill(stream, path, options)
        stream.flush()
        return count
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recording.rrd"
        stream.save(file)
        count = fill(stream, path, options)
        stream.disconnect()
        with file.open("rb") as whole, atomic_file(options.save) as out:
            shutil.copyfileobj(whole, out)
    return count


def has_screen() -> bool:
    """Whether a window can probably be opened."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in DISPLAYS)


def fill(stream: Any, path: Path, options: ViewOptions) -> int:
    """Log everything; returns as `view`."""
    folder = path.parent if path.name == NAME else path
    if options.explain is not None:
        return log_explained(stream, path, options, options.explain)
    if (folder / NAME).is_file():
        return log_seen(stream, *saved_scenes(folder, parsers_of(all_tasks()), options.model))
    if (path / METRICS).is_file():
        return log_run(stream, path)
    inputs = find_inputs([path])
    predictor = loaded(path, options)
    return log_seen(stream, predictor.categories, predicted(predictor, inputs, options.threshold))


def loaded(path: Path, options: ViewOptions) -> Predictor:
    """The model; raises `UsageError` where none is named."""
    if options.model is None:
        raise UsageError("no results or run, but pictures", where=path, cure="name a --model that predicts them")
    return load(options.model, options.device)


def predicted(predictor: Predictor, inputs: list[Path], threshold: float) -> Iterator[Seen]:
    """Pictures and frames of videos with what the model finds in them."""
    for file in inputs:
        if is_video(file):
            rate = frame_rate(file)
            for number, pixels in frames(file):
                scene = predictor.scenes([(pixels, f"{file}#{number}")], threshold)[0]
                yield Seen(scene, pixels, float(number / rate), number)
        else:
            pixels = read_image(file)
            yield Seen(predictor.scenes([(pixels, str(file))], threshold)[0], pixels)


def log_seen(stream: Any, categories: Categories, scenes: Iterator[Seen]) -> int:
    """Scene after scene along the timeline ``picture``; frames of videos along ``frame`` and ``video``, too."""
    log_categories(stream, categories)
    count = 0
    for count, seen in enumerate(scenes, start=1):
        stream.reset_time()
        stream.set_time("picture", sequence=count - 1)
        if seen.seconds is not None:
            stream.set_time("frame", sequence=seen.frame)
            stream.set_time("video", duration=seen.seconds)
        log_scene(stream, sure(seen.scene), seen.image, notes(seen.scene.regions))
        if count == 1:
            stream.send_blueprint(scene_layout(seen.scene))
    return count


def sure(scene: Scene) -> Scene:
    """The scene without predicted keypoints that are too unsure to be drawn."""
    points = scene.regions.keypoints
    if points is None or scene.regions.scores is None:
        return scene
    kept = torch.cat([points[..., :2], points[..., 2:] * (points[..., 2:] > DRAWN)], dim=-1)
    return replace(scene, regions=scene.regions.with_field("keypoints", kept))


def notes(regions: Regions) -> list[str]:
    """What tasks of other packages say of each region in scenes.json."""
    rows: list[dict[str, Any]] = [{} for _ in range(len(regions))]
    for task in all_tasks():
        if task not in TASKS and task.to_json is not None and regions.field(task.name) is not None:
            rows = [row | own for row, own in zip(rows, task.to_json(regions), strict=True)]
    return [", ".join(f"{key} {value}" for key, value in row.items()) for row in rows]


def log_explained(stream: Any, path: Path, options: ViewOptions, number: int) -> int:
    """The way of one region of a picture."""
    if path.is_dir() or is_video(path):
        raise UsageError("explains a region of one picture", where="--explain", cure="name a picture file")
    predictor, pixels = loaded(path, options), read_image(path)
    log_categories(stream, predictor.categories)
    stream.set_time("picture", sequence=0)
    explanation = explain(predictor, pixels, number - 1, options.threshold, str(path))
    log_scene(stream, sure(explanation.scene), pixels, notes(explanation.scene.regions))
    log_explanation(stream, explanation, pixels)
    return 1


def log_run(stream: Any, folder: Path) -> int:
    """The numbers of a training run as curves, and its pictures of targets and predictions, along ``step``."""
    rr, rows = rerun(), metric_rows(folder / METRICS)
    stream.send_blueprint(run_layout())
    for step, numbers in rows:
        stream.set_time("step", sequence=step)
        for name, value in numbers.items():
            stream.log(f"metrics/{name}", rr.Scalars(value))
    for file in sorted((folder / SAMPLES).glob("step_*.png")):
        stream.set_time("step", sequence=int(file.stem.removeprefix("step_")))
        stream.log(SAMPLES, rr.EncodedImage(path=file))
    return len(rows)


def metric_rows(path: Path) -> list[tuple[int, Mapping[str, float]]]:
    """Step and finite numbers of each line of a run's metrics; a last line that a kill cut short is left out.

    Raises:
        DataError: another line makes no sense.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    rows: list[tuple[int, Mapping[str, float]]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            step = int(row.pop("step"))
        except (ValueError, TypeError, AttributeError, KeyError):
            if number == len(lines):
                break
            cure = "take it out"
            raise DataError("no JSON object with a step", where=f"{path}, line {number}", cure=cure) from None
        finite = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
        rows.append((step, finite))
    return rows
