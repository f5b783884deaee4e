"""Between a camera's space and the frustum of a box, in which Mesh R-CNN sees an object (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def to_frustum(points: Tensor, boxes: Tensor, focal: Tensor, centres: Tensor, depths: Tensor) -> Tensor:
    """Camera coordinates to [-1, 1]^3 of frustums: left, top and near planes go to -1, right, bottom and far to 1.

    x and y follow the pixels of the box, z is linear in one over the depth: so planes stay planes, and triangles
    triangles. It is the pair of homographies of (x, z) and of (y, z) of the published code, apart from one pixel: that
    code mirrors pixel x to w - 1 - x, so its frustums are these with 1 taken off the centres. Differentiable.

    Args:
        points: (P, 3) x right, y down, z ahead; z > 0.
        boxes: (P, 4) xyxy in pixels, with an extent; row i belongs to point i, as in all that follows.
        focal: (P,) in pixels.
        centres: (P, 2) x and y of the principal point in pixels.
        depths: (P, 2) near < far, as z.

    Returns:
        (P, 3).
    """
    near, far = depths.unbind(1)
    z = points[:, 2]
    pixels = focal[:, None] * points[:, :2] / z[:, None] + centres
    xy = 2 * (pixels - boxes[:, :2]) / (boxes[:, 2:] - boxes[:, :2]) - 1
    depth = 2 * far * (z - near) / (z * (far - near)) - 1
    return torch.cat([xy, depth[:, None]], dim=1)


def from_frustum(points: Tensor, boxes: Tensor, focal: Tensor, centres: Tensor, depths: Tensor) -> Tensor:
    """The inverse of `to_frustum`: (P, 3) in frustums to (P, 3) in camera coordinates. Differentiable.

    Depth grows to infinity towards (far + near) / (far - near) on the third axis, and is negative beyond.
    """
    near, far = depths.unbind(1)
    share = (points[:, 2] + 1) / 2
    z = near * far / (far - share * (far - near))
    pixels = (points[:, :2] + 1) / 2 * (boxes[:, 2:] - boxes[:, :2]) + boxes[:, :2]
    xy = (pixels - centres) * (z / focal)[:, None]
    return torch.cat([xy, z[:, None]], dim=1)
