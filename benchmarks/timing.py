"""Two ways to do one thing, timed in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from segue.structures import Masks

FEWEST, MOST = 5, 50  # pairs of runs


def difference(ours: Any, theirs: Any) -> str:
    """What separates two results: the largest difference of numbers, or how many flags differ."""
    pairs = list(zip(_tensors(ours), _tensors(theirs), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return "shapes differ: " + ", ".join(f"{tuple(a.shape)} and {tuple(b.shape)}" for a, b in pairs)
    if all(a.dtype == torch.bool for a, _ in pairs):
        return f"{sum(int((a ^ b).sum()) for a, b in pairs):,} of {sum(a.numel() for a, _ in pairs):,} flags"
    return f"{max(float((a.double() - b.double()).abs().max()) for a, b in pairs):.1e}"


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Masks):
        return [result.dense()]
    return [result] if isinstance(result, Tensor) else list(result)


@dataclass(frozen=True)
class Case:
    """One row of the table before it is measured.

    Attributes:
        size: how much of what.
        against: whose ``theirs`` is.
        ours: does the work and returns the result.
        theirs: the same.
        difference: says in words how far two results are apart.
        fewest: pairs of runs.
    """

    size: str
    against: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[Any, Any], str] = difference
    fewest: int = FEWEST


@dataclass(frozen=True)
class Result:
    """One row of the table: medians in seconds; ``ratios`` are theirs to ours, lower quartile, median, upper."""

    name: str
    size: str
    against: str
    ours: float
    theirs: float
    ratios: tuple[float, float, float]
    pairs: int
    difference: str


def compare(name: str, case: Case, seconds: float) -> Result:
    """Warm both up, compare their results, then time them in turns for about ``seconds``."""
    apart = case.difference(case.ours(), case.theirs())
    expected = _seconds(case.ours) + _seconds(case.theirs)  # second warm-up
    count = min(max(int(seconds / expected), case.fewest), MOST)
    gc.collect()
    gc.disable()
    try:
        pairs = [(_seconds(case.ours), _seconds(case.theirs)) for _ in range(count)]
    finally:
        gc.enable()
    low, middle, high = quantiles([theirs / ours for ours, theirs in pairs], n=4, method="inclusive")
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return Result(name, case.size, case.against, ours, theirs, (low, middle, high), count, apart)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
