"""Bilinear RoI pooling, of which boxes learn, too (DenseCap, Johnson et al., CVPR 2016, section 3.2.3).

An affine map of a regular grid, as in spatial transformers (Jaderberg et al. 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bilinear_roi(features: Tensor, boxes: Tensor, size: tuple[int, int], output: int = 7) -> Tensor:
    """One bilinear sample of each of ``output`` by ``output`` places of a box, the outermost on the box's edges.

    The corners of the picture read the corner pixels of the map. A sample outside the map fades to zero within a pixel.
    Gradients reach features and boxes.

    Args:
        features: (B, C, H, W).
        boxes: (B, S, 4) xyxy in pixels of the picture, S of each.
        size: height and width of the pictures.
        output: places per axis, P.

    Returns:
        (B, S, C, P, P), in the boxes' dtype.
    """
    (b, s), (h, w) = boxes.shape[:2], size
    sides = boxes.new_tensor([w, h])
    scale = (boxes[..., 2:] - boxes[..., :2]) / sides  # (B, S, 2)
    shift = (boxes[..., :2] + boxes[..., 2:] - sides) / (sides - 1).clamp(min=1)  # -1 and 1 are the outer pixels
    steps = torch.linspace(-1, 1, output, dtype=boxes.dtype, device=boxes.device)
    at = shift[..., None, :] + scale[..., None, :] * steps[:, None]  # (B, S, P, 2), one axis at a time
    x = at[..., None, :, 0].expand(-1, -1, output, -1)
    y = at[..., :, None, 1].expand(-1, -1, -1, output)
    grid = torch.stack([x, y], dim=-1).reshape(b, s * output, output, 2)
    sampled = F.grid_sample(features.to(boxes.dtype), grid, padding_mode="zeros", align_corners=True)
    return sampled.view(b, features.shape[1], s, output, output).transpose(1, 2)
