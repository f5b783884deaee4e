"""From a scene to the bytes of its picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segue.data.toybox.arrays import Bools, Floats32
from segue.data.toybox.backdrop import Backdrop
from segue.data.toybox.chance import Dice
from segue.data.toybox.mesh import Mesh
from segue.data.toybox.raster import Hits, coverage
from segue.data.toybox.scene import Lens, World
from segue.data.toybox.shade import shade

FINER = 2
"""Samples of a pixel along each side."""


def cast_shadow(world: World, mesh: Mesh) -> Floats32:
    """(H, W) share of the sun that things keep from the ground, 0 to 1."""
    sun = np.array(world.light.sun)
    cast = mesh.world - mesh.world[:, :, 2:] / sun[2] * sun
    shadow = coverage(world.camera.to_camera(cast), world.camera).astype(np.float32)
    reach = world.light.softness * world.camera.size[0] / 256
    for _ in range(3 if reach else 1):  # thrice is nearly a bell
        shadow = ndimage.uniform_filter(shadow, 2 * max(1, round(reach)) + 1, mode="nearest")
    return shadow


def bare_pixels(hits: Hits) -> Bools:
    """(H, W) pixels of which some sample shows no thing."""
    empty = hits.triangle < 0
    bare: Bools = np.logical_or.reduce([empty[i::FINER, j::FINER] for i in range(FINER) for j in range(FINER)])
    return bare


def expose(world: World, mesh: Mesh, hits: Hits, backdrop: Backdrop) -> Floats32:
    """(3, H, W) linear light: per pixel the mean of its samples."""
    h, w = world.camera.size
    sample = np.flatnonzero(hits.triangle.reshape(-1) >= 0)
    if not len(sample):
        return backdrop.light
    fine = world.camera.finer(FINER)
    y, x = np.divmod(sample, fine.size[1])
    rays = np.stack([x + 0.5 - fine.centre[0], y + 0.5 - fine.centre[1]]) / fine.focal
    light = shade(world, mesh, hits.triangle.reshape(-1)[sample], rays, hits.depth.reshape(-1)[sample])
    pixel = (y // FINER) * w + x // FINER
    free = (FINER**2 - np.bincount(pixel, minlength=h * w)).astype(np.float32)
    total = backdrop.light.reshape(3, -1) * free
    for plane, samples in zip(total, light, strict=True):
        plane += np.bincount(pixel, samples, h * w).astype(np.float32)
    return total.reshape(3, h, w) / np.float32(FINER**2)


def develop(light: Floats32, lens: Lens, seed: int) -> NDArray[np.uint8]:
    """Linear light (3, H, W) as sRGB bytes (H, W, 3), after the blur of the lens and with noise."""
    for axis in (1, 2):
        light = _blurred(light, np.float32(lens.blur), axis)
    curve = _curve()
    gray = np.take(curve, np.clip(light * (len(curve) - 1), 0, len(curve) - 1).astype(np.int32))
    gray += Dice(seed, 1).noise(*gray.shape) * np.float32(lens.grain)
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def _blurred(light: Floats32, share: np.float32, axis: int) -> Floats32:
    """Each value with a share of both neighbours; beyond the border lies the border itself."""
    result = light * (1 - 2 * share)
    inner, outer = np.moveaxis(result, axis, 0), np.moveaxis(light * share, axis, 0)
    inner[:-1] += outer[1:]
    inner[-1] += outer[-1]
    inner[1:] += outer[:-1]
    inner[0] += outer[0]
    return result


@lru_cache(maxsize=1)
def _curve() -> Floats32:
    """Gray levels of linear light of 0 to 1 in equal steps, by the exponent 1 / 2.2."""
    return (255 * np.linspace(0, 1, 8192) ** (1 / 2.2)).astype(np.float32)
