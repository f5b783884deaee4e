"""A random scene from a number: things on a ground, light, and a camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segue.data.toybox.arrays import Floats
from segue.data.toybox.camera import Camera
from segue.data.toybox.categories import THINGS
from segue.data.toybox.chance import Dice
from segue.data.toybox.scenery import Ground, Light, Wall, draw_ground, draw_light, draw_wall
from segue.data.toybox.solids import Solid, draw_solid
from segue.errors import UsageError

FEWEST, MOST = 3, 8
TRIES = 40
GAP = 0.02  # m between things
WEIGHTS = tuple(3.0 if name == "person" else 1.0 for name in THINGS)


@dataclass(frozen=True)
class Placed:
    """A thing in the world.

    Attributes:
        solid: what.
        x: m, of the origin of its coordinates on the ground.
        y: the same.
        yaw: radians that it is turned, counter-clockwise from above.
    """

    solid: Solid
    x: float
    y: float
    yaw: float

    def to_world(self, points: Floats) -> Floats:
        """World coordinates (..., 3) of points (..., 3) of the thing."""
        world: Floats = points @ self.turn.T + np.array([self.x, self.y, 0.0])
        return world

    @cached_property
    def turn(self) -> Floats:
        """(3, 3) rotation of the thing's directions into the world's."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


@dataclass(frozen=True)
class Lens:
    """What the camera adds.

    Attributes:
        blur: share of each neighbour in a pixel, along x and y; 0 is sharp, 0.25 the most.
        grain: deviation of the noise in gray levels.
    """

    blur: float
    grain: float


@dataclass(frozen=True)
class World:
    """Everything that is in a picture before it is taken."""

    seed: int
    camera: Camera
    things: tuple[Placed, ...]
    ground: Ground
    wall: Wall | None
    light: Light
    lens: Lens


def draw_world(seed: int, size: tuple[int, int] = (256, 256)) -> World:
    """The scene with this number, the same on every machine.

    Args:
        seed: not negative.
        size: (height, width) of its pictures. Scenes of one seed are alike where the shape is.

    Raises:
        UsageError: a negative seed, or a picture of less than 16 pixels a side.
    """
    if seed < 0 or min(size) < 16:
        raise UsageError(
            f"there is no scene {seed} of {size[0]} by {size[1]} pixels", cure="use a seed from 0 on, 16 pixels a side"
        )
    dice = Dice(seed)
    camera = _draw_camera(dice, size)
    ground, wall, light = draw_ground(dice), draw_wall(dice, camera.height), draw_light(dice)
    lens = Lens(dice.uniform(0.0, 0.14), dice.uniform(1.0, 4.0))
    things: list[Placed] = []
    for _ in range(dice.whole(FEWEST, MOST)):
        solid = draw_solid(dice, dice.weighted(THINGS, WEIGHTS))
        placed = _place(dice, solid, camera, (ground, wall), things)
        things += [placed] if placed else []
    return World(seed, camera, tuple(things), ground, wall, light, lens)


def _draw_camera(dice: Dice, size: tuple[int, int]) -> Camera:
    """At 0.5 to 0.9 m, with the horizon in the upper part of the picture."""
    height, half = dice.uniform(0.5, 0.9), np.deg2rad(dice.uniform(19.5, 24))
    focal = size[0] / 2 / np.tan(half)
    horizon = dice.uniform(0.06, 0.27) * size[0]  # row
    return Camera(size, float(focal), height, float(np.arctan((size[0] / 2 - horizon) / focal)))


def _place(
    dice: Dice, solid: Solid, camera: Camera, place: tuple[Ground, Wall | None], others: list[Placed]
) -> Placed | None:
    """The thing somewhere on dry ground where it touches nothing, or None."""
    ground, wall = place
    radius = solid.radius
    near = max(0.7, float(camera.ground_at((0, camera.size[0]))[1]))
    facing = solid.category == "person" and dice.chance(0.7)
    yaw = dice.uniform(-1.2, 1.2) if facing else dice.uniform(-np.pi, np.pi)
    wide = 0.5 * camera.size[1] / camera.focal
    for _ in range(TRIES):
        y = near + 0.7 * radius + 2.4 * camera.height * dice.unit() ** 1.3
        x = y * wide * dice.uniform(-1.0, 1.0)
        free = all(np.hypot(x - o.x, y - o.y) > radius + o.solid.radius + GAP for o in others)
        before = wall is None or x * np.sin(wall.turn) + y * np.cos(wall.turn) < wall.distance - radius - GAP
        if free and before and ground.stuff_at((x, y)) != "water":
            return Placed(solid, x, y, yaw)
    return None
