"""What is no thing: regions of the ground, a wall, the sky, and the light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from segue.data.toybox.arrays import Floats
from segue.data.toybox.chance import Dice
from segue.data.toybox.paint import Rgb, linear

Shape = Literal["half", "strip", "pool"]
GROUNDS = ("grass", "sand", "water", "pavement")
FLOORS = ("grass", "grass", "sand", "pavement")
"""What the whole ground may be made of."""


@dataclass(frozen=True)
class Patch:
    """A region of the ground: all on one side of a line, a strip along it, or a pool around a point of it.

    Attributes:
        stuff: what it is made of.
        shape: which of the three.
        x: of a point on the line, m.
        y: of that point.
        angle: radians between the line and the x axis.
        width: m, of the strip, or twice the pool's mean radius.
        wave: m, by what the border swings; 0 is straight.
        length: m of a swing of the border.
        phase: radians.
    """

    stuff: str
    shape: Shape
    x: float
    y: float
    angle: float
    width: float
    wave: float
    length: float
    phase: float

    def depth(self, x: Floats, y: Floats) -> Floats:
        """About how far inside the border places are, m; negative outside."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        along, away = (x - self.x) * c + (y - self.y) * s, (y - self.y) * c - (x - self.x) * s
        if self.shape == "pool":
            angle = np.arctan2(1.6 * away, along)
            inside: Floats = self.width / 2 + self.wave * np.sin(3 * angle + self.phase) - np.hypot(along, 1.6 * away)
            return inside
        away = away + self.wave * np.sin(along * (2 * np.pi / self.length) + self.phase)
        depth: Floats = away if self.shape == "half" else self.width / 2 - np.abs(away)
        return depth


@dataclass(frozen=True)
class Ground:
    """The plane z = 0: a floor with patches on it, the last one on top.

    Attributes:
        floor: what it is made of.
        patches: from the lowest up.
        tint: brightness of each of `GROUNDS`.
        turn: radians by which paving is turned.
    """

    floor: str
    patches: tuple[Patch, ...]
    tint: tuple[float, ...]
    turn: float

    def stuff_at(self, place: ArrayLike) -> str:
        """The stuff at one place (x, y)."""
        x, y = np.asarray(place, np.float64)
        found = self.floor
        for patch in self.patches:
            found = patch.stuff if patch.depth(x, y) > 0 else found
        return found


@dataclass(frozen=True)
class Wall:
    """A wall on the ground without ends, m and radians.

    Attributes:
        distance: of its foot from the world's origin.
        turn: of its normal from straight ahead, to the right.
        height: of its top.
        rgb: linear light that it reflects.
        bricks: length of its bricks; 0 for plaster.
    """

    distance: float
    turn: float
    height: float
    rgb: Rgb
    bricks: float


@dataclass(frozen=True)
class Light:
    """Sun and sky.

    Attributes:
        sun: (3,) unit vector to the sun.
        sunlight: linear light on a surface that faces the sun.
        skylight: the same from above.
        bounce: the same from below.
        softness: pixels at a height of 256 by which shadows are blurred.
        zenith: linear light of the sky overhead.
        horizon: the same far down.
        clouds: 0 for none to 1.
    """

    sun: tuple[float, float, float]
    sunlight: Rgb
    skylight: Rgb
    bounce: Rgb
    softness: float
    zenith: Rgb
    horizon: Rgb
    clouds: float


WALLS = ((196, 118, 92), (214, 196, 164), (168, 186, 196), (220, 206, 196), (186, 160, 190), (150, 176, 150),
         (226, 178, 130), (128, 140, 168))  # fmt: skip
SKIES = (((70, 130, 220), (196, 224, 246)), ((96, 158, 226), (226, 236, 244)), ((88, 118, 190), (250, 206, 170)),
         ((130, 150, 176), (214, 220, 226)))  # fmt: skip
"""sRGB overhead and at the horizon: clear, hazy, evening, overcast."""


def draw_ground(dice: Dice) -> Ground:
    """A floor with one to three patches."""
    floor = dice.pick(FLOORS)
    patches = [_draw_patch(dice, stuff) for stuff in dice.shuffled(GROUNDS) if stuff != floor][: dice.whole(1, 3)]
    order = {"half": 0, "pool": 1, "strip": 2}
    patches.sort(key=lambda patch: order[patch.shape])
    tint = tuple(dice.uniform(0.85, 1.12) for _ in GROUNDS)
    return Ground(floor, tuple(patches), tint, dice.uniform(-0.7, 0.7))


def _draw_patch(dice: Dice, stuff: str) -> Patch:
    shapes: tuple[Shape, ...] = ("half", "pool") if stuff == "water" else ("half", "pool", "strip")
    shape: Shape = "strip" if stuff == "pavement" and dice.chance(0.7) else dice.pick(shapes)
    x, y = dice.uniform(-0.8, 0.8), dice.uniform(1.2, 2.6)
    if shape == "half":  # of a far or a lateral part of the ground
        angle = dice.pick((dice.uniform(-0.35, 0.35), dice.uniform(0.9, 1.5), dice.uniform(-1.5, -0.9)))
        x, y = (x, dice.uniform(1.8, 2.8)) if abs(angle) < 0.5 else (-0.4 * np.sign(angle), y)
    else:
        angle = dice.uniform(-1.4, 1.4) if shape == "strip" else dice.uniform(-0.3, 0.3)
    width = dice.uniform(0.35, 0.6) if shape == "strip" else dice.uniform(0.7, 1.4)
    curved = dice.chance(0.7)
    wave = dice.uniform(0.04, 0.12) if curved or shape == "pool" else 0.0
    length, phase = dice.uniform(0.8, 2.0), dice.uniform(0, 2 * np.pi)
    return Patch(stuff, shape, float(x), float(y), float(angle), width, wave, length, phase)


def draw_wall(dice: Dice, camera_height: float) -> Wall | None:
    """A wall in six of ten scenes, seldom so high that it hides the sky."""
    there, distance, turn = dice.chance(0.6), dice.uniform(3.0, 4.6), dice.uniform(-0.25, 0.25)
    height = camera_height + dice.uniform(-0.25, 0.7)
    rgb, bricks = linear(dice.pick(WALLS)), dice.pick((0.0, 0.24, 0.3, 0.36))
    return Wall(distance, turn, height, rgb, bricks) if there else None


def draw_light(dice: Dice) -> Light:
    """Sun from behind the camera or the side, seldom from the front; warm where the sky is."""
    skies = dice.pick(SKIES)
    zenith, horizon = linear(skies[0]), linear(skies[1])
    overcast, evening = skies is SKIES[3], skies is SKIES[2]
    azimuth, height = dice.uniform(-2.2, 2.2), np.deg2rad(dice.uniform(26, 36) if evening else dice.uniform(36, 62))
    sun = (np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height))
    power = dice.uniform(0.88, 1.06) * (0.45 if overcast else 1.0)
    warmth = (1.12, 0.88, 0.66) if evening else (1.06, 1.0, 0.9)
    fill = dice.uniform(0.42, 0.52) * (1.5 if overcast else 1.0)
    sky = tuple(fill * (0.62 + 0.55 * (a + b) / 2) for a, b in zip(zenith, horizon, strict=True))
    softness = dice.uniform(4, 7) if overcast else dice.pick((0.0, 0.7, 1.5, 2.5))
    clouds = 0.9 if overcast else dice.uniform(0.0, 0.7)
    return Light(
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        sunlight=(power * warmth[0], power * warmth[1], power * warmth[2]),
        skylight=(sky[0], sky[1], sky[2]),
        bounce=(fill * 0.5, fill * 0.46, fill * 0.38),
        softness=softness,
        zenith=zenith,
        horizon=horizon,
        clouds=clouds,
    )
