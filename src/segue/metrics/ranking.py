"""Predictions, the surest first: what each finds, and the average precision of that."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy(overlap: Tensor, right: Tensor) -> Tensor:
    """(P,) int64: to each prediction, one after the other, the free object that it overlaps most, or -1.

    Args:
        overlap: (P, T), not below 0.
        right: (P, T) bool, which objects the prediction can take.
    """
    taken = torch.full((len(overlap),), -1)
    free = torch.where(right, overlap, -1)
    for row in right.any(1).nonzero()[:, 0].tolist():  # each depends on those before; few are left here
        best, place = free[row].max(0)
        if best >= 0:
            taken[row] = place
            free[:, place] = -1
    return taken


def all_point_ap(right: Tensor, total: int) -> float:
    """The area under the best precision at each recall or a higher one (PASCAL VOC, from 2010 on).

    Args:
        right: (N,) bool, the surest first.
        total: how many there are to find, at least 1.
    """
    precision = right.double().cumsum(0) / torch.arange(1, len(right) + 1)
    best = precision.flip(0).cummax(0).values.flip(0) if len(right) else precision
    return float(best[right].sum()) / total
