"""From the mask head's small squares to masks in the picture, by the rules of detectron2 and torchvision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.ragged import chunks, ragged
from segue.structures import Masks

MOST_PIXELS = 1 << 24  # at a time, to bound the memory


@torch.no_grad()
def paste_masks(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    at_centres: bool,
    threshold: float = 0.5,
) -> Masks:
    """Mask probabilities (N, M, M), stretched over their boxes (N, 4) and cut at ``threshold`` (which itself is set).

    Args:
        probabilities: (N, M, M) in [0, 1].
        boxes: (N, 4) xyxy in pixels; one that is not finite gives an empty mask.
        size: (height, width) of the canvas.
        at_centres: True samples at the centres of the canvas's pixels (detectron2), False resizes to a whole number of
            pixels (torchvision, whose users cut the soft map at one half themselves).
        threshold: least probability of a set pixel.
    """
    placing = _placing(boxes, size, probabilities.shape[-1], at_centres)
    bits = [
        _sample(probabilities[c], placing.part(c)) >= threshold
        for c in chunks((placing.windows[:, 2:] - placing.windows[:, :2]).prod(1), MOST_PIXELS)
    ]
    empty = torch.zeros(0, dtype=torch.bool, device=boxes.device)
    return Masks(size, placing.windows, torch.cat([empty, *bits]))


@torch.no_grad()
def paste_soft(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], at_centres: bool) -> tuple[Tensor, Tensor]:
    """As `paste_masks`, before the cut: windows (N, 4) int64 as in `Masks`, and their values (P,) one after the other.

    Outside the windows the value is 0.
    """
    placing = _placing(boxes, size, probabilities.shape[-1], at_centres)
    return placing.windows, _sample(probabilities, placing)


@dataclass(frozen=True)
class _Placing:
    """Where squares go: pixel i of an axis reads the padded square at ``(i + 0.5 - origin) * scale + shift``.

    Attributes:
        windows: (N, 4) int64 on the canvas.
        origin: (N, 2), x then y, in pixels.
        scale: (N, 2) cells per pixel.
        shift: in cells.
    """

    windows: Tensor
    origin: Tensor
    scale: Tensor
    shift: float

    def part(self, items: slice) -> _Placing:
        return _Placing(self.windows[items], self.origin[items], self.scale[items], self.shift)


def _placing(boxes: Tensor, size: tuple[int, int], cells: int, at_centres: bool) -> _Placing:
    boxes = boxes.detach().float()
    finite = boxes.isfinite().all(1, keepdim=True)
    low, high = torch.where(finite, boxes, 0).view(-1, 2, 2).unbind(1)  # (N, 2)
    if at_centres:
        # Cell centres lie at halves; one more cell of zeros around, whose centres end the support, shifts them by one.
        side = high - low
        margin = side / (2 * cells)
        first, last, scale, shift = (low - margin).floor(), (high + margin).ceil(), cells / side, 0.5
    else:
        # Detectron: the padded square on a box as much larger, cut to whole pixels of which both ends count.
        middle, half = (low + high) * 0.5, (high - low) * 0.5 * ((cells + 2) / cells)
        low, last = (middle - half).trunc(), (middle + half).trunc() + 1
        first, scale, shift = low, (cells + 2) / (last - low).clamp(min=1), -0.5
    limit = torch.tensor(size[::-1], device=boxes.device)
    first, last = (torch.minimum(at.clamp(min=0), limit) for at in (first, last))
    windows = torch.cat([first, last], dim=1).long()
    usable = finite[:, 0] & (last > first).all(1) & scale.isfinite().all(1)
    return _Placing(torch.where(usable[:, None], windows, 0), low, scale, shift)


def _sample(probabilities: Tensor, placing: _Placing) -> Tensor:
    """(P,) values of all windows: the rows of all at once, then of each window its pixels, as a matrix product.

    Windows have different sizes. Still, a product for each takes a tenth of the time of looking up every pixel's taps.
    """
    padded = F.pad(probabilities, (1, 1, 1, 1))  # (N, M + 2, M + 2)
    side = padded.shape[-1]
    owner, low, part = _taps(placing, 1, side)
    part = part[:, None]
    rows = padded[owner, low] * (1 - part) + padded[owner, low + 1] * part  # (Y, M + 2)
    _, low, part = _taps(placing, 0, side)
    weights = part.new_zeros(side, len(part))  # (M + 2, X): from cells to columns
    weights.scatter_(0, low[None], 1 - part[None]).scatter_(0, low[None] + 1, part[None])
    widths, heights = (placing.windows[:, 2:] - placing.windows[:, :2]).T.tolist()
    areas = [width * height for width, height in zip(widths, heights, strict=True)]
    values = rows.new_empty(sum(areas))
    each = torch.split(rows, heights), torch.split(weights, widths, dim=1), torch.split(values, areas)
    for window_rows, columns, out in zip(*each, strict=True):
        torch.mm(window_rows, columns, out=out.view(len(window_rows), columns.shape[1]))
    return values


def _taps(placing: _Placing, axis: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """For every column (axis 0) or row (axis 1) of every window: its window, the lower cell, the upper cell's share."""
    windows = placing.windows
    owner, step = ragged(windows[:, axis + 2] - windows[:, axis])
    pixel = (windows[owner, axis] + step).to(placing.scale.dtype) + 0.5
    at = (pixel - placing.origin[owner, axis]) * placing.scale[owner, axis] + placing.shift
    at = at.clamp(0, side - 1)
    low = at.floor().clamp(max=side - 2)
    return owner, low.long(), at - low
