"""RoIPool (Fast R-CNN, Girshick 2015, section 2.1), for comparison: no network here uses it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def roi_pool(features: Tensor, boxes: Tensor, images: Tensor, output: int, scale: float) -> Tensor:
    """Maxima of ``output`` by ``output`` bins of each box, once its corners are rounded to whole pixels of the map.

    Bins are rounded, too: they start at the pixel in which they begin and end with the one in which they end, so that
    neighbours may share pixels. Both roundings move what is read away from the box; see `roi_align`.

    Args:
        features: (B, C, H, W).
        boxes: (R, 4) xyxy in pixels of the picture. Both corners are inside the map after rounding; a box holds at
            least the pixel of its first corner.
        images: (R,) int64 index into the batch.
        output: bins per axis, P.
        scale: pixels of the map per pixel of the picture.

    Returns:
        (R, C, P, P).
    """
    height, width = features.shape[2:]
    last = torch.tensor([width - 1, height - 1] * 2)
    corners = torch.minimum((boxes.detach().cpu() * scale + 0.5).floor().long().clamp(min=0), last).tolist()
    crops = (
        features[image, :, y0 : max(y0, y1) + 1, x0 : max(x0, x1) + 1]  # the last corner's pixel belongs to the box
        for image, (x0, y0, x1, y1) in zip(images.tolist(), corners, strict=True)
    )
    pooled = [F.adaptive_max_pool2d(crop, output) for crop in crops]  # its bins are those of Fast R-CNN
    return torch.stack(pooled) if pooled else features.new_zeros(0, features.shape[1], output, output)
