"""What it brings to show a network several pictures at once: the bundled models, against one picture after the other.

python -m benchmarks.batches
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.load import OtherWork
from benchmarks.report import QUICK, machine, table
from benchmarks.timing import Case, Result, compare
from segue.data.cells import make_cells
from segue.data.toybox import render
from segue.engine.batches import Batch
from segue.engine.load import load
from segue.engine.predictor import Predictor
from segue.files import atomic_write
from segue.models.inference import Speed
from segue.structures import Scene

FIRST, THRESHOLD = 5_000_000, 0.5  # scenes that nothing was trained on
SECONDS = 5.0  # for each row
SIZES: tuple[tuple[int, tuple[int, ...]], ...] = ((128, (4,)), (256, (2, 4)), (512, (2,)))
SPEEDS: tuple[Speed, ...] = ("exact", "fast")

PAGE = """\
# Batches

Written by `python -m benchmarks.batches`. `segue` is so many pictures in the network together, `other` one at a time;
the last column is the largest difference of a score, where both found as many objects.
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    parser.add_argument("--quick", action="store_true", help="few pictures: see that it runs")
    options = parser.parse_args()
    others, results = OtherWork(), list[Result]()
    for name, speed in product(("nuclei", "toybox"), SPEEDS[: 1 if options.quick else None]):
        predictor = load(name, "cpu", speed)
        for what, case in cases(predictor, options.quick):
            results.append(compare(f"{name}, {speed}, {what}", case, 0.0 if options.quick else SECONDS))
            print(results[-1], flush=True)
    text = "\n".join([PAGE, *([QUICK] if options.quick else []), machine(others.share()), table(results)])
    print(text, end="")
    if options.out:
        atomic_write(options.out, text.encode())


def cases(predictor: Predictor, quick: bool) -> list[tuple[str, Case]]:
    """Pictures of one size in batches, then two sizes in turns."""
    found = []
    for side, batches in SIZES[:1] if quick else SIZES:
        seen = pictures(predictor.name, (side, side), 2 if quick else 4)
        found += [(f"{side} × {side}", against_one(predictor, seen, b)) for b in batches]
    turns = pictures(predictor.name, (128, 192), 2 if quick else 4)
    turns = [picture for upright in turns for picture in (upright, upright.transpose(1, 2).contiguous())]
    return [*found, ("128 × 192 and 192 × 128 in turns", against_one(predictor, turns, "auto"))]


def pictures(model: str, size: tuple[int, int], count: int) -> list[Tensor]:
    """Made ones (3, H, W) uint8, of the kind that the model knows."""
    if model == "nuclei":
        return [make_cells(FIRST + i, size)[0] for i in range(count)]
    return [torch.from_numpy(render(FIRST + i, size).image).permute(2, 0, 1).contiguous() for i in range(count)]


def against_one(predictor: Predictor, seen: Sequence[Tensor], batch: Batch) -> Case:
    def run(batch: Batch) -> list[Scene]:
        found: list[Scene] = predictor.predict(seen, THRESHOLD, batch)
        return found

    return Case(f"batch {batch}", "one at a time", lambda: run(batch), lambda: run(1), score_difference)


def score_difference(ours: Any, theirs: Any) -> str:
    pairs = [(a.regions.scores, b.regions.scores) for a, b in zip(ours, theirs, strict=True)]
    counts = sum(len(a) != len(b) for a, b in pairs)
    largest = max((float((a - b).abs().max()) for a, b in pairs if len(a) == len(b) > 0), default=0.0)
    return f"{largest:.0e}" + (f", {counts} pictures with other counts" if counts else "")


if __name__ == "__main__":
    main()
