"""The picture without things: which stuff each pixel shows, and its light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segue.data.toybox.arrays import Bools, Floats, Floats32, Ints
from segue.data.toybox.camera import Camera
from segue.data.toybox.chance import Dice
from segue.data.toybox.paint import Rgb, linear
from segue.data.toybox.scene import World
from segue.data.toybox.scenery import GROUNDS, Ground, Light, Wall

TILE = 256
GRASS, SAND, WATER, STONE = (linear(c) for c in ((98, 150, 62), (226, 200, 150), (58, 122, 156), (168, 166, 164)))


@dataclass(frozen=True)
class Backdrop:
    """Stuff without things.

    Attributes:
        stuff: (H, W) int64 index into `STUFF`.
        light: (3, H, W) float32 linear light.
    """

    stuff: Ints
    light: Floats32


@dataclass(frozen=True)
class _Spots:
    """Places on the ground: world x and y (P,), and the metres (P,) along the view that a pixel covers there."""

    u: Floats
    v: Floats
    blur: Floats32

    def select(self, index: Ints) -> _Spots:
        return _Spots(self.u[index], self.v[index], self.blur[index])


def draw_backdrop(world: World, shadow: Floats32, bare: Bools) -> Backdrop:
    """Sky, wall and ground.

    Args:
        world: the scene.
        shadow: (H, W) share of the sun that things keep from the ground.
        bare: (H, W) pixels that are not all covered by things; in others, the result may be anything.
    """
    camera, light = world.camera, world.light
    ray_x, (ray_y, ray_z) = camera.rays()[0], camera.rays()[1].T
    stuff = np.zeros(camera.size, np.int64)
    picture = _sky(camera, light, world.seed)
    pixel = np.flatnonzero(bare & (ray_z < -1e-3)[:, None])
    if len(pixel):
        row, column = np.divmod(pixel, camera.size[1])
        reach = np.take(-camera.height / ray_z, row)
        blur = (reach**2 / (camera.focal * camera.height)).astype(np.float32)
        spots = _Spots(reach * np.take(ray_x, column), reach * np.take(ray_y, row), blur)
        stuff.reshape(-1)[pixel], albedo = _ground(world.ground, spots, light)
        albedo *= _lit(light, (0.0, 0.0, 1.0), np.take(shadow, pixel))
        haze = np.clip((reach - 5) / 40, 0, 0.4).astype(np.float32)
        albedo += (_column(light.horizon) - albedo) * haze
        picture.reshape(3, -1)[:, pixel] = albedo
    if world.wall:
        _add_wall(world.wall, camera, light, (ray_x, ray_y, ray_z), stuff, picture)
    return Backdrop(stuff, picture)


def _lit(light: Light, normal: Rgb, shadow: Floats32) -> Floats32:
    """(3, P) light on a surface, of which ``shadow`` (P,) keeps the sun's share."""
    facing = max(0.0, float(np.dot(light.sun, normal)))
    up = 0.5 + 0.5 * normal[2]
    fill = up * np.array(light.skylight) + (1 - up) * np.array(light.bounce)
    lit = (1 - shadow) * (np.float32(facing) * _column(light.sunlight))
    lit += (1 - np.float32(0.25) * shadow) * fill.astype(np.float32)[:, None]
    return lit


def _column(rgb: Rgb) -> Floats32:
    """(3, 1)."""
    return np.array(rgb, np.float32)[:, None]


@lru_cache(maxsize=1)
def _clouds() -> tuple[Floats32, Floats32]:
    """Two tiles (TILE, TILE) of noise around 0: single grains, and soft blotches of some 16 texels."""
    grain = Dice(0).noise(TILE, TILE)
    spectrum = np.fft.fft2(Dice(1).noise(TILE, TILE))
    f = np.minimum(np.arange(TILE), TILE - np.arange(TILE)) / TILE
    soft = np.fft.ifft2(spectrum * np.exp(-0.5 * (np.hypot(f[:, None], f) * 28) ** 2)).real
    return grain, (soft / soft.std()).astype(np.float32)


def _noise(tile: Floats32, u: Floats, v: Floats) -> Floats32:
    """Values of a tile at whole texels below (u, v)."""
    column, row = (np.floor(value).astype(np.int64) & (TILE - 1) for value in (u, v))
    return np.take(tile.reshape(-1), row * TILE + column)


def _sky(camera: Camera, light: Light, seed: int) -> Floats32:
    h, w = camera.size
    x, yz = camera.rays()
    rise = np.clip(yz[:, 1] / yz[:, 0], 0, None)  # tangent of the elevation ahead
    up = np.minimum(rise / 0.35, 1).astype(np.float32)
    color = _column(light.horizon) * (1 - up) + _column(light.zenith) * up  # (3, H)
    picture = np.empty((3, h, w), np.float32)
    picture[:] = color[:, :, None]
    rows = np.flatnonzero(rise > 0)
    if len(rows) and light.clouds:
        soft = _clouds()[1]
        u = np.broadcast_to(x * 60 + seed % 200, (len(rows), w))
        v = np.broadcast_to((rise[rows] * 190)[:, None] + seed % 97, (len(rows), w))
        cover = np.clip((_smooth(soft, u, v) - np.float32(1.2 - 1.6 * light.clouds)) * np.float32(0.5), 0, 0.75)
        picture[:, rows] += (np.float32(0.92) - picture[:, rows]) * cover
    return picture


def _smooth(tile: Floats32, u: Floats, v: Floats) -> Floats32:
    """Values of a tile at (u, v), linear between texels."""
    a, b = ((value - np.floor(value)).astype(np.float32) for value in (u, v))
    upper = _noise(tile, u, v) * (1 - a) + _noise(tile, u + 1, v) * a
    lower = _noise(tile, u, v + 1) * (1 - a) + _noise(tile, u + 1, v + 1) * a
    return upper + (lower - upper) * b


def _ground(ground: Ground, at: _Spots, light: Light) -> tuple[Ints, Floats32]:
    """(P,) stuff and (3, P) the light that it reflects."""
    stuff = np.full(len(at.u), GROUNDS.index(ground.floor))
    depths = [patch.depth(at.u, at.v).astype(np.float32) for patch in ground.patches]
    border = at.blur + np.float32(0.006)
    seen, hidden = [], np.zeros(len(at.u), np.bool_)
    for depth in reversed(depths):  # what lies under other stuff need not be painted
        seen.append(np.flatnonzero((depth > -0.5 * border) & ~hidden))
        hidden |= depth > 0.5 * border
    albedo = np.zeros((3, len(at.u)), np.float32)
    bare = np.flatnonzero(~hidden)
    albedo[:, bare] = _material(ground.floor, ground, at.select(bare), light)
    for patch, depth, spots in zip(ground.patches, depths, reversed(seen), strict=True):
        inside = depth[spots]
        share = np.clip(inside / border[spots] + np.float32(0.5), 0, 1)
        rim = np.clip(np.abs(inside) / np.float32(0.03), 0.72, 1)
        color = _material(patch.stuff, ground, at.select(spots), light)
        albedo[:, spots] += (color * rim - albedo[:, spots]) * share
        stuff[depth > 0] = GROUNDS.index(patch.stuff)
    return stuff + 2, albedo


def _material(stuff: str, ground: Ground, at: _Spots, light: Light) -> Floats32:
    """(3, P) the light that the ground reflects were it all of this stuff."""
    grain, soft = _clouds()
    fine = np.minimum(np.float32(0.012) / at.blur, 1)  # fades where a pixel covers many grains
    tint = np.float32(ground.tint[GROUNDS.index(stuff)])
    if stuff == "grass":
        tone = 1 + 0.27 * fine * _noise(grain, at.u * 190, at.v * 60) + 0.09 * _noise(soft, at.u * 60, at.v * 60)
        return _colored(GRASS, tone * tint)
    if stuff == "sand":
        ripple = np.sin(at.v * 40 + 2 * np.sin(at.u * 5)).astype(np.float32)
        tone = 1 + 0.10 * fine * _noise(grain, at.u * 160, at.v * 80) + 0.05 * fine * ripple
        return _colored(SAND, (tone + 0.04 * _noise(soft, at.u * 50, at.v * 50)) * tint)
    if stuff == "water":
        waves = np.sin(at.v * 46 + 3 * np.sin(at.u * 3.1 + at.v * 2)).astype(np.float32) * fine
        mirror = np.clip(0.22 + 0.13 * waves + 0.1 * _noise(soft, at.u * 40, at.v * 110), 0, 1)
        water: Floats32 = _column(WATER) * tint * (1 - mirror) + _column(light.horizon) * mirror
        return water
    return _paving(ground.turn, at, tint)


def _paving(turn: float, at: _Spots, tint: np.float32) -> Floats32:
    c, s = np.cos(turn), np.sin(turn)
    u, v = (at.u * c + at.v * s) / 0.17, (at.v * c - at.u * s) / 0.17
    joint = np.minimum(np.abs(u - np.rint(u)), np.abs(v - np.rint(v))).astype(np.float32) * np.float32(0.17)
    open_ = np.clip((np.float32(0.004) - joint) / (at.blur * 0.7) + np.float32(0.5), 0, 1)
    open_ *= np.minimum(np.float32(0.014) / at.blur, 1)
    grain, _ = _clouds()
    tone = 1 + 0.08 * _noise(grain, u + 31, v) + 0.05 * np.minimum(0.01 / at.blur, 1) * _noise(grain, u * 27, v * 27)
    return _colored(STONE, tone * (1 - np.float32(0.55) * open_) * tint)


def _colored(rgb: Rgb, tone: Floats32) -> Floats32:
    return _column(rgb) * tone.astype(np.float32, copy=False)


def _add_wall(
    wall: Wall, camera: Camera, light: Light, rays: tuple[Floats, Floats, Floats], stuff: Ints, picture: Floats32
) -> None:
    """Paint the wall over sky and ground, in place."""
    x, y, z = rays
    c, s = np.cos(wall.turn), np.sin(wall.turn)
    ahead = np.maximum(x * s + y[:, None] * c, 1e-6)
    height = camera.height + z[:, None] * wall.distance / ahead
    pixel = wall.distance / camera.focal / ahead
    inside = np.minimum(height, wall.height - height) / pixel + 0.5  # pixels from the nearest edge, and a half
    stuff[inside > 0.5] = 1
    seen = np.flatnonzero(inside > 0)
    row, column = np.divmod(seen, len(x))
    up, blur, share = (plane.reshape(-1)[seen] for plane in (height, pixel, inside))
    along = blur * camera.focal * (x[column] * c - y[row] * s)
    tone = _bricks(wall, along, up, blur.astype(np.float32))
    foot = np.clip(up.astype(np.float32) / np.float32(0.25) * 0.3 + 0.7, 0, 1)
    lit = _colored(wall.rgb, tone * foot) * _lit(light, (-float(s), -float(c), 0.0), np.zeros(1, np.float32))
    flat = picture.reshape(3, -1)
    flat[:, seen] += (lit - flat[:, seen]) * np.minimum(share, 1).astype(np.float32)


def _bricks(wall: Wall, along: Floats, up: Floats, blur: Floats32) -> Floats32:
    """Brightness of the wall."""
    grain, soft = _clouds()
    if not wall.bricks:
        stains = np.float32(0.04) * _noise(soft, along * 40, up * 40)
        return 1 + stains + np.float32(0.02) * _noise(grain, along * 90, up * 90)
    v = up / (0.42 * wall.bricks)
    row = np.floor(v)
    u = along / wall.bricks + 0.5 * (row % 2)
    near_u = np.abs(u - np.rint(u)) * wall.bricks
    near_v = np.abs(v - np.rint(v)) * (0.42 * wall.bricks)
    joint = np.minimum(near_u, near_v).astype(np.float32)
    open_ = np.clip((np.float32(0.008) - joint) / blur + np.float32(0.5), 0, 1)
    tone: Floats32 = 1 + np.float32(0.09) * _noise(grain, u, row + 17)
    tone += (np.float32(1.18) - tone) * open_
    return tone
