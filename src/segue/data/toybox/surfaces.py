"""Closed surfaces of triangles: lathed, swept and rounded, from which all solids are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from segue.data.toybox.arrays import Floats, Ints

CREASE = np.cos(np.deg2rad(40))  # profiles that turn more show an edge


@dataclass(frozen=True)
class Shell:
    """A closed surface: each edge belongs to two triangles, which run along it in opposite directions.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        normals: (F, 3) int64, which shading normal each corner has; corners with the same share theirs.
    """

    vertices: Floats
    faces: Ints
    normals: Ints

    def moved(self, shift: ArrayLike) -> Shell:
        """The same shell elsewhere."""
        return Shell(self.vertices + np.asarray(shift, np.float64), self.faces, self.normals)

    def turned(self, matrix: Floats) -> Shell:
        """The shell after a rotation (3, 3)."""
        return Shell(self.vertices @ matrix.T, self.faces, self.normals)

    def scaled(self, factor: ArrayLike) -> Shell:
        """The shell stretched by positive factors (3,) along the axes, or by one along all."""
        return Shell(self.vertices * np.asarray(factor, np.float64), self.faces, self.normals)


def loft(
    rings: Floats,
    poles: tuple[ArrayLike, ArrayLike] | None,
    sharp: Sequence[bool] | None = None,
    faceted: bool = False,
) -> Shell:
    """A skin over rings of points.

    Args:
        rings: (M, N, 3), each ring counter-clockwise seen from where the next one lies.
        poles: the points that close both ends; None joins the last ring to the first, as in a torus.
        sharp: per ring, whether an edge is to be seen there; None for nowhere.
        faceted: whether edges are also seen between the N sides.
    """
    m, n, _ = rings.shape
    flags = (False,) * m if sharp is None else tuple(bool(flag) for flag in sharp)
    faces, normals = _topology(m, n, flags, poles is None, faceted)
    ends = np.empty((0, 3)) if poles is None else np.array(poles, np.float64)
    return Shell(np.concatenate([rings.reshape(-1, 3), ends]), faces, normals)


@lru_cache(maxsize=512)
def _topology(m: int, n: int, sharp: tuple[bool, ...], loop: bool, faceted: bool) -> tuple[Ints, Ints]:
    """Faces and normals of a loft; the two poles are the last vertices."""
    strip, side = np.meshgrid(np.arange(m if loop else m - 1), np.arange(n), indexing="ij")
    near, far, after = strip * n, (strip + 1) % m * n, (side + 1) % n
    quads = np.stack([near + side, near + after, far + after, far + side], axis=-1).reshape(-1, 4)
    group = np.cumsum(sharp)[strip]
    if loop and any(sharp):
        group %= sum(sharp)
    faces = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    groups, sides = [group.ravel()] * 2, [side.ravel()] * 2
    if not loop:
        s, t, last = np.arange(n), (np.arange(n) + 1) % n, (m - 1) * n
        faces += [np.stack([np.full(n, m * n), t, s], 1), np.stack([np.full(n, m * n + 1), last + s, last + t], 1)]
        groups += [np.zeros(n, np.int64), np.full(n, sum(sharp))]
        sides += [s, s]
    triangles = np.concatenate(faces).astype(np.int64)
    key = np.concatenate(groups) * n + (np.concatenate(sides) if faceted else 0)
    _, normals = np.unique(key[:, None] * (m * n + 2) + triangles, return_inverse=True)
    normals = normals.reshape(-1, 3).astype(np.int64)
    triangles.flags.writeable = normals.flags.writeable = False  # shared by all shells of this kind
    return triangles, normals


@lru_cache(maxsize=64)
def _circle(n: int) -> tuple[Floats, Floats]:
    angle = np.arange(n) * (2 * np.pi / n)
    return np.cos(angle), np.sin(angle)


def lathe(profile: ArrayLike, n: int = 20, loop: bool = False) -> Shell:
    """The solid that a profile sweeps around the z axis.

    Args:
        profile: (M, 2) radius and height. It leaves the axis at its first point and ends on it at its last, with the
            solid on its left; or, as a ``loop``, it never touches the axis and runs with the solid on its left.
        n: number of sides.
    """
    points = np.asarray(profile, np.float64)
    steps = np.diff(points, axis=0, append=points[:1] if loop else points[-1:])
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    turns = (steps * np.roll(steps, 1, axis=0)).sum(1) < CREASE
    inner, sharp = (points, turns) if loop else (points[1:-1], turns[1:-1])
    cos, sin = _circle(n)
    radius, height = inner[:, :1], inner[:, 1:]
    rings = np.stack([radius * cos, radius * sin, np.broadcast_to(height, (len(inner), n))], axis=-1)
    ends = None if loop else ((0, 0, points[0, 1]), (0, 0, points[-1, 1]))
    return loft(rings, ends, sharp.tolist())


def ball(radius: float, n: int = 20, m: int = 9) -> Shell:
    """A sphere around the origin with m rings between its poles."""
    return _unit_ball(n, m).scaled(radius)


@lru_cache(maxsize=64)
def _unit_ball(n: int, m: int) -> Shell:
    angle = np.linspace(-np.pi / 2, np.pi / 2, m + 2)
    profile = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    profile[[0, -1], 0] = 0
    return lathe(profile, n)


def ellipsoid(centre: ArrayLike, radii: ArrayLike, n: int = 16, m: int = 7) -> Shell:
    """A ball stretched along the axes."""
    return _unit_ball(n, m).scaled(radii).moved(centre)


def tube(path: ArrayLike, radius: ArrayLike, across: ArrayLike, n: int = 10, loop: bool = False) -> Shell:
    """A round bar along a path in a plane.

    Args:
        path: (M, 3).
        radius: (M,) or one number.
        across: unit vector perpendicular to the plane of the path.
        n: number of sides.
        loop: whether the path returns to its start; otherwise the ends are flat.
    """
    points = np.asarray(path, np.float64)
    closed = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    tangents: Floats = closed if loop else np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    first = np.broadcast_to(np.asarray(across, np.float64), points.shape)
    rings = _rings(points, np.broadcast_to(radius, len(points)), first, np.cross(tangents, first), n)
    sharp = [not loop and i in (0, len(points) - 1) for i in range(len(points))]
    return loft(rings, None if loop else (points[0], points[-1]), sharp)


def _rings(centres: Floats, radii: Floats, first: Floats, second: Floats, n: int) -> Floats:
    """(M, N, 3) circles in the planes that two unit vectors (M, 3), or (3,) for all, span."""
    cos, sin = _circle(n)
    spokes = cos[:, None] * first[..., None, :] + sin[:, None] * second[..., None, :]  # (M, N, 3), or (N, 3) for all
    return centres[:, None] + radii[:, None, None] * spokes


def capsule(start: ArrayLike, end: ArrayLike, radius: float, end_radius: float | None = None, n: int = 10) -> Shell:
    """A bar from one point to another with round ends, which may differ in thickness."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    t = (b - a) / np.sqrt(((b - a) ** 2).sum())
    first, second = _across(t)
    last = radius if end_radius is None else end_radius
    radii = np.array([radius, radius, last, last])
    centres = np.stack([a, a, b, b]) + (radii * CAP[1])[:, None] * t
    rings = _rings(centres, radii * CAP[0], first, second, n)
    return loft(rings, (a - t * radius, b + t * last))


CAP = np.cos(np.deg2rad([-55.0, -20.0, 20.0, 55.0])), np.sin(np.deg2rad([-55.0, -20.0, 20.0, 55.0]))
"""Radius and height of the rings of a capsule's ends, as shares of its radius."""


def _across(t: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors perpendicular to a unit vector (3,) and to each other, which form a right-handed frame with it.

    Duff et al., Building an Orthonormal Basis, Revisited (JCGT 2017).
    """
    x, y, z = t.tolist()
    sign = 1.0 if z >= 0 else -1.0
    a = -1 / (sign + z)
    b = x * y * a
    return np.array([1 + sign * x * x * a, sign * b, -sign * x]), np.array([b, sign + y * y * a, -y])


def slab(
    size: Sequence[float], centre: Sequence[float], round_: float = 0.008, top: tuple[float, float] = (1.0, 1.0)
) -> Shell:
    """A block with rounded edges.

    Args:
        size: along x, y and z.
        centre: of the block.
        round_: m, how far edges are rounded; limited by the size.
        top: by what the upper end is narrower along x and y.
    """
    half = np.array(size, np.float64) / 2
    r = min(round_, 0.8 * float(half.min()))
    quarter = np.deg2rad([0.0, 45.0, 90.0])
    angle = np.concatenate([quarter + turn * np.pi / 2 for turn in range(4)])
    sign = np.sign(np.cos(np.repeat(np.arange(4) * np.pi / 2 + np.pi / 4, 3)))
    side = np.sign(np.sin(np.repeat(np.arange(4) * np.pi / 2 + np.pi / 4, 3)))
    core = np.stack([sign * (half[0] - r), side * (half[1] - r)], axis=1)  # (12, 2)
    arc = r * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    levels = [(-half[2], 0.3), (-half[2] + r, 1.0), (half[2] - r, 1.0), (half[2], 0.3)]
    rings = []
    for height, bulge in levels:
        narrow = 1 + (np.array(top) - 1) * (height / half[2] + 1) / 2
        rings.append(np.concatenate([(core + bulge * arc) * narrow, np.full((12, 1), height)], axis=1))
    poles = ((0, 0, -half[2]), (0, 0, half[2]))
    return loft(np.stack(rings), poles).moved(centre)
