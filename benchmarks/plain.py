"""The region operations the straightforward way, in pure torch: the reference where torchvision is missing.

Each has the arguments of its twin in `segue.ops`; masks are dense here, (N, H, W). They follow torchvision's
definitions (and detectron2's where a flag says so) and are nobody's fast path.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CANVASES = 25  # masks pasted at a time


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Corners of the intersection as (..., N, M, 2), then areas."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = _area(a)[..., :, None] + _area(b)[..., None, :] - shared
    return (shared / union).nan_to_num(0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The whole matrix of overlaps, then one box after the other."""
    order = scores.argsort(descending=True, stable=True)
    conflict = box_iou(boxes[order], boxes[order]) > iou_threshold
    alive = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~conflict[i, i + 1 :]
    return order[alive]


def nms_keep(
    boxes: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    """Group after group."""
    keep = torch.zeros(len(boxes), dtype=torch.bool)
    usable = torch.ones_like(keep) if valid is None else valid
    groups = torch.zeros(len(boxes), dtype=torch.int64) if groups is None else groups
    for group in groups[usable].unique():
        index = (usable & (groups == group)).nonzero()[:, 0]
        keep[index[nms(boxes[index], scores[index], iou_threshold)]] = True
    return keep


def anchors(
    grids: Sequence[tuple[int, int]],
    strides: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> Tensor:
    """(sum of H * W * A, 4): shifts plus rounded cell anchors, level by level."""
    levels = []
    for (h, w), (down, right), size in zip(grids, strides, sizes, strict=True):
        tall = torch.tensor(ratios).sqrt()
        half = torch.stack([size / tall, size * tall], dim=1) / 2  # (A, 2) width, height
        cell = torch.cat([-half, half], dim=1).round()
        y, x = torch.meshgrid(torch.arange(h) * down, torch.arange(w) * right, indexing="ij")
        shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        levels.append((shifts + cell).reshape(-1, 4))
    return torch.cat(levels)


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
    """Level after level, four gathers of every sample point, then the mean of each bin."""
    result = features[0].new_zeros(len(boxes), features[0].shape[1], output, output)
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        index = (levels == level).nonzero()[:, 0]
        pooled = _pool(feature, boxes[index] * scale, images[index], output, (sampling, sampling), aligned)
        result = result.index_copy(0, index, pooled)
    return result


def _pool(
    feature: Tensor, boxes: Tensor, images: Tensor, output: int, sampling: tuple[int, int], aligned: bool
) -> Tensor:
    """Boxes (R, 4) in pixels of a map (B, C, H, W), with ``sampling`` down and right -> (R, C, output, output)."""
    start = boxes[:, :2] - (0.5 if aligned else 0.0)
    side = boxes[:, 2:] - boxes[:, :2]
    side = side if aligned else side.clamp(min=1)
    y = _points(start[:, 1], side[:, 1], output * sampling[0])
    x = _points(start[:, 0], side[:, 0], output * sampling[1])
    samples = _bilinear(feature, images, y, x)  # (R, P * Sy, P * Sx, C)
    bins = samples.unflatten(1, (output, sampling[0])).unflatten(3, (output, sampling[1]))
    return bins.mean((2, 4)).permute(0, 3, 1, 2)


def _points(start: Tensor, side: Tensor, count: int) -> Tensor:
    """(R, count) centres of ``count`` equal parts of each interval."""
    return start[:, None] + (torch.arange(count) + 0.5) * (side / count)[:, None]


def _bilinear(feature: Tensor, images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Map (B, C, H, W) at rows (R, Y) and columns (R, X) -> (R, Y, X, C); zero a pixel and more outside."""
    (y0, y1, dy, y_in), (x0, x1, dx, x_in) = _neighbours(y, feature.shape[2]), _neighbours(x, feature.shape[3])
    dy, dx = dy[:, :, None, None], dx[:, None, :, None]

    def at(row: Tensor, column: Tensor) -> Tensor:
        return feature[images[:, None, None], :, row[:, :, None], column[:, None, :]]

    top = at(y0, x0) * (1 - dx) + at(y0, x1) * dx
    bottom = at(y1, x0) * (1 - dx) + at(y1, x1) * dx
    inside = (y_in[:, :, None] & x_in[:, None, :])[..., None]
    return (top * (1 - dy) + bottom * dy) * inside


def _neighbours(at: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper pixel, share of the upper, and whether the place counts at all."""
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor()
    return low.long(), (low + 1).clamp(max=length - 1).long(), at - low, inside


def mask_targets(masks: Tensor, index: Tensor, boxes: Tensor, size: int, binary: bool) -> Tensor:
    """RoI after RoI from dense masks (N, H, W), as many samples as a bin has pixels."""
    targets = [boxes.new_zeros(0, size, size)]
    for mask, box in zip(index.tolist(), boxes, strict=True):
        side = box[2:] - box[:2]
        side = side if binary else side.clamp(min=1)
        right, down = (side / size).ceil().clamp(min=1).int().tolist()
        first = torch.zeros(1, dtype=torch.int64)
        soft = _pool(masks[mask][None, None].float(), box[None], first, size, (down, right), aligned=binary)
        targets.append((soft[0] >= 0.5).float() if binary else soft[0])
    return torch.cat(targets)


def paste_masks(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], at_centres: bool) -> Tensor:
    """(N, H, W) bool: every square sampled over the whole canvas by ``grid_sample``."""
    canvas = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for start in range(0, len(boxes), CANVASES):
        part = slice(start, start + CANVASES)
        paste = _paste_at_centres if at_centres else _paste_whole_pixels
        canvas[part] = paste(probabilities[part], boxes[part], size) >= 0.5
    return canvas


def _paste_at_centres(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    side = boxes[:, 2:] - boxes[:, :2]
    x, y = _canvas_places(boxes[:, :2], side, size)
    return _grid_sample(probabilities, x, y, "zeros")


def _paste_whole_pixels(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """torchvision: the square with a border of zeros on a box as much larger, of whole pixels, both ends counted."""
    larger = (probabilities.shape[-1] + 2) / probabilities.shape[-1]
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * larger
    low, high = (middle - half).trunc(), (middle + half).trunc() + 1
    x, y = _canvas_places(low, (high - low).clamp(min=1), size)
    soft = _grid_sample(F.pad(probabilities, (1, 1, 1, 1)), x, y, "border")
    return soft * ((y.abs() < 1)[:, :, None] & (x.abs() < 1)[:, None, :])


def _canvas_places(low: Tensor, side: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixel centres of the canvas in coordinates where each box goes from -1 to 1: (N, W) and (N, H)."""
    h, w = size
    x = (torch.arange(w) + 0.5 - low[:, :1]) / side[:, :1] * 2 - 1
    y = (torch.arange(h) + 0.5 - low[:, 1:]) / side[:, 1:] * 2 - 1
    return x, y


def _grid_sample(squares: Tensor, x: Tensor, y: Tensor, outside: str) -> Tensor:
    n, h, w = len(squares), y.shape[1], x.shape[1]
    grid = torch.stack([x[:, None, :].expand(n, h, w), y[:, :, None].expand(n, h, w)], dim=-1)
    return F.grid_sample(squares[:, None], grid, padding_mode=outside, align_corners=False)[:, 0]


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """One product of the dense masks (N, H, W) and (M, H, W) as rows."""
    a, b = a.flatten(1).float(), b.flatten(1).float()
    shared = a @ b.T
    return shared / (a.sum(1)[:, None] + b.sum(1) - shared).clamp(min=1)
