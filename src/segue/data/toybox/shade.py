"""The light on things, sample by sample. Arrays are planar, (3, P), which keeps NumPy's inner loops long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segue.data.toybox.arrays import Floats, Floats32, Ints, Whole
from segue.data.toybox.mesh import Mesh
from segue.data.toybox.paint import PATTERNS, Paint, share
from segue.data.toybox.raster import barycentrics, corner_shares
from segue.data.toybox.scene import World

BATCH = 1 << 14  # samples at a time, which stay in the cache


@dataclass(frozen=True)
class _Coats:
    """The paints of all C parts: linear light (3, C) of both colours, and (C,) each the other values of `Paint`."""

    rgb: Floats32
    other: Floats32
    pattern: Ints
    period: Floats32
    axis: Ints
    shine: Floats32

    @classmethod
    def of(cls, paints: tuple[Paint, ...]) -> _Coats:
        return cls(
            np.array([p.rgb for p in paints], np.float32).T.copy(),
            np.array([p.other for p in paints], np.float32).T.copy(),
            np.array([PATTERNS.index(p.pattern) for p in paints]),
            np.array([p.period for p in paints], np.float32),
            np.array([p.axis for p in paints]),
            np.array([p.shine for p in paints], np.float32),
        )


@dataclass(frozen=True)
class _Beams:
    """Linear light (3, 1), and unit vectors: to the sun (3, 1), per thing to the camera and halfway to both (3, N)."""

    sun: Floats32
    view: Floats32
    half: Floats32
    sunlight: Floats32
    skylight: Floats32
    bounce: Floats32

    @classmethod
    def of(cls, world: World) -> _Beams:
        light, sun = world.light, np.array(world.light.sun)[:, None]
        view = np.array([[-thing.x, -thing.y, world.camera.height - 0.15] for thing in world.things]).T
        view /= np.linalg.norm(view, axis=0)
        half = (view + sun) / np.linalg.norm(view + sun, axis=0)
        colors = (np.array(color)[:, None] for color in (light.sunlight, light.skylight, light.bounce))
        return cls(*(value.astype(np.float32) for value in (sun, view, half, *colors)))


def shade(world: World, mesh: Mesh, which: Whole, rays: Floats, depth: Floats32) -> Floats32:
    """Linear light (3, P) of samples.

    Args:
        world: with light and camera.
        mesh: of the world.
        which: (P,) the triangle that each sample sees.
        rays: (2, P) x and y of its ray at depth 1, in camera coordinates.
        depth: (P,) camera z.
    """
    coats, beams, shares = _Coats.of(mesh.paints), _Beams.of(world), corner_shares(mesh.corners)
    blur = depth * np.float32(1.2 / world.camera.focal)
    light = np.empty((3, len(which)), np.float32)
    for start in range(0, len(which), BATCH):
        some = slice(start, start + BATCH)
        weights = barycentrics(shares, which[some], rays[:, some]).astype(np.float32)
        light[:, some] = _shade_batch(mesh, coats, beams, which[some], weights, blur[some])
    return light


def _shade_batch(mesh: Mesh, coats: _Coats, beams: _Beams, which: Whole, weights: Floats32, blur: Floats32) -> Floats32:
    """(3, P) linear light of samples with these barycentric weights (3, P); a pixel is ``blur`` (P,) metres wide."""
    looks = np.take(mesh.looks[0], which, axis=1) * weights[0]
    looks += np.take(mesh.looks[1], which, axis=1) * weights[1]
    looks += np.take(mesh.looks[2], which, axis=1) * weights[2]
    place, normal, openness = looks[:3], looks[3:6], looks[6]
    normal /= np.sqrt(_dot(normal, normal)) + np.float32(1e-6)
    part = np.take(mesh.paint, which)
    albedo = _albedo(coats, part, place, blur)
    return _lit(beams, np.take(mesh.owner, which), normal, albedo, openness, np.take(coats.shine, part))


def _dot(a: Floats32, b: Floats32) -> Floats32:
    """(P,) scalar products of vectors (3, P)."""
    product: Floats32 = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def _albedo(coats: _Coats, part: Ints, place: Floats32, blur: Floats32) -> Floats32:
    """(3, P) the light that samples reflect."""
    albedo = np.take(coats.rgb, part, axis=1)
    kinds = np.take(coats.pattern, part)
    for kind, pattern in enumerate(PATTERNS[1:], 1):
        at = np.flatnonzero(kinds == kind)
        if len(at):
            p = part[at]
            mix = share(pattern, place[:, at], coats.period[p], coats.axis[p], blur[at])
            albedo[:, at] += (coats.other[:, p] - albedo[:, at]) * mix
    return albedo


def _lit(
    beams: _Beams, owner: Ints, normal: Floats32, albedo: Floats32, openness: Floats32, shine: Floats32
) -> Floats32:
    """(3, P) light: sun and sky on a matt surface, and a highlight with a rim where it is shiny."""
    sunlit = np.maximum(_dot(normal, beams.sun), 0) * (np.float32(0.3) + np.float32(0.7) * openness)
    above = (np.float32(0.5) + np.float32(0.5) * normal[2]) * openness
    total: Floats32 = sunlit * beams.sunlight
    total += above * beams.skylight
    total += (openness - above) * beams.bounce
    total *= albedo
    at = np.flatnonzero(shine > 0)
    if len(at):
        n, o = normal[:, at], owner[at]
        gleam = np.maximum(_dot(n, np.take(beams.half, o, axis=1)), 0) ** 2
        for _ in range(4):
            gleam *= gleam  # to the 32nd power
        rim = np.clip(1 - _dot(n, np.take(beams.view, o, axis=1)), 0, 1) ** 2
        gloss = shine[at] * gleam * beams.sunlight
        gloss += shine[at] * rim * np.float32(0.35) * beams.skylight
        total[:, at] += gloss
    return total
