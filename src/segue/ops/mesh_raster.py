"""What a camera sees of triangle meshes: the nearest face at every pixel, by a depth buffer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segue.structures import Meshes

PAIRS = 1 << 16
"""Pairs of a triangle and a pixel of its bounding box that are looked at together, unless one triangle has more."""


class Raster(NamedTuple):
    """What is seen at every pixel.

    Attributes:
        face: (H, W) int64 index into the faces of all meshes, -1 where none is.
        depth: (H, W) of the vertices' type, infinite where no face is.
        weights: (H, W, 3) of the vertices' type: shares of the face's corners in the point that is seen, each in
            [0, 1], together 1; zeros where no face is.
    """

    face: Tensor
    depth: Tensor
    weights: Tensor


@torch.no_grad()
def rasterise(meshes: Meshes, size: tuple[int, int]) -> Raster:
    """The nearest face at every pixel centre, seen from its front or its back.

    A pixel belongs to a face where its centre lies inside or on the edge, so between neighbours there is no gap; of
    faces at the same depth the first wins. Depth and weights are those in space (perspective-correct). Faces with a
    corner at a depth of 0 or less, or not finite, are left out.

    Args:
        meshes: with vertices (V, 3) ``x, y, z``: pixels, centres at halves, and the depth.
        size: (height, width).
    """
    corners = meshes.vertices.double()[meshes.faces].permute(1, 2, 0).contiguous()  # (3 corners, x y z, F)
    low, high = _pixel_boxes(corners, size)
    counts = (high - low).clamp(min=0).prod(dim=0)
    rows = (counts > 0).nonzero()[:, 0]
    ends = counts[rows].cumsum(0)
    sizes = ((ends - counts[rows]) // PAIRS).bincount()

    nearest = corners.new_full((size[0] * size[1],), torch.inf)
    face = torch.full_like(nearest, -1, dtype=torch.int64)
    for part in torch.split(rows, sizes[sizes > 0].tolist()):
        owner, x, y = _pairs(low[:, part], (high - low)[:, part])
        owner = part[owner]
        edges = _edges(corners[:, :2, owner], x, y)
        inside = (((edges >= 0).all(dim=0) | (edges <= 0).all(dim=0)) & (edges != 0).any(dim=0)).nonzero()[:, 0]
        owner, pixel = owner[inside], (y * size[1] + x)[inside]
        _keep_nearest(nearest, face, pixel, owner, _depths(edges[:, inside], corners[:, 2, owner])[0])
    return _seen(corners, face, size, meshes.vertices.dtype)


def _pixel_boxes(corners: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """First x, y (2, F) and those after the last (2, F) of the pixels in each triangle's bounding box."""
    usable = corners.isfinite().all(dim=1).all(dim=0) & (corners[:, 2] > 0).all(dim=0)
    flat = torch.where(usable, corners[:, :2], 0.0)  # empty boxes of what is left out
    limit = corners.new_tensor([[size[1]], [size[0]]])
    low = (flat.amin(dim=0) - 0.5).ceil().clamp(min=0).minimum(limit)
    high = (flat.amax(dim=0) + 0.5).floor().clamp(min=0).minimum(limit)
    return low.long(), high.long()


def _pairs(low: Tensor, extent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel of T boxes: which box (P,), x (P,) and y (P,); from ``low`` (2, T) and width and height (2, T)."""
    counts = extent.prod(dim=0)
    owner = torch.arange(len(counts), device=low.device).repeat_interleave(counts)
    place = torch.arange(len(owner), device=low.device) - (counts.cumsum(0) - counts)[owner]
    width = extent[0][owner]
    down = place // width
    return owner, low[0][owner] + place - down * width, low[1][owner] + down


def _edges(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Twice the signed areas (3, P) between the centres of pixels and the edges of triangles (3, 2, P).

    They have one sign where the triangle contains the centre. Seen from the other side an edge changes its sign and
    not a bit else, so no centre falls between two neighbours.
    """
    (ax, ay), (bx, by), (cx, cy) = corners - torch.stack([x + 0.5, y + 0.5])
    return torch.stack([bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay])


def _depths(edges: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Depths (P,) and shares of the corners (3, P), from the areas at the edges (3, P) and the corners' depths (3, P).

    In the picture 1 / depth is linear, and so is the share of a corner / depth.
    """
    flat = edges / edges.sum(dim=0) / z
    depth = 1 / flat.sum(dim=0)
    return depth, flat * depth


def _keep_nearest(nearest: Tensor, face: Tensor, pixel: Tensor, owner: Tensor, depth: Tensor) -> None:
    """Update depths (H * W,) and faces (H * W,) by pairs (P,); earlier faces have come before."""
    closer = (depth < nearest[pixel]).nonzero()[:, 0]
    pixel, owner, depth = pixel[closer], owner[closer], depth[closer]
    nearest.scatter_reduce_(0, pixel, depth, "amin")
    best = (depth == nearest[pixel]).nonzero()[:, 0]
    face.scatter_reduce_(0, pixel[best], owner[best], "amin", include_self=False)


def _seen(corners: Tensor, face: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Raster:
    """Depth and shares at the pixels of faces (H * W,)."""
    depths = torch.full(face.shape, torch.inf, dtype=dtype, device=face.device)
    shares = torch.zeros(*face.shape, 3, dtype=dtype, device=face.device)
    for pixel in torch.split((face >= 0).nonzero()[:, 0], PAIRS):
        seen = corners[:, :, face[pixel]]
        depth, weights = _depths(_edges(seen[:, :2], pixel % size[1], pixel // size[1]), seen[:, 2])
        depths[pixel], shares[pixel] = depth.to(dtype), weights.T.to(dtype)
    return Raster(face.reshape(size), depths.reshape(size), shares.reshape(*size, 3))
