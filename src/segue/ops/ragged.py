"""Lists of different lengths, one after the other in one tensor."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def starts_of(counts: Tensor) -> Tensor:
    """(N,) lengths -> (N,) int64 place of each list's first entry."""
    return counts.cumsum(0) - counts


def ragged(counts: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) int64 lengths -> for every entry of every list, (T,) int64 each: its list, and its place in that list."""
    owner = torch.repeat_interleave(counts)
    place = torch.arange(len(owner), device=counts.device) - starts_of(counts)[owner]
    return owner, place


def window_grid(widths: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
    """For every pixel of N packed windows, (P,) int64 each: its row among all rows, its column among all columns.

    Work that depends on one coordinate alone is then done once per row or column, and looked up per pixel.
    """
    window = torch.repeat_interleave(heights)  # of each row
    per_row = widths[window]
    row = torch.repeat_interleave(per_row)
    shift = starts_of(widths)[window] - starts_of(per_row)
    return row, torch.arange(len(row), device=widths.device) + shift[row]


def chunks(costs: Tensor, limit: int) -> Iterator[slice]:
    """Cut N items with costs (N,) int64 into runs that cost about ``limit`` each; one item is never cut."""
    part = (costs.cumsum(0) - 1).clamp(min=0) // limit  # ascending: an item belongs where its last unit falls
    start = 0
    for count in torch.unique_consecutive(part, return_counts=True)[1].tolist():
        yield slice(start, start + count)
        start += count
