"""Keypoints as one-hot maps inside a region, and back (Mask R-CNN, He et al. 2017, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.ops.ragged import chunks
from segue.ops.upsample import KERNELS

MOST_VALUES = 1 << 21  # of enlarged maps at a time, to bound the memory


def move_points(points: Tensor, shift: float) -> Tensor:
    """(..., 3) points with ``shift`` added to x and y; a triple of zeros is no point and stays."""
    there = points.any(-1, keepdim=True)
    return points + points.new_tensor([shift, shift, 0.0]) * there


@torch.no_grad()
def keypoint_targets(points: Tensor, boxes: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """In which cell of its region's map each keypoint lies.

    Args:
        points: (R, K, 3) x, y, visibility in pixels; occluded ones (1) count, unlabelled ones (0) do not.
        boxes: (R, 4) xyxy, the regions.
        cells: of a map per axis.

    Returns:
        (R, K) int64 index ``row * cells + column``, 0 where there is no target, and (R, K) bool: there is one, since
        the keypoint is labelled and inside its region. A point on the right or lower edge is in the last cell.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]  # (R, 1, 2)
    xy = points[..., :2]
    place = ((xy - low) * cells / (high - low)).floor()
    place = torch.where(xy == high, cells - 1, place)
    inside = ((place >= 0) & (place < cells) & (high > low)).all(-1)  # a place that is not a number is not inside
    valid = inside & (points[..., 2] > 0)
    column, row = torch.where(valid[..., None], place, 0).long().unbind(-1)
    return row * cells + column, valid


@torch.no_grad()
def keypoint_peaks(logits: Tensor, boxes: Tensor) -> Tensor:
    """Where maps are highest once they are enlarged, bicubic, to the whole pixels of their box.

    How large they become depends on the boxes, so it is an operator, as of `segue.ops.nms`.

    Args:
        logits: (N, K, S, S), the maps of N regions.
        boxes: (N, 4) xyxy, the regions; sides below one pixel count as one.

    Returns:
        (N, K, 3) x, y of the highest pixel's centre, and its value.
    """
    points: Tensor = _peaks(logits, boxes)
    return points


@torch.library.custom_op("segue::keypoint_peaks", mutates_args=())
def _peaks(logits: Tensor, boxes: Tensor) -> Tensor:
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)  # (N, 2) width, height
    pixels = sides.ceil().long()
    costs = pixels.prod(1) * logits.shape[1]
    order = costs.argsort()  # regions enlarged together are padded to one size
    peaks = logits.new_zeros(*logits.shape[:2], 3)
    for part in chunks(costs[order], MOST_VALUES):
        rows = order[part]
        peaks[rows] = _highest(logits[rows], pixels[rows])
    xy = (peaks[..., :2] + 0.5) * (sides / pixels)[:, None] + boxes[:, None, :2]
    return torch.cat([xy, peaks[..., 2:]], dim=2)


@_peaks.register_fake
def _(logits: Tensor, boxes: Tensor) -> Tensor:
    return logits.new_empty(logits.shape[0], logits.shape[1], 3)


@torch.no_grad()
def keypoint_windows(logits: Tensor, boxes: Tensor) -> Tensor:
    """The mean place in the window, a fifth of the region's sides, that has most of a map's softmax.

    A map may have two hills: a steep one where the point would be seen, a flat one where it would be hidden. The
    steeper is higher, whichever is the likelier; the share of a window does not depend on how steep a hill is.

    Args:
        logits: (N, K, S, S), the maps of N regions.
        boxes: (N, 4) xyxy, the regions.

    Returns:
        (N, K, 3) x, y and the window's share, in [0, 1].
    """
    s = logits.shape[-1]
    shares = logits.flatten(2).softmax(2).view_as(logits)
    side = s // 5 | 1  # odd, so that a window has a cell in its middle
    cells = torch.arange(s, device=logits.device)
    near = ((cells - cells[:, None]).abs() <= side // 2).to(shares)  # (S, S), each row a window
    most, middle = (near @ shares @ near).flatten(2).max(2)  # (N, K), sums of all windows
    rows, columns = near[middle // s], near[middle % s]  # (N, K, S)
    centres = cells + 0.5
    across = (rows[..., None, :] @ shares)[..., 0, :] * columns  # (N, K, S), the window's rows added up
    down = (shares @ columns[..., None])[..., 0] * rows
    mean = torch.stack([across @ centres, down @ centres], 2) / most.clamp(min=1e-12)[..., None]
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]  # (N, 1, 2)
    return torch.cat([boxes[:, None, :2] + mean / s * sides, most[..., None]], 2)


def _highest(logits: Tensor, pixels: Tensor) -> Tensor:
    """Column, row and value of the highest pixel of maps (N, K, S, S), enlarged to ``pixels`` (N, 2): (N, K, 3)."""
    n, k, s, _ = logits.shape
    across, down = (_enlargement(pixels[:, axis], s).to(logits) for axis in (0, 1))  # (N, W, S), (N, H, S)
    h, w = down.shape[1], across.shape[1]
    wide = logits.reshape(n, k * s, s) @ across.mT  # (N, K * S, W)
    wide = wide.view(n, k, s, w).transpose(1, 2).reshape(n, s, k * w)
    maps = (down @ wide).view(n, h, k, w)
    in_row, columns = maps.masked_fill_(_beyond(across, pixels[:, 0])[:, None, None], -torch.inf).max(3)
    value, row = in_row.masked_fill_(_beyond(down, pixels[:, 1])[..., None], -torch.inf).max(1)  # (N, K)
    column = columns.gather(1, row[:, None])[:, 0]
    return torch.stack([column, row, value], dim=2)


def _beyond(matrix: Tensor, lengths: Tensor) -> Tensor:
    """(N, L) bool: rows of matrices (N, L, S) from the ``lengths`` (N,) on."""
    return torch.arange(matrix.shape[1], device=lengths.device) >= lengths[:, None]


def _enlargement(lengths: Tensor, cells: int) -> Tensor:
    """As `interpolation_matrix`, for N outputs of different ``lengths`` (N,): (N, longest, cells) float64.

    Rows from the length on mean nothing.
    """
    longest = int(lengths.max()) if len(lengths) else 0
    output = torch.arange(longest, dtype=torch.float64, device=lengths.device)
    at = (2 * output + 1) * cells / (2 * lengths[:, None]) - 0.5  # (N, longest)
    taps = at.floor()[..., None] + torch.arange(-1, 3, device=lengths.device)  # (N, longest, 4)
    weights = KERNELS["bicubic"](at[..., None] - taps)
    matrix = weights.new_zeros(len(lengths), longest, cells)
    return matrix.scatter_add(2, taps.clamp(0, cells - 1).long(), weights)
