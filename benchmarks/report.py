"""Results as a page of Markdown."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import evaluation, vision
from benchmarks.timing import Result

HEADER = ("what", "how much", "segue", "other", "against", "ratio", "quartiles", "pairs", "difference of the results")

INTRODUCTION = """\
# Speed

Written by `python -m benchmarks --out docs/speed.md` (or `make bench`).

Both sides run in one process, in turns (ours, other, ours, other, ...), after two warm-up runs each. Times are medians.
The ratio is the median over the pairs of other / ours: above 1, Segue is faster; the quartiles say how steady it is.
Against `itself with captions` (`benchmarks/caption_cost.py`) it says what the caption head makes of its network's time.
The last column compares the results of the same run, so that a fast wrong answer would show.

Segue's networks are in the form that `segue.load` gives them; rows that end in `_fast` multiply in 16 bits
(`speed="fast"`, `precision: bf16`), against the other side's 32, `_int8` in 8 bits. What that costs in AP:
[speeds.md](speeds.md).
"""

PLAIN = """\
`plain` (`benchmarks/plain.py`) is the straightforward way in pure torch: NMS from the whole matrix of overlaps,
RoIAlign by gathering every sample, masks pasted by `grid_sample` over the whole canvas. For whole networks it is the
same network with these operations and in NCHW memory order. It is a reference, not a rival: a large ratio against it
says that our operation is worth its code, not that Segue is faster than torchvision.
"""

MISSING = "torchvision's compiled operators do not load here ({}), so everything is measured against `plain`.\n"
NO_COCO = "COCO's evaluation is left out: {}.\n"
PRESENT = "Where torchvision has the same operation, it is the other side, else `plain`.\n"
QUICK = "**Made with `--quick`: tiny inputs, to see that everything runs. These are no measurements.**\n"
OTHERS = (
    "- Other work took {:.0%} of the processor meanwhile. It makes times longer; the ratios are of runs right after"
    " each other and suffer less: the quartiles show how much.\n"
)


def page(results: Sequence[Result], others: float | None, quick: bool) -> str:
    """The whole page; ``others`` is the share of the processor that other work took, None where that is unknown."""
    other = MISSING.format(vision.MISSING) if vision.MISSING else PRESENT
    coco = [NO_COCO.format(evaluation.MISSING)] if evaluation.MISSING else []
    parts = [INTRODUCTION, other + PLAIN, *coco, *([QUICK] if quick else []), machine(others), table(results)]
    return "\n".join(parts)


def machine(others: float | None) -> str:
    return (
        f"- {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used,"
        f" {torch.backends.cpu.get_cpu_capability()}\n"
        f"- torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}\n"
        f"- {datetime.date.today()}\n" + ("" if others is None else OTHERS.format(others))
    )


def processor() -> str:
    """The processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(results: Sequence[Result]) -> str:
    return as_table([HEADER, *map(row, results)])


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head."""
    head, *rest = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rest))


def row(r: Result) -> tuple[str, ...]:
    low, middle, high = r.ratios
    ours, theirs = milliseconds(r.ours), milliseconds(r.theirs)
    quartiles = f"{low:.2f} to {high:.2f}"
    return r.name, r.size, ours, theirs, r.against, f"**{middle:.2f}**", quartiles, str(r.pairs), r.difference


def milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
