"""Image features at the vertices of meshes (Mesh R-CNN, section 3.2.2; Pixel2Mesh's perceptual feature pooling)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.taps import linear_taps


def vert_align(features: Tensor, vertices: Tensor, owner: Tensor) -> Tensor:
    """Bilinear samples of each mesh's own map at the x and y of its vertices; z plays no part.

    -1 and 1 are the centres of the outermost pixels (aligned corners); beyond them, the nearest pixel of the border
    counts. Gradients reach features and vertices.

    Args:
        features: (N, C, H, W), a map for each mesh.
        vertices: (V, 3) x, y, z in [-1, 1]^3, of all meshes.
        owner: (V,) int64, the mesh of each vertex.

    Returns:
        (V, C), in the dtype of the features.
    """
    h, w = features.shape[2:]
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)  # (N * H * W, C): a sample is a weighted sum of four of them
    last = vertices.new_tensor([w - 1, h - 1])
    at = torch.minimum(((vertices[:, :2] + 1) / 2 * last).clamp(min=0), last)
    index, weight = linear_taps(at, last + 1)  # (V, 2, 2): x and y, two taps of each
    (x, y), (of_x, of_y) = index.unbind(1), weight.unbind(1)
    taps = ((owner * h)[:, None, None] + y[:, :, None]) * w + x[:, None, :]  # (V, 2, 2)
    weights = (of_y[:, :, None] * of_x[:, None, :]).to(features.dtype)
    return F.embedding_bag(taps.flatten(1), rows, per_sample_weights=weights.flatten(1), mode="sum")
