"""COCO's evaluation of 5,000 pictures, files to numbers, against pycocotools where it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from hotcoco import COCO, COCOeval
from hotcoco import mask as coco_mask
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.timing import Case
from segue.metrics.coco_ap import Kind, evaluate_coco_json, summarize

PICTURES, CLASSES, HEIGHT, WIDTH = 5000, 80, 480, 640
OBJECTS = 7.3  # per picture, as in COCO's val2017
FOUND, EXTRA = 0.8, 13.0  # share of them that is found, and detections per picture of nothing
CORNERS = 24  # of a polygon
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MISSING = "" if importlib.util.find_spec("pycocotools") else "pycocotools is not installed (extra `bench`)"


@dataclass(frozen=True)
class Files:
    """A data set and detections in it, as COCO's files; they are gone with ``folder``."""

    folder: TemporaryDirectory[str]
    detections: int

    @property
    def truth(self) -> Path:
        return Path(self.folder.name) / "truth.json"

    @property
    def results(self) -> Path:
        return Path(self.folder.name) / "results.json"


@cache
def files(pictures: int) -> Files:
    """Ellipses of all sizes and, with scores, slightly moved ones beside ellipses of nothing."""
    chance = np.random.default_rng(1)
    owner = np.repeat(np.arange(pictures), chance.poisson(OBJECTS, pictures)) + 1
    label = np.minimum(chance.geometric(0.05, len(owner)), CLASSES)
    shapes = ellipses(len(owner), chance)
    found = np.flatnonzero(chance.random(len(owner)) < FOUND)
    extra = np.repeat(np.arange(pictures), chance.poisson(EXTRA, pictures)) + 1
    moved = shapes[found] + chance.normal(0, 0.1, (len(found), 4)) * shapes[found][:, [2, 3, 2, 3]]
    moved[:, 2:] = np.abs(moved[:, 2:]) + 1
    score = np.concatenate([chance.beta(4, 2, len(found)), chance.beta(1, 4, len(extra))])
    folder = TemporaryDirectory()
    held = Files(folder, len(score))
    annotations = [
        {"id": number, "iscrowd": 0, "area": box[2] * box[3] * math.pi / 4, "segmentation": [polygon], **entry}
        for number, (entry, box, polygon) in enumerate(
            zip(entries(owner, label, shapes), boxes(shapes), polygons(shapes), strict=True), start=1
        )
    ]
    images = [{"id": number, "height": HEIGHT, "width": WIDTH} for number in range(1, pictures + 1)]
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    held.truth.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    guesses = np.concatenate([moved, ellipses(len(extra), chance)])
    labels = np.concatenate([label[found], np.minimum(chance.geometric(0.05, len(extra)), CLASSES)])
    runs = coco_mask.frPyObjects(polygons(guesses), HEIGHT, WIDTH)
    rows = entries(np.concatenate([owner[found], extra]), labels, guesses)
    results = [
        {**row, "score": float(s), "segmentation": {"size": [HEIGHT, WIDTH], "counts": text(run["counts"])}}
        for row, s, run in zip(rows, score, runs, strict=True)
    ]
    held.results.write_text(json.dumps(results))
    return held


def text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


def ellipses(count: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """(N, 4) middle x, y and half axes of 5 to 160 pixels, small ones most."""
    half = 5 * 2 ** chance.uniform(0, 5, (count, 2))
    return np.concatenate([chance.uniform(0, 1, (count, 2)) * (WIDTH, HEIGHT), half], axis=1)


def polygons(shapes: NDArray[np.float64]) -> list[list[float]]:
    """Of ellipses (N, 4), cut at the border."""
    angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    round_ = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = shapes[:, None, :2] + shapes[:, None, 2:] * round_
    return np.clip(points, 0, (WIDTH, HEIGHT)).round(2).reshape(len(shapes), -1).tolist()


def boxes(shapes: NDArray[np.float64]) -> list[list[float]]:
    """``x, y, width, height`` of ellipses (N, 4), cut at the border."""
    low, high = (np.clip(shapes[:, :2] + side * shapes[:, 2:], 0, (WIDTH, HEIGHT)) for side in (-1, 1))
    return np.concatenate([low, high - low], axis=1).round(2).tolist()


def entries(owner: NDArray[Any], label: NDArray[Any], shapes: NDArray[np.float64]) -> list[dict[str, Any]]:
    rows = zip(owner.tolist(), label.tolist(), boxes(shapes), strict=True)
    return [{"image_id": image, "category_id": category, "bbox": box} for image, category, box in rows]


def evaluation(kind: Kind) -> Callable[[bool], Case]:
    """Matching and numbers alone, of files that both have read."""

    def make(quick: bool) -> Case:
        held = files(50 if quick else PICTURES)
        truth = COCO(str(held.truth))
        found = truth.load_res(str(held.results))
        theirs = theirs_read(held)
        return case(
            held, f"{kind}, read before", lambda: ours_evaluate(truth, found, kind), lambda: evaluate(*theirs, kind)
        )

    return make


def from_files(quick: bool) -> Case:
    """Reading and checking included."""
    held = files(50 if quick else PICTURES)

    def ours() -> Tensor:
        return numbers(evaluate_coco_json(held.truth, held.results, "segm"))

    return case(held, "segm, from files", ours, lambda: evaluate(*theirs_read(held), "segm"))


def case(held: Files, what: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Case:
    pictures = len(json.loads(held.truth.read_text())["images"])
    size = f"{pictures:,} pictures, {held.detections:,} detections, {what}"
    return Case(size, "pycocotools", ours, theirs, same_numbers, fewest=3)


def same_numbers(ours: Tensor, theirs: Tensor) -> str:
    return (
        f"{int((ours == theirs).sum())} of {len(NAMES)} numbers equal, the others to {(ours - theirs).abs().max():.1e}"
    )


def ours_evaluate(truth: COCO, found: COCO, kind: Kind) -> Tensor:
    run = COCOeval(truth, found, kind)
    run.evaluate()
    return numbers(summarize(run, "it"))


def numbers(named: dict[str, float]) -> Tensor:
    """(12,) float64 in the order of pycocotools."""
    by_name = {name.partition("/")[2]: value for name, value in named.items()}
    return torch.tensor([by_name[name] for name in NAMES], dtype=torch.float64)


def theirs_read(held: Files) -> tuple[Any, Any]:
    """Truth and detections as pycocotools holds them."""
    from pycocotools.coco import COCO as Theirs

    with contextlib.redirect_stdout(io.StringIO()):
        truth = Theirs(str(held.truth))
        return truth, truth.loadRes(str(held.results))


def evaluate(truth: Any, found: Any, kind: Kind) -> Tensor:
    """pycocotools' twelve numbers (12,) float64."""
    from pycocotools.cocoeval import COCOeval as Theirs

    with contextlib.redirect_stdout(io.StringIO()):
        run = Theirs(truth, found, kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return torch.from_numpy(run.stats)


CASES: dict[str, Callable[[bool], Case]] = {}
"""By name: called with ``quick``, it makes the files and the two sides. None without pycocotools."""

if not MISSING:
    CASES = {"coco_boxes": evaluation("bbox"), "coco_masks": evaluation("segm"), "coco_files": from_files}
