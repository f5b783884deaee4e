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
        end: (Y,) int64 place after its last pixel.
        shift: (Y,) int64, added to a place in the row gives x on the canvas.
        first: (N,) int64 the first row of each mask.
        set_before: (P + 1,) int64 set pixels in ``bits`` before each place.
    """

    owner: Tensor
    y: Tensor
    start: Tensor
    end: Tensor
    shift: Tensor
    first: Tensor
    set_before: Tensor

    @classmethod
    def of(cls, masks: Masks) -> PackedRows:
        """Index ``masks``."""
        owner, row = ragged(masks.heights)
        start = masks.offsets[owner] + row * masks.widths[owner]
        before = torch.zeros(masks.bits.numel() + 1, dtype=torch.int64, device=owner.device)
        torch.cumsum(masks.bits, 0, out=before[1:])
        left, y = masks.boxes[owner, 0], masks.boxes[owner, 1] + row
        return cls(owner, y, start, start + masks.widths[owner], left - start, starts_of(masks.heights), before)

    @property
    def counts(self) -> Tensor:
        """(Y,) int64 set pixels of each row."""
        return self.set_before[self.end] - self.set_before[self.start]

    def columns(self, masks: Masks) -> Tensor:
        """(S,) int64 x on the canvas of every set pixel."""
        return masks.bits.nonzero()[:, 0] + torch.repeat_interleave(self.shift, self.counts)

    def bounds(self, masks: Masks) -> Tensor:
        """(N, 4) int64 smallest windows around the set pixels; zeros where there are none."""
        filled = self.counts > 0
        place = masks.bits.nonzero()[:, 0]
        left = place[self.set_before[self.start[filled]]] + self.shift[filled]
        right = place[self.set_before[self.end[filled]] - 1] + self.shift[filled]
        y = self.y[filled]
        return _around(self.owner[filled], torch.stack([left, y, right + 1, y + 1], dim=1), len(masks))


def _around(groups: Tensor, windows: Tensor, count: int) -> Tensor:
    """(count, 4) int64 smallest windows around those (K, 4) of each group (K,); zeros for a group without any."""
    low, high = windows.view(-1, 2, 2).unbind(1)
    index = groups[:, None].expand(-1, 2)
    zeros = windows.new_zeros(count, 2)
    smallest = zeros.scatter_reduce(0, index, low, "amin", include_self=False)
    return torch.cat([smallest, zeros.scatter_reduce(0, index, high, "amax", include_self=False)], dim=1)


def mask_boxes(masks: Masks) -> Tensor:
    """Tight boxes (N, 4) float32 xyxy of the set pixels; zeros for a mask without any."""
    return PackedRows.of(masks).bounds(masks).float()


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
    rows_a, rows_b = PackedRows.of(a), PackedRows.of(b)
    shared = _shared(a, rows_a, b, rows_b)
    union = _areas(a, rows_a)[:, None] + _areas(b, rows_b) - shared
    return (shared.double() / union.clamp(min=1)).float()


def mask_intersection(a: Masks, b: Masks) -> Tensor:
    """Number (N, M) int64 of pixels that are set in both."""
    return _shared(a, PackedRows.of(a), b, PackedRows.of(b))


def _areas(masks: Masks, rows: PackedRows) -> Tensor:
    return rows.set_before[masks.offsets + masks.areas_of_windows] - rows.set_before[masks.offsets]


def _shared(a: Masks, rows_a: PackedRows, b: Masks, rows_b: PackedRows) -> Tensor:
    """(N, M) int64 pixels set in both, from pairs whose windows overlap.

    Each run of set pixels in a row of ``a`` costs two look-ups in the running count of ``b``, however long it is.
    """
    low = torch.maximum(a.boxes[:, None, :2], b.boxes[:, :2])
    high = torch.minimum(a.boxes[:, None, 2:], b.boxes[:, 2:])
    i, j = (high > low).all(2).nonzero().unbind(1)
    runs = _Runs.of(a, rows_a)
    row = rows_a.first[i] - a.boxes[i, 1]  # plus y, the row among all rows of a
    first = runs.first[row + low[i, j, 1]]
    counts = runs.first[row + high[i, j, 1]] - first
    shared = torch.zeros(len(a) * len(b), dtype=torch.int64, device=i.device)
    for part in chunks(counts, MOST_LOOKUPS):
        pair, step = ragged(counts[part])
        run, other = first[part][pair] + step, j[part][pair]
        left, top, right, _ = b.boxes[other].unbind(1)
        line = rows_b.first[other] + runs.y[run] - top
        begin, end = (x[run].clamp(left, right) - rows_b.shift[line] for x in (runs.x0, runs.x1))
        shared.index_add_(0, (i * len(b) + j)[part][pair], rows_b.set_before[end] - rows_b.set_before[begin])
    return shared.view(len(a), len(b))


@dataclass(frozen=True)
class _Runs:
    """Unbroken runs of set pixels, from x0 to x1 (exclusive) in line y, sorted by mask and line; all (U,) int64.

    ``first`` (Y + 1,) is the first run of each row of all windows, and the end.
    """

    x0: Tensor
    x1: Tensor
    y: Tensor
    first: Tensor

    @classmethod
    def of(cls, masks: Masks, rows: PackedRows) -> _Runs:
        begin, end = masks.bits.clone(), masks.bits.clone()
        begin[1:] &= ~masks.bits[:-1]
        end[:-1] &= ~masks.bits[1:]
        edge = rows.start[rows.end > rows.start]  # a run does not go on into the next row
        begin[edge] = masks.bits[edge]
        end[edge - 1] = masks.bits[edge - 1]  # place -1 is the end of the last row
        begin_at, end_at = begin.nonzero()[:, 0], end.nonzero()[:, 0]
        row = torch.searchsorted(rows.start, begin_at, right=True) - 1
        first = torch.searchsorted(row, torch.arange(len(rows.owner) + 1, device=row.device))
        return cls(begin_at + rows.shift[row], end_at + rows.shift[row] + 1, rows.y[row], first)


def unite_masks(masks: Masks, groups: Tensor, count: int) -> Masks:
    """The unions of the masks of each group, in windows that fit tightly.

    Args:
        masks: N masks.
        groups: (N,) int64 in 0 to count - 1.
        count: number of groups, and of masks in the result; a group without pixels is an empty mask.
    """
    rows = PackedRows.of(masks)
    tight = rows.bounds(masks)
    used = tight[:, 2] > 0
    united = Masks.empty_windows(masks.size, _around(groups[used], tight[used], count))
    owner = groups[rows.owner]
    line = united.offsets[owner] + (rows.y - united.boxes[owner, 1]) * united.widths[owner] - united.boxes[owner, 0]
    united.bits[rows.columns(masks) + torch.repeat_interleave(line, rows.counts)] = True
    return united
