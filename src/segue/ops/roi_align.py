"""RoIAlign (Mask R-CNN, section 3), on one feature map or on a pyramid.

Bilinear sampling is a weighted sum of a few pixels, and the same everywhere in a bin: so the features become rows, one
per pixel, and every bin of every RoI one bag of an `embedding_bag`. The whole is one operator,
``segue::multilevel_roi_align``, that torch.compile and torch.export do not look into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.boxes import box_area
from segue.ops.ragged import chunks, ragged, starts_of
from segue.ops.taps import fixed_taps, ragged_taps, roi_extent

MOST_TAPS = 1 << 23  # per call with adaptive sampling, to bound the memory
TOGETHER = 256  # boxes that are read in one go on a CPU
LARGE = 1 << 23  # numbers in maps that are not copied into one there


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
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32))
    pool = _operator if torch.compiler.is_compiling() else _pooled  # whose gradient finds the taps anew
    pooled: Tensor = pool(list(features), list(scales), boxes, images, levels, output, sampling, aligned)
    return pooled


def _pooled(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    output: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    sizes = [[f.shape[2], f.shape[3]] for f in features]
    place = _place(sizes, len(features[0]), scales, boxes, images, levels, aligned)
    learning = torch.is_grad_enabled() and any(f.requires_grad for f in features)
    if boxes.device.type == "cpu" and not learning:
        bins = _level_by_level(features, levels, place, output, sampling)
    else:
        bins = _read(_rows(features), place, output, sampling)
    return bins.permute(0, 3, 1, 2)


def _level_by_level(features: list[Tensor], levels: Tensor, place: _Place, output: int, sampling: int) -> Tensor:
    """(R, P, P, C), some boxes of a level after the other.

    Copying large maps into one table would take as long as reading them, and so would new memory for all that is read.
    """
    step = len(features) if sum(f.numel() for f in features) < LARGE else 1
    bins, before = features[0].new_empty(len(levels), output, output, features[0].shape[1]), 0
    for first in range(0, len(features), step):
        rows = _rows(features[first : first + step])
        here = place._replace(base=place.base - before)  # rows of the tables before are not in this one
        for some in torch.split(((levels >= first) & (levels < first + step)).nonzero()[:, 0], TOGETHER):
            bins[some] = _read(rows, _Place(*(each[some] for each in here)), output, sampling)
        before += len(rows)
    return bins


def _rows(features: list[Tensor]) -> Tensor:
    """Maps (B, C, H_l, W_l) -> (sum of B H_l W_l, C), a row per pixel."""
    rows = [f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in features]
    return torch.cat(rows) if len(rows) > 1 else rows[0]


def _read(rows: Tensor, place: _Place, output: int, sampling: int) -> Tensor:
    """(R, P, P, C): every bin is a bag of rows."""
    parts = [
        F.embedding_bag(index, rows, offsets, per_sample_weights=weight.to(rows.dtype), mode="sum")
        for index, weight, offsets in _bags(place, output, sampling)
    ]
    bins = torch.cat(parts) if len(parts) > 1 else parts[0]  # (R * P * P, C)
    return bins.view(len(place.base), output, output, rows.shape[1])


_operator = torch.library.custom_op("segue::multilevel_roi_align", _pooled, mutates_args=())


@_operator.register_fake
def _(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    output: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    return features[0].new_empty(boxes.shape[0], output, output, features[0].shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("segue::multilevel_roi_align_backward", mutates_args=())
def _backward_operator(
    grad: Tensor,
    heights: list[int],
    widths: list[int],
    batch: int,
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """The gradient (sum of B H W, C) of the rows; where the bins read is found again, which costs less than memory."""
    sizes, channels, output = [[h, w] for h, w in zip(heights, widths, strict=True)], grad.shape[1], grad.shape[2]
    place = _place(sizes, batch, scales, boxes, images, levels, aligned)
    bins = grad.permute(0, 2, 3, 1).reshape(-1, channels)  # (R * P * P, C)
    rows, first = grad.new_zeros(batch * sum(h * w for h, w in sizes), channels), 0
    for index, weight, offsets in _bags(place, output, sampling):
        part = bins[first : first + len(offsets)]
        rows += _bag_gradient(part, index, offsets, weight.to(grad.dtype), len(rows))
        first += len(offsets)
    return rows


@_backward_operator.register_fake
def _(
    grad: Tensor,
    heights: list[int],
    widths: list[int],
    batch: int,
    scales: list[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    sampling: int,
    aligned: bool,
) -> Tensor:
    return grad.new_empty(batch * sum(h * w for h, w in zip(heights, widths, strict=True)), grad.shape[1])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, ctx.scales, boxes, images, levels, _, ctx.sampling, ctx.aligned = inputs
    ctx.batch, ctx.sizes = features[0].shape[0], [(f.shape[2], f.shape[3]) for f in features]
    ctx.save_for_backward(boxes, images, levels)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    heights, widths = ([size[axis] for size in ctx.sizes] for axis in (0, 1))
    place = ctx.scales, *ctx.saved_tensors
    rows = _backward_operator(grad, heights, widths, ctx.batch, *place, ctx.sampling, ctx.aligned)
    parts = zip(rows.split([ctx.batch * h * w for h, w in ctx.sizes]), ctx.sizes, strict=True)
    features = [part.view(ctx.batch, h, w, -1).permute(0, 3, 1, 2) for part, (h, w) in parts]
    return (features, *[None] * 7)


_operator.register_autograd(_gradients, setup_context=_remember)


class _Place(NamedTuple):
    """Where R boxes lie among the rows of all maps: first row of the map (R,), start, extent and map's size (R, 2)."""

    base: Tensor
    start: Tensor
    extent: Tensor
    shape: Tensor


Bags = tuple[Tensor, Tensor, Tensor]
"""Index and weight (T,) of the rows that bins read, bin after bin, and the first place of each bin in them."""


def _place(
    sizes: Sequence[Sequence[int]],
    batch: int,
    scales: Sequence[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    aligned: bool,
) -> _Place:
    """Boxes (R, 4) in pixels of the image, on maps of these ``sizes``, height and width."""
    shapes = torch.tensor(sizes, device=boxes.device)  # (L, 2)
    per_image = shapes.prod(1)
    base = starts_of(per_image * batch)[levels] + images * per_image[levels]
    scaled = boxes * torch.tensor(scales, dtype=boxes.dtype, device=boxes.device)[levels, None]
    return _Place(base, *roi_extent(scaled, aligned), shapes[levels])


def _bags(place: _Place, output: int, sampling: int) -> Iterator[Bags]:
    """The bags of some boxes after the other: all at once with a fixed number of samples."""
    if sampling:
        yield _fixed_bags(place, output, sampling)
        return
    size = place.extent / output
    taps = torch.where(size.isfinite(), size.clamp(min=0) + 2, 0)  # about, per bin and axis
    costs = taps.prod(1).long() * output**2
    if not len(costs):
        yield _ragged_bags(place, output)
    for chunk in chunks(costs, MOST_TAPS):
        yield _ragged_bags(_Place(*(part[chunk] for part in place)), output)


def _fixed_bags(place: _Place, output: int, sampling: int) -> Bags:
    """The same number of taps in every bin: nothing depends on the data but the values."""
    base, start, extent, shape = place
    both = start.T.flatten(), extent.T.flatten(), shape.flip(1).T.flatten()  # x of all boxes, then y: (2 R,)
    stacked = (taps.view(2, len(base), output, 2 * sampling) for taps in fixed_taps(*both, output, sampling))
    index, weight = stacked  # (2, R, P, 2S)
    (x, first), (wx, wy) = (index[0], base[:, None, None] + index[1] * shape[:, 1, None, None]), weight
    # All taps of a bin lie side by side: long rows add and multiply faster than many short ones.
    x, wx = (taps[:, None, :, None].expand(-1, -1, -1, 2 * sampling, -1).flatten(3) for taps in (x, wx))
    first, wy = (taps[:, :, None, :, None].expand(-1, -1, -1, -1, 2 * sampling).flatten(3) for taps in (first, wy))
    offsets = torch.arange(len(base) * output**2, device=base.device) * (2 * sampling) ** 2
    return (first + x).flatten(), (wy * wx).flatten(), offsets  # of (R, P, P, 4 S S)


def _ragged_bags(place: _Place, output: int) -> Bags:
    """Every bin (RoI, p, q) reads the lines that p touches, and in each of these the columns that q touches."""
    base, start, extent, shape = place
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
    return index, share[tap] * x.weight[column], starts_of(y.counts[bin_y] * x.counts[bin_x])


def _bag_gradient(grad: Tensor, index: Tensor, offsets: Tensor, weight: Tensor, rows: int) -> Tensor:
    """The gradient (rows, C) that `embedding_bag` passes on to its rows; no public function gives it alone."""
    sizes = torch.diff(offsets, append=offsets.new_tensor([len(index)]))
    bag = torch.repeat_interleave(sizes)
    most = offsets.new_empty(0)  # of mode "max" only
    gradient: Tensor = torch.ops.aten._embedding_bag_backward(
        grad, index, offsets, bag, sizes, most, rows, False, 0, False, weight
    )
    return gradient
