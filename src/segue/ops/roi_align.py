"""RoIAlign (Mask R-CNN, section 3), on one feature map or on a pyramid.

Bilinear sampling is a weighted sum of a few pixels, and the same everywhere in a bin: so the features become rows, one
per pixel, and every bin of every RoI one bag of an `embedding_bag`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.boxes import box_area
from segue.ops.ragged import chunks, ragged, starts_of
from segue.ops.taps import fixed_taps, ragged_taps, roi_extent

MOST_TAPS = 1 << 23  # per call with adaptive sampling, to bound the memory


def assign_levels(
    boxes: Tensor,
    minimum: int,
    maximum: int,
    eps_inside: bool,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Tensor:
    """The pyramid level for boxes (R, 4), counted from ``minimum``: (R,) int64 (FPN, equation 1).

    Args:
        boxes: (R, 4) xyxy in pixels of the image.
        minimum: finest level that there is (2 is stride 4).
        maximum: coarsest level.
        eps_inside: the guard against rounding stands inside the logarithm (detectron2), else outside (torchvision).
        canonical_size: a box of this side ...
        canonical_level: ... belongs on this level.
    """
    side = box_area(boxes).sqrt() / canonical_size
    inside, outside = (1e-8, 0.0) if eps_inside else (0.0, 1e-6)
    level = canonical_level + torch.log2(side + inside) + outside
    return level.floor().clamp(minimum, maximum).nan_to_num(minimum).long() - minimum


def roi_align(
    features: Tensor,
    boxes: Tensor,
    images: Tensor,
    output: int,
    scale: float,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign on one map (B, C, H, W) -> (R, C, output, output); the arguments are those of `multilevel_roi_align`."""
    levels = torch.zeros_like(images)
    return multilevel_roi_align([features], [scale], boxes, images, levels, output, sampling, aligned)


def multilevel_roi_align(
    features: Sequence[Tensor],
    scales: Sequence[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    output: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """Means of bilinear samples in ``output`` by ``output`` bins of each box, from the map of the box's level.

    A sample further than one pixel outside its map counts as zero, one nearer is moved to the edge. Gradients reach the
    features, not the boxes. Channels-last features are read as they are; others are copied first.

    Args:
        features: (B, C, H_l, W_l), one per level.
        scales: pixels of that map per pixel of the image.
        boxes: (R, 4) xyxy in pixels of the image.
        images: (R,) int64 index into the batch.
        levels: (R,) int64 index into ``features``.
        output: bins per axis, P.
        sampling: samples per bin and axis; 0 takes as many as a bin has pixels, rounded up.
        aligned: pixel centres lie at halves; else at whole numbers, and a box is at least one pixel of the map wide.

    Returns:
        (R, C, P, P), in channels-last memory.
    """
    rows = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in features])  # (sum of B H W, C)
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32))
    shapes = torch.tensor([f.shape[2:] for f in features], device=boxes.device)  # (L, 2) height, width
    per_image = shapes.prod(1)
    base = starts_of(per_image * len(features[0]))[levels] + images * per_image[levels]  # (R,) first row of the map
    scaled = boxes * torch.tensor(scales, dtype=boxes.dtype, device=boxes.device)[levels, None]
    start, extent = roi_extent(scaled, aligned)
    pool = _pool_fixed if sampling else _pool_adaptive
    bins = pool(rows, base, start, extent, shapes[levels], output, sampling)  # (R * P * P, C)
    return bins.view(len(boxes), output, output, rows.shape[1]).permute(0, 3, 1, 2)


def _pool_fixed(
    rows: Tensor, base: Tensor, start: Tensor, extent: Tensor, shape: Tensor, output: int, sampling: int
) -> Tensor:
    """The same number of taps in every bin: nothing depends on the data but the values."""
    y, wy = fixed_taps(start[:, 1], extent[:, 1], shape[:, 0], output, sampling)  # (R, P, 2S)
    x, wx = fixed_taps(start[:, 0], extent[:, 0], shape[:, 1], output, sampling)
    first = base[:, None, None] + y * shape[:, 1, None, None]
    index = first[:, :, None, :, None] + x[:, None, :, None, :]  # (R, P, P, 2S, 2S)
    weight = wy[:, :, None, :, None] * wx[:, None, :, None, :]
    taps = (2 * sampling) ** 2
    weights = weight.reshape(-1, taps).to(rows.dtype)
    return F.embedding_bag(index.reshape(-1, taps), rows, per_sample_weights=weights, mode="sum")


def _pool_adaptive(
    rows: Tensor, base: Tensor, start: Tensor, extent: Tensor, shape: Tensor, output: int, sampling: int
) -> Tensor:
    """Bags of different lengths, some RoIs at a time."""
    size = extent / output
    taps = torch.where(size.isfinite(), size.clamp(min=0) + 2, 0)  # about, per bin and axis
    costs = taps.prod(1).long() * output**2
    parts = [_pool_ragged(rows, base[c], start[c], extent[c], shape[c], output) for c in chunks(costs, MOST_TAPS)]
    return torch.cat(parts) if parts else rows[:0]


def _pool_ragged(rows: Tensor, base: Tensor, start: Tensor, extent: Tensor, shape: Tensor, output: int) -> Tensor:
    """Every bin (RoI, p, q) reads the lines that p touches, and in each of these the columns that q touches."""
    y = ragged_taps(start[:, 1], extent[:, 1], shape[:, 0], output)
    x = ragged_taps(start[:, 0], extent[:, 0], shape[:, 1], output)
    grid = torch.arange(len(base) * output, device=base.device)  # (RoI, p), which are y's bins
    bin_y = grid.repeat_interleave(output)  # (RoI, p, q)
    bin_x = grid.view(-1, 1, output).expand(-1, output, -1).flatten()

    bag, step = ragged(y.counts[bin_y])  # per line of a bag
    line, roi = y.starts[bin_y][bag] + step, bin_y[bag] // output
    first = base[roi] + y.index[line] * shape[roi, 1]
    share = y.weight[line] / (y.samples * x.samples).clamp(min=1)[roi]

    per_line = x.counts[bin_x][bag]
    tap = torch.repeat_interleave(per_line)  # the line of each tap
    column = torch.arange(len(tap), device=tap.device) + (x.starts[bin_x][bag] - starts_of(per_line))[tap]
    index = first[tap] + x.index[column]
    weight = (share[tap] * x.weight[column]).to(rows.dtype)
    offsets = starts_of(y.counts[bin_y] * x.counts[bin_x])
    return F.embedding_bag(index, rows, offsets, per_sample_weights=weight, mode="sum")
