"""Boxes ``x0, y0, x1, y1`` in pixels: areas, overlaps, clipping, and the box coder of R-CNN."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = tuple[float, float, float, float]

LOG_SCALE_LIMIT = math.log(1000 / 16)  # Faster R-CNN code of Detectron: a box grows at most from 16 to 1000 pixels
SMALLEST_SIDE = 1e-6  # pixels; keeps the targets of padding finite


def box_area(boxes: Tensor) -> Tensor:
    """Areas (...) of boxes (..., 4), in square pixels; 0 where a side is negative."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., N, 4) and (..., M, 4) -> (..., N, M) in [0, 1].

    Leading dimensions broadcast. Boxes without area overlap nothing, themselves included.
    """
    shared = _intersection(a, b)
    union = box_area(a)[..., :, None] + box_area(b)[..., None, :] - shared
    return shared / torch.where(union > 0, union, 1)


def crowd_iou(boxes: Tensor, crowds: Tensor) -> Tensor:
    """The share of each box (..., N, 4) that lies in each crowd box (..., M, 4) -> (..., N, M).

    COCO's overlap with ``iscrowd`` regions: the area of the box alone is the denominator.
    """
    area = box_area(boxes)[..., :, None]
    return _intersection(boxes, crowds) / torch.where(area > 0, area, 1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Shared areas (..., N, M); one axis at a time, so that nothing larger than the result is made."""
    left, top, right, bottom = a[..., :, None, :].unbind(-1)  # (..., N, 1)
    x0, y0, x1, y1 = b[..., None, :, :].unbind(-1)  # (..., 1, M)
    width = (torch.minimum(right, x1) - torch.maximum(left, x0)).clamp(min=0)
    height = (torch.minimum(bottom, y1) - torch.maximum(top, y0)).clamp(min=0)
    return width * height


def clip_boxes(boxes: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
    """Boxes (..., 4) cut off at a canvas of ``size``: (height, width), or a tensor (..., 2) that broadcasts."""
    h, w = torch.as_tensor(size, dtype=boxes.dtype, device=boxes.device).unbind(-1)
    return torch.minimum(boxes.clamp(min=0), torch.stack([w, h, w, h], dim=-1))


def encode_boxes(boxes: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """What moves anchors (..., 4) onto boxes (..., 4): weighted dx, dy, dw, dh (..., 4) (R-CNN, appendix C).

    Sides below 1e-6 pixels count as that long: the result is always finite, also for padding.
    """
    x, y, w, h = _centres(boxes)
    ax, ay, aw, ah = _centres(anchors)
    deltas = ((x - ax) / aw, (y - ay) / ah, (w / aw).log(), (h / ah).log())
    return torch.stack([d * k for d, k in zip(deltas, weights, strict=True)], dim=-1)


def decode_boxes(deltas: Tensor, anchors: Tensor, weights: Weights, clamp: float = LOG_SCALE_LIMIT) -> Tensor:
    """Anchors (..., 4) moved by deltas (..., 4), the inverse of `encode_boxes`; ``clamp`` bounds dw and dh above."""
    x, y, w, h = _centres(anchors)
    dx, dy, dw, dh = (d / k for d, k in zip(deltas.unbind(-1), weights, strict=True))
    x, y = x + dx * w, y + dy * h
    half_w, half_h = 0.5 * w * dw.clamp(max=clamp).exp(), 0.5 * h * dh.clamp(max=clamp).exp()
    return torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], dim=-1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x, centre y, width, height (...) of boxes (..., 4)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    w, h = x1 - x0, y1 - y0
    return x0 + 0.5 * w, y0 + 0.5 * h, w.clamp(min=SMALLEST_SIDE), h.clamp(min=SMALLEST_SIDE)
