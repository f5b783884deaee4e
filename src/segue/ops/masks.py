"""Packed masks: geometric changes, tight boxes, overlaps and unions, without a dense canvas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segue.ops.ragged import chunks, ragged, starts_of, window_grid
from segue.structures import Masks

MOST_LOOKUPS = 1 << 22  # at a time in `mask_intersection`, to bound the memory
NOWHERE = -(1 << 40)  # a place in a window that stays negative whatever is added


@dataclass(frozen=True)
class PackedRows:
    """The rows of all windows of N masks, and how many pixels are set before each stored one.

    Attributes:
        owner: (Y,) int64 mask of each row.
        y: (Y,) int64 its y on the canvas.
        start: (Y,) int64 place of its first pixel in ``bits``.
        first: (N,) int64 the first row of each mask.
        set_before: (P + 1,) int64 set pixels in ``bits`` before each place.
    """

    owner: Tensor
    y: Tensor
    start: Tensor
    first: Tensor
    set_before: Tensor

    @classmethod
    def of(cls, masks: Masks) -> PackedRows:
        """Index ``masks``."""
        owner, row = ragged(masks.heights)
        start = masks.offsets[owner] + row * masks.widths[owner]
        before = torch.zeros(masks.bits.numel() + 1, dtype=torch.int64, device=owner.device)
        torch.cumsum(masks.bits, 0, out=before[1:])
        return cls(owner, masks.boxes[owner, 1] + row, start, starts_of(masks.heights), before)

    def set_pixels(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """For every set pixel of ``masks``, (S,) int64 each: its row here, and its x on the canvas."""
        width = masks.widths[self.owner]
        row = torch.repeat_interleave(self.set_before[self.start + width] - self.set_before[self.start])
        shift = masks.boxes[self.owner, 0] - self.start
        return row, masks.bits.nonzero()[:, 0] + shift[row]


def mask_boxes(masks: Masks) -> Tensor:
    """Tight boxes (N, 4) float32 xyxy of the set pixels; zeros for a mask without any."""
    rows = PackedRows.of(masks)
    row, x = rows.set_pixels(masks)
    return _bounds(rows.owner[row], x, rows.y[row], len(masks)).float()


def _bounds(owner: Tensor, x: Tensor, y: Tensor, count: int) -> Tensor:
    """(count, 4) int64 smallest windows around the pixels x, y (S,) of each owner; zeros where there are none."""
    low, high = torch.stack([x, y], dim=1), torch.stack([x, y], dim=1) + 1
    index = owner[:, None].expand(-1, 2)
    zeros = low.new_zeros(count, 2)
    return torch.cat(
        [
            zeros.scatter_reduce(0, index, low, "amin", include_self=False),
            zeros.scatter_reduce(0, index, high, "amax", include_self=False),
        ],
        dim=1,
    )


def warp_masks(masks: Masks, matrix: Tensor, size: tuple[int, int]) -> Masks:
    """Masks after a flip, quarter turn, rescaling or shift: each new pixel reads the old pixel under its centre.

    Args:
        masks: N masks on the old canvas.
        matrix: (2, 3), maps (x, y, 1) of the old canvas to x, y of the new one; each new axis depends on one old axis.
        size: (height, width) of the new canvas. What leaves it is cut off; a mask may become empty.
    """
    m = matrix.to("cpu", torch.float64)
    turned = bool(m[0, 0] == 0)  # new x comes from old y
    windows = _warped_windows(masks, m.to(masks.boxes.device), size)
    old_axes = (1, 0) if turned else (0, 1)
    places = []  # per new column, then per new row: its part of the place in the old window
    for axis, old in enumerate(old_axes):
        owner, step = ragged(windows[:, axis + 2] - windows[:, axis])
        centre = (windows[owner, axis] + step).double() + 0.5
        source = ((centre - m[axis, 2].item()) / m[axis, old].item()).floor().long()
        low, high = masks.boxes[owner, old], masks.boxes[owner, old + 2]
        place = (source - low) * (masks.widths[owner] if old else 1)
        places.append(torch.where((source >= low) & (source < high), place, NOWHERE))
    warped = Masks.empty_windows(size, windows)
    row, column = window_grid(warped.widths, warped.heights)
    offset = masks.offsets[torch.repeat_interleave(warped.heights)]
    place = (places[1] + offset)[row] + places[0][column]
    bits = masks.bits[place.clamp(min=0)] & (place >= 0)
    return Masks(size, windows, bits)


def _warped_windows(masks: Masks, m: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 4) int64 windows on the new canvas that hold everything of the old ones."""
    corners = masks.boxes.view(-1, 2, 2).double() @ m[:, :2].T + m[:, 2]
    windows = torch.cat([corners.amin(1).floor(), corners.amax(1).ceil()], dim=1)
    h, w = size
    limit = torch.tensor([w, h, w, h], device=windows.device)
    windows = torch.minimum(windows.clamp(min=0), limit).long()
    return torch.where((masks.areas_of_windows > 0)[:, None], windows, 0)


def mask_iou(a: Masks, b: Masks) -> Tensor:
    """Intersection over union (N, M) float32 of the set pixels; 0 where both masks are empty."""
    shared = mask_intersection(a, b)
    union = a.area[:, None] + b.area - shared
    return (shared.double() / union.clamp(min=1)).float()


def mask_intersection(a: Masks, b: Masks) -> Tensor:
    """Number (N, M) int64 of pixels that are set in both.

    Looks only at pairs whose windows overlap. Each run of set pixels in a row of ``a`` costs two look-ups in the
    running count of ``b``, however long it is.
    """
    low = torch.maximum(a.boxes[:, None, :2], b.boxes[:, :2])
    high = torch.minimum(a.boxes[:, None, 2:], b.boxes[:, 2:])
    i, j = (high > low).all(2).nonzero().unbind(1)
    runs, rows_b = _Runs.of(a), PackedRows.of(b)
    first = runs.first_of_row[runs.row_of(i, low[i, j, 1])]
    counts = runs.first_of_row[runs.row_of(i, high[i, j, 1])] - first
    shared = torch.zeros(len(a), len(b), dtype=torch.int64, device=i.device)
    for part in chunks(counts, MOST_LOOKUPS):
        pair, step = ragged(counts[part])
        run, other = first[part][pair] + step, j[part][pair]
        window = b.boxes[other]
        line = rows_b.start[rows_b.first[other] + runs.y[run] - window[:, 1]] - window[:, 0]
        ends = [torch.clamp(x[run], window[:, 0], window[:, 2]) + line for x in (runs.x0, runs.x1)]
        inside = rows_b.set_before[ends[1]] - rows_b.set_before[ends[0]]
        shared.view(-1).index_add_(0, (i * len(b) + j)[part][pair], inside)
    return shared


@dataclass(frozen=True)
class _Runs:
    """Unbroken runs of set pixels x0 to x1 (exclusive) in row y, sorted by mask and row; all (U,) int64.

    ``first_of_row`` (Y + 1,) is the first run of each row of all windows, ``first_row`` (N,) each mask's first row,
    ``top`` (N,) that row's y.
    """

    x0: Tensor
    x1: Tensor
    y: Tensor
    first_of_row: Tensor
    first_row: Tensor
    top: Tensor

    @classmethod
    def of(cls, masks: Masks) -> _Runs:
        rows = PackedRows.of(masks)
        begin, end = masks.bits.clone(), masks.bits.clone()
        begin[1:] &= ~masks.bits[:-1]
        end[:-1] &= ~masks.bits[1:]
        filled = rows.start[masks.widths[rows.owner] > 0]
        begin[filled] = masks.bits[filled]  # a run does not go on into the next row
        end[filled - 1] = masks.bits[filled - 1]  # place -1 is the end of the last row
        begin_at, end_at = begin.nonzero()[:, 0], end.nonzero()[:, 0]
        row = torch.searchsorted(rows.start, begin_at, right=True) - 1
        shift = (masks.boxes[rows.owner, 0] - rows.start)[row]
        numbers = torch.arange(len(rows.owner) + 1, device=row.device)
        first = torch.searchsorted(row, numbers)
        return cls(begin_at + shift, end_at + shift + 1, rows.y[row], first, rows.first, masks.boxes[:, 1])

    def row_of(self, mask: Tensor, y: Tensor) -> Tensor:
        """The row among all rows that shows line ``y`` of ``mask``."""
        return self.first_row[mask] + y - self.top[mask]


def unite_masks(masks: Masks, groups: Tensor, count: int) -> Masks:
    """The unions of the masks of each group, in windows that fit tightly.

    Args:
        masks: N masks.
        groups: (N,) int64 in 0 to count - 1.
        count: number of groups, and of masks in the result; a group without pixels is an empty mask.
    """
    rows = PackedRows.of(masks)
    row, x = rows.set_pixels(masks)
    y, group = rows.y[row], groups[rows.owner][row]
    united = Masks.empty_windows(masks.size, _bounds(group, x, y, count))
    place = (y - united.boxes[group, 1]) * united.widths[group] + x - united.boxes[group, 0]
    united.bits[united.offsets[group] + place] = True
    return united
