"""What the mask head should say: the matched object's mask inside a proposal (Mask R-CNN, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.masks import PackedRows
from segue.ops.ragged import chunks, ragged, starts_of
from segue.ops.taps import RaggedTaps, ragged_taps, roi_extent
from segue.structures import Masks

MOST_PIXELS = 1 << 23  # of all RoIs at a time, to bound the memory


@torch.no_grad()
def mask_targets(masks: Masks, index: Tensor, boxes: Tensor, size: int, binary: bool) -> Tensor:
    """RoIAlign of one mask per RoI with adaptive sampling, read from the packed bits: (R, size, size) float32.

    Args:
        masks: N masks.
        index: (R,) int64, the mask of each RoI.
        boxes: (R, 4) xyxy in pixels of the masks' canvas.
        size: pixels of the result per axis.
        binary: True for detectron2's rule (half-pixel centres, then at least one half is 1), False for torchvision's
            (whole-pixel centres, soft values).
    """
    start, extent = roi_extent(boxes.detach().float(), aligned=binary)
    if not bool(masks.bits.any()):
        return start.new_zeros(len(boxes), size, size)
    shape = torch.tensor(masks.size[::-1], device=start.device)  # width, height
    costs = (torch.minimum(extent.nan_to_num(0).clamp(min=0), shape) + 2).prod(1).long()
    rows = PackedRows.of(masks)
    columns = rows.columns(masks)
    parts = [
        _soft_targets(masks, rows, columns, index[c], _RoIs.of(start[c], extent[c], shape, size))
        for c in chunks(costs, MOST_PIXELS)
    ]
    soft = torch.cat([start.new_zeros(0, size, size), *parts])
    return (soft >= 0.5).float() if binary else soft


@dataclass(frozen=True)
class _Axis:
    """RoIs on one axis: their taps, and the span of pixels ``low`` to ``low + length`` (R,) that these touch.

    ``start`` (R,) is the place of each span where all spans lie one after the other, ``roi`` (T,) the RoI of each tap.
    """

    taps: RaggedTaps
    low: Tensor
    length: Tensor
    start: Tensor
    roi: Tensor

    @classmethod
    def of(cls, start: Tensor, extent: Tensor, pixels: Tensor, size: int) -> _Axis:
        taps = ragged_taps(start, extent, pixels.expand(len(start)), size)
        roi = torch.repeat_interleave(taps.counts) // size
        per_roi = taps.counts.view(-1, size).sum(1)
        filled = per_roi > 0
        first, low, length = starts_of(per_roi)[filled], torch.zeros_like(per_roi), torch.zeros_like(per_roi)
        low[filled] = taps.index[first]  # taps ascend
        length[filled] = taps.index[first + per_roi[filled] - 1] + 1 - low[filled]
        return cls(taps, low, length, starts_of(length), roi)

    @property
    def places(self) -> Tensor:
        """(T,) the place of each tap's pixel in the spans of all RoIs."""
        return self.taps.index + (self.start - self.low)[self.roi]


@dataclass(frozen=True)
class _RoIs:
    x: _Axis
    y: _Axis
    size: int

    @classmethod
    def of(cls, start: Tensor, extent: Tensor, shape: Tensor, size: int) -> _RoIs:
        x, y = (_Axis.of(start[:, axis], extent[:, axis], shape[axis], size) for axis in (0, 1))
        return cls(x, y, size)


def _soft_targets(masks: Masks, rows: PackedRows, columns: Tensor, index: Tensor, rois: _RoIs) -> Tensor:
    """(R, size, size): lines of pixels are summed into ``size`` columns, then the lines into ``size`` rows.

    Only set pixels are read: those of a line are one bag, and each names what its column adds to the line.
    """
    first, counts = _set_in_lines(masks, rows, index, rois)
    shift = (first - starts_of(counts), (rois.x.start - rois.x.low)[torch.repeat_interleave(rois.y.length)])
    line = torch.repeat_interleave(counts)
    pixel = columns[torch.arange(len(line), device=line.device) + shift[0][line]] + shift[1][line]
    lines = F.embedding_bag(pixel, _column_table(rois), starts_of(counts), mode="sum")  # (L, size)
    y = rois.y
    bins = F.embedding_bag(y.places, lines, y.taps.starts, per_sample_weights=y.taps.weight, mode="sum")
    samples = (rois.x.taps.samples * y.taps.samples).clamp(min=1)
    return bins.view(-1, rois.size, rois.size) / samples[:, None, None]


def _column_table(rois: _RoIs) -> Tensor:
    """(columns of all RoIs, size): what a set pixel of that column adds to each bin of its line."""
    x, size = rois.x, rois.size
    bin_ = torch.repeat_interleave(x.taps.counts) % size
    table = x.taps.weight.new_zeros(int(x.length.sum()), size)
    table.view(-1).index_add_(0, x.places * size + bin_, x.taps.weight)
    return table


def _set_in_lines(masks: Masks, rows: PackedRows, index: Tensor, rois: _RoIs) -> tuple[Tensor, Tensor]:
    """For every line of every RoI, (L,) int64 each: its first set pixel among all set pixels, and how many it has."""
    roi, step = ragged(rois.y.length)
    y, mask = rois.y.low[roi] + step, index[roi]
    left, top, right, bottom = masks.boxes[mask].unbind(1)
    inside = (y >= top) & (y < bottom)
    shift = rows.shift[torch.where(inside, rows.first[mask] + y - top, 0)]
    low = rois.x.low[roi]
    ends = [at.clamp(left, right) - shift for at in (low, low + rois.x.length[roi])]
    first, last = (rows.set_before[torch.where(inside, end, 0)] for end in ends)
    return first, last - first
