"""What a camera sees of triangle meshes: the nearest face at every pixel, by a depth buffer over runs of pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from segue.structures import Meshes

TOGETHER = 1 << 17
"""Rows of triangles, and pixels of such rows, that are looked at together, unless a single one has more."""


Point = tuple[Tensor, Tensor, Tensor]
"""x, y and depth of F points, (F,) each."""
Corners = tuple[Tensor, Tensor, Tensor]
"""x, y and depth of the three corners of F triangles, (3, F) each."""


class Raster(NamedTuple):
    """What is seen, at the P pixels where something is.

    Attributes:
        pixel: (P,) int64 indices into the rows of the picture one after the other, ascending.
        face: (P,) int64 indices into the faces of all meshes.
        depth: (P,) of the vertices' type.
        weights: (P, 3) of the vertices' type: shares of the face's corners in the point that is seen, each in [0, 1],
            together 1.
    """

    pixel: Tensor
    face: Tensor
    depth: Tensor
    weights: Tensor


class Outlines(NamedTuple):
    """Triangles as their corners from the top down, which makes neighbours compute the same for their common edge.

    Attributes:
        edges: 7 times (F,): x and y of the top corner and of the middle one, how far x goes per row along the long edge
            (top to bottom), the upper (top to middle) and the lower (middle to bottom).
        planes: 4 times (F,): 1 / depth at the top corner, its slopes along x and y, and its largest value at a corner.
    """

    edges: tuple[Tensor, ...]
    planes: tuple[Tensor, ...]


@torch.no_grad()
def rasterise(meshes: Meshes, size: tuple[int, int]) -> Raster:
    """The nearest face at every pixel centre, seen from its front or its back.

    A pixel belongs to a face where its centre lies inside or on the edge, so between neighbours there is no gap; of
    faces at the same depth the first wins. Depth and weights are those in space (perspective-correct). Faces with a
    corner at a depth of 0 or less, or not finite, and those without an area are left out.

    Args:
        meshes: with vertices (V, 3) ``x, y, z``: pixels, centres at halves, and the depth. Everything is computed in
            their type; float32 moves edges by 1e-4 of a pixel at most.
        size: (height, width).
    """
    corners = _corners(meshes)
    first, count = _rows(corners, size[0])
    outlines = _outlines(corners)
    nearest = outlines.edges[0].new_zeros(size[0] * size[1])  # 1 / depth, which is linear in the picture
    face = torch.full_like(nearest, -1, dtype=torch.int64)
    for part in _portions(count):
        owner, down = _parts(count[part])
        owner += part.start
        y = first.index_select(0, owner) + down
        edges = _each_at(outlines.edges, owner)
        start, stop = _runs(edges, y + 0.5, size[1])
        inverse, along_x, along_y, most = _each_at(outlines.planes, owner)
        left = inverse + along_x * (start + 0.5 - edges[0]) + along_y * (y + 0.5 - edges[1])
        place = y * size[1] + start
        for run in _portions(stop - start):
            which, step = _parts((stop - start)[run])
            begin, slope, limit, at, who = _each_at([each[run] for each in (left, along_x, most, place, owner)], which)
            # fmin: the slopes of a sliver may be no numbers
            _keep_nearest(nearest, face, at + step, who, (begin + slope * step).fmin(limit))
    return _seen(corners, face, nearest, size[1])


def _corners(meshes: Meshes) -> Corners:
    """Where the corners of the faces are; not a number where the camera cannot see them."""
    vertices = meshes.vertices
    usable = vertices.isfinite().all(dim=1, keepdim=True) & (vertices[:, 2:] > 0)
    planes = torch.where(usable, vertices, torch.nan).T.contiguous()
    x, y, z = (each.view(3, -1) for each in _each_at(planes, meshes.faces.T.flatten()))
    return x, y, z


def _rows(corners: Corners, height: int) -> tuple[Tensor, Tensor]:
    """First row of pixel centres (F,) of triangles, and the number of rows (F,); 0 of what is left out."""
    (ax, bx, cx), (ay, by, cy), _ = corners
    has_area = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).abs() > 0  # which what is no number has not
    low = torch.where(has_area, ay.minimum(by).minimum(cy), height)
    high = torch.where(has_area, ay.maximum(by).maximum(cy), 0.0)
    first, after = (low - 0.5).ceil().clamp(0, height), (high + 0.5).floor().clamp(0, height)
    return first.long(), (after - first).clamp(min=0).long()


def _outlines(corners: Corners) -> Outlines:
    a, b, c = zip(*corners, strict=True)  # (x, y, z) of each
    a, b = _ordered(a, b)
    b, c = _ordered(b, c)
    a, b = _ordered(a, b)
    ux, uy, vx, vy = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    sides = (vx, vy), (ux, uy), (c[0] - b[0], c[1] - b[1])
    long, upper, lower = (torch.where(dy > 0, dx / dy, 0.0) for dx, dy in sides)
    top, middle, bottom = 1 / a[2], 1 / b[2], 1 / c[2]
    du, dv, area = middle - top, bottom - top, ux * vy - uy * vx
    slopes = (du * vy - dv * uy) / area, (dv * ux - du * vx) / area
    return Outlines((*a[:2], *b[:2], long, upper, lower), (top, *slopes, top.maximum(middle).maximum(bottom)))


def _ordered(a: Point, b: Point) -> tuple[Point, Point]:
    """Corners x, y, z (F,) each, exchanged where the second is higher up, or as high and farther to the left."""
    exchange = (b[1] < a[1]) | ((b[1] == a[1]) & (b[0] < a[0]))
    pairs = [(torch.where(exchange, v, u), torch.where(exchange, u, v)) for u, v in zip(a, b, strict=True)]
    (ax, bx), (ay, by), (az, bz) = pairs
    return (ax, ay, az), (bx, by, bz)


def _runs(edges: Sequence[Tensor], y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First column (R,) and column after the last (R,) of the pixel centres inside triangles at heights (R,)."""
    top_x, top_y, middle_x, middle_y, long, upper, lower = edges
    one = top_x + (y - top_y) * long
    other = torch.where(y < middle_y, top_x + (y - top_y) * upper, middle_x + (y - middle_y) * lower)
    start = (one.minimum(other) - 0.5).ceil().clamp(0, width)
    stop = (one.maximum(other) + 0.5).floor().clamp(0, width)
    return start.long(), stop.maximum(start).long()


def _each_at(values: Iterable[Tensor], index: Tensor) -> list[Tensor]:
    """Each of many (N,) at an index (P,): one by one they are gathered several times faster than as one tensor."""
    return [each.index_select(0, index) for each in values]


def _portions(counts: Tensor) -> list[slice]:
    """Slices of a list (N,) of things such that the ``counts`` (N,) of each slice add up to about `TOGETHER`."""
    ends = counts.cumsum(0)
    full = torch.arange(1, int(counts.sum()) // TOGETHER + 1, device=ends.device) * TOGETHER
    stops = {len(counts), *(torch.searchsorted(ends, full) + 1).tolist()}
    return [slice(start, stop) for start, stop in pairwise([0, *sorted(stops)])]


def _parts(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For N things with ``counts`` (N,) parts, of every part its thing (P,) and its number in it (P,)."""
    first = counts.cumsum(0) - counts
    owner = torch.repeat_interleave(counts)
    return owner, torch.arange(len(owner), device=counts.device) - first.index_select(0, owner)


def _keep_nearest(nearest: Tensor, face: Tensor, pixel: Tensor, owner: Tensor, inverse: Tensor) -> None:
    """Update 1 / depth (H * W,) and faces (H * W,) by pixels of faces (P,); earlier faces have come before."""
    before = nearest.index_select(0, pixel)
    nearest.scatter_reduce_(0, pixel, inverse, "amax")
    best = ((inverse > before) & (inverse == nearest.index_select(0, pixel))).nonzero()[:, 0]
    face.scatter_reduce_(0, pixel.index_select(0, best), owner.index_select(0, best), "amin", include_self=False)


def _seen(corners: Corners, face: Tensor, nearest: Tensor, width: int) -> Raster:
    """Depth and shares where faces (H * W,) are seen, at 1 / depth (H * W,)."""
    pixel = (face >= 0).nonzero()[:, 0]
    face = face.index_select(0, pixel)
    (ax, bx, cx), (ay, by, cy), z = (_each_at(each, face) for each in corners)
    x, y = pixel % width + 0.5, pixel // width + 0.5
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    areas = torch.stack([bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay])  # twice, to the edges
    areas = areas.abs().clamp(min=torch.finfo(areas.dtype).tiny)  # a sliver may have none
    shares = areas / areas.sum(dim=0) / torch.stack(z)  # in the picture the share of a corner / depth is linear
    return Raster(pixel, face, 1 / nearest.index_select(0, pixel), (shares / shares.sum(dim=0)).T)
