"""A z-buffer rasteriser for triangles, whole batches at a time.

Corners are rounded to 1/256 pixel, and coverage is then decided in whole numbers: two triangles that share an edge
share no pixel and leave none out, and every machine finds the same pixels. A pixel belongs to the triangle that
contains its centre; on an edge, to the one on the right of it or below it (the top-left rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segue.data.toybox.arrays import Bools, Floats, Floats32, Ints, Whole
from segue.data.toybox.camera import Camera

SUBPIXELS = 256
FARTHEST = 2**29  # subpixels from the picture's corner; keeps edge functions inside 64 bits
DEPTH_STEPS = 2.0**42
MOST_TRIANGLES = 2**20

Side = Literal["front", "both"]


@dataclass(frozen=True)
class Hits:
    """What each pixel shows.

    Attributes:
        triangle: (H, W) int32 index of the nearest triangle, -1 where there is none.
        depth: (H, W) float32 camera z in metres, infinite where there is none.
    """

    triangle: NDArray[np.int32]
    depth: Floats32


@dataclass(frozen=True)
class Pieces:
    """Triangles on the picture, turned so that x to y is a positive turn.

    Attributes:
        corners: (S, 3, 2) int64 x and y in subpixels.
        inverse: (S, 3) 1 / depth at the corners.
        source: (S,) the triangle that each is a part of.
    """

    corners: Ints
    inverse: Floats
    source: Ints


@dataclass(frozen=True)
class Spans:
    """The pixels of triangles, as runs in rows.

    Attributes:
        piece: (R,) which triangle.
        y: (R,) row.
        start: (R,) first column.
        stop: (R,) column after the last; more than ``start``.
    """

    piece: Ints
    y: Ints
    start: Ints
    stop: Ints


def rasterise(triangles: Floats, camera: Camera, side: Side = "front") -> Hits:
    """The nearest triangle at every pixel centre.

    Args:
        triangles: (T, 3, 3) corners in camera coordinates, at most `MOST_TRIANGLES`; counter-clockwise from outside.
        camera: with the size of the result.
        side: whether triangles also show their back. Closed surfaces need only the front.
    """
    pieces = project(triangles, camera, side)
    runs = spans(pieces.corners, camera.size)
    w = camera.size[1]
    slope_x, slope_y, origin = _planes(pieces)
    left = origin[runs.piece] + slope_x[runs.piece] * (runs.start + 0.5) + slope_y[runs.piece] * (runs.y + 0.5)
    count = runs.stop - runs.start
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    inverse = np.repeat(left, count) + np.repeat(slope_x[runs.piece], count) * step
    place = np.repeat(runs.y * w + runs.start, count) + step
    steps = np.clip(inverse * (camera.near * DEPTH_STEPS), 1, DEPTH_STEPS).astype(np.int64)
    key = steps * MOST_TRIANGLES + np.repeat(MOST_TRIANGLES - 1 - runs.piece, count)
    nearest = np.zeros(camera.size[0] * w, np.int64)
    np.maximum.at(nearest, place, key)
    return _decode(nearest, camera.size, pieces.source, camera.near)


def _decode(nearest: Ints, size: tuple[int, int], source: Ints, near: float) -> Hits:
    hit = np.flatnonzero(nearest)
    triangle, depth = np.full(len(nearest), -1, np.int32), np.full(len(nearest), np.inf, np.float32)
    keys = nearest[hit]
    triangle[hit] = source[MOST_TRIANGLES - 1 - keys % MOST_TRIANGLES]
    depth[hit] = near * DEPTH_STEPS / (keys // MOST_TRIANGLES)
    return Hits(triangle.reshape(size), depth.reshape(size))


def coverage(triangles: Floats, camera: Camera, side: Side = "front") -> Bools:
    """(H, W) whether any triangle (T, 3, 3) contains the pixel centre."""
    runs = spans(project(triangles, camera, side).corners, camera.size)
    h, w = camera.size
    starts = np.bincount(runs.y * (w + 1) + runs.start, minlength=h * (w + 1))
    stops = np.bincount(runs.y * (w + 1) + runs.stop, minlength=h * (w + 1))
    covered: Bools = (starts - stops).reshape(h, w + 1).cumsum(1)[:, :w] > 0
    return covered


def corner_shares(triangles: Floats) -> Floats:
    """What takes a ray (x, y, 1) to the shares of a triangle's corners in the point that it meets.

    Args:
        triangles: (T, 3, 3) corners in camera coordinates.

    Returns:
        (3, 3, T): for x, y and 1 of the ray, for each corner.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    volumes = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    volumes *= np.sign((volumes[:, 0] * a).sum(1))[:, None, None]
    return volumes.transpose(2, 1, 0).copy()


def barycentrics(shares: Floats, which: Whole, rays: Floats) -> Floats:
    """Weights (3, P) of the corners at the points where rays meet triangles, each at least 0, together 1.

    Args:
        shares: of all triangles, from `corner_shares`.
        which: (P,) indices of triangles.
        rays: (2, P) x and y of the rays at depth 1.
    """
    weights = np.take(shares[2], which, axis=1)
    weights += np.take(shares[0], which, axis=1) * rays[0]
    weights += np.take(shares[1], which, axis=1) * rays[1]
    np.maximum(weights, 1e-300, out=weights)  # a ray may miss by the rounding of corners
    weights /= weights[0] + weights[1] + weights[2]
    return weights


def project(triangles: Floats, camera: Camera, side: Side) -> Pieces:
    """Cut triangles at the near plane, project them, and drop those that show their back or nothing."""
    cut, source = _clip(triangles, camera.near)
    limit = FARTHEST / SUBPIXELS
    corners = np.rint(np.clip(camera.project(cut), -limit, limit) * SUBPIXELS).astype(np.int64)
    (ax, ay), (bx, by), (cx, cy) = (corners[:, i].T for i in range(3))
    turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)  # negative where the front is seen, since y points down
    kept = np.flatnonzero(turn < 0 if side == "front" else turn != 0)
    order = np.where((turn[kept] < 0)[:, None], np.array([0, 2, 1]), np.array([0, 1, 2]))
    rows = kept[:, None]
    return Pieces(corners[rows, order], 1 / cut[:, :, 2][rows, order], source[kept])


def _clip(triangles: Floats, near: float) -> tuple[Floats, Ints]:
    """The parts beyond the near plane (S, 3, 3), and the triangle (S,) that each comes from."""
    inside = triangles[:, :, 2] >= near
    count = inside.sum(1)
    whole = np.flatnonzero(count == 3)
    if len(whole) == len(triangles):
        return triangles, whole
    one, two = np.flatnonzero(count == 1), np.flatnonzero(count == 2)
    a, b, c = _rolled(triangles[one], inside[one].argmax(1))  # a is the one corner inside
    p, q, r = _rolled(triangles[two], (~inside[two]).argmax(1))  # p is the one corner outside
    pq, pr = _crossing(q, p, near), _crossing(r, p, near)
    tips = np.stack([a, _crossing(a, b, near), _crossing(a, c, near)], axis=1)
    parts = [triangles[whole], tips, np.stack([pq, q, r], axis=1), np.stack([pq, r, pr], axis=1)]
    return np.concatenate(parts), np.concatenate([whole, one, two, two])


def _rolled(triangles: Floats, first: Ints) -> tuple[Floats, Floats, Floats]:
    rows = np.arange(len(triangles))
    a, b, c = (triangles[rows, (first + i) % 3] for i in range(3))
    return a, b, c


def _crossing(inside: Floats, outside: Floats, near: float) -> Floats:
    """(S, 3) where edges meet the near plane; the order makes neighbours agree to the last bit."""
    t = (inside[:, 2:] - near) / (inside[:, 2:] - outside[:, 2:])
    points: Floats = inside + t * (outside - inside)
    points[:, 2] = near
    return points


def _planes(pieces: Pieces) -> tuple[Floats, Floats, Floats]:
    """1 / depth as a function of the pixel: slopes (S,) along x and y, value (S,) at the picture's corner."""
    xy = pieces.corners / SUBPIXELS
    ux, uy = (xy[:, 1] - xy[:, 0]).T
    vx, vy = (xy[:, 2] - xy[:, 0]).T
    du, dv = (pieces.inverse[:, 1:] - pieces.inverse[:, :1]).T
    area = ux * vy - uy * vx
    slope_x, slope_y = (du * vy - dv * uy) / area, (dv * ux - du * vx) / area
    return slope_x, slope_y, pieces.inverse[:, 0] - slope_x * xy[:, 0, 0] - slope_y * xy[:, 0, 1]


def spans(corners: Ints, size: tuple[int, int]) -> Spans:
    """The pixels whose centres lie in triangles.

    Args:
        corners: (S, 3, 2) int64 in subpixels, turning from x to y.
        size: (height, width).
    """
    h, w = size
    half = SUBPIXELS // 2
    a, b, c = corners[:, :, 1].T
    first = np.clip((np.minimum(np.minimum(a, b), c) + half - 1) // SUBPIXELS, 0, h)
    rows = np.clip((np.maximum(np.maximum(a, b), c) - half) // SUBPIXELS + 1, first, h) - first
    piece = np.repeat(np.arange(len(corners)), rows)
    row = np.arange(len(piece)) + np.repeat(first - np.cumsum(rows) + rows, rows)
    low, high = _bounds(corners, piece, row * SUBPIXELS + half)
    start, stop = np.maximum(low, 0), np.minimum(high, w)
    kept = np.flatnonzero(start < stop)
    return Spans(piece[kept], row[kept], start[kept], stop[kept])


def _bounds(corners: Ints, piece: Ints, centre: Ints) -> tuple[Ints, Ints]:
    """First column (R,) and column after the last (R,) inside all three edges, at the height ``centre`` (R,)."""
    low, high = np.full(len(piece), -FARTHEST), np.full(len(piece), FARTHEST)
    for k in range(3):
        (x, y), (dx, dy) = corners[:, k].T, (corners[:, (k + 1) % 3] - corners[:, k]).T
        mine = (dy < 0) | ((dy == 0) & (dx > 0))  # left and top edges own the pixels on them
        offset = dy * (x - SUBPIXELS // 2) - dx * y - ~mine
        value = dx[piece] * centre + offset[piece]  # at column 0, and -256 dy per column; inside it is not negative
        slope = dy[piece]
        steps = value // np.maximum(np.abs(slope) * SUBPIXELS, 1)
        never = (slope == 0) & (value < 0)
        low = np.maximum(low, np.where(slope < 0, -steps, np.where(never, FARTHEST, -FARTHEST)))
        high = np.minimum(high, np.where(slope > 0, steps + 1, FARTHEST))
    return low, high
