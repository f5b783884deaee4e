"""Toy cars, with the wheels as keypoints."""

from __future__ import annotations

import numpy as np

from segue.data.toybox.chance import Dice
from segue.data.toybox.paint import Paint, plain
from segue.data.toybox.parts import Model, Part
from segue.data.toybox.surfaces import ellipsoid, lathe, slab

WHEELS = ("front_left_wheel", "front_right_wheel", "rear_left_wheel", "rear_right_wheel")
"""Keypoints; left is the driver's left."""

WHEEL_SKELETON = ((0, 1), (1, 3), (3, 2), (2, 0))
WHEEL_PAIRS = ((0, 1), (2, 3))

TYRE, METAL, GLASS = plain("black"), plain("gray", 0.6), plain("black", 0.9)


def draw_car(dice: Dice, paint: Paint) -> Model:
    """A random car in this paint."""
    long, w, r = dice.uniform(0.36, 0.44), dice.uniform(0.17, 0.19), dice.uniform(0.042, 0.05)
    body = slab((w, long, 0.075), (0, 0, r + 0.035), 0.025)
    cabin_long, shift = long * dice.uniform(0.46, 0.62), long * dice.uniform(0.0, 0.1)
    roof, narrow = 0.075, (0.8, 0.68)
    z = r + 0.072 + roof / 2
    cabin = slab((w - 0.016, cabin_long, roof), (0, shift, z), 0.012, narrow)
    panes = slab((w - 0.010, cabin_long - 0.06, roof - 0.03), (0, shift, z), 0.004, (0.84, 0.78))
    screens = slab((w - 0.05, cabin_long + 0.006, roof - 0.03), (0, shift, z), 0.004, (0.82, 0.76))
    parts = [Part(body, paint), Part(cabin, paint), Part(panes, GLASS), Part(screens, GLASS)]
    places = [(sx * (w / 2 - 0.008), sy * 0.31 * long, r) for sy in (-1, 1) for sx in (1, -1)]
    parts += [part for place in places for part in _wheel(r, place)]
    parts += [part for side in (-1, 1) for part in _lights(side * w, long / 2, r + 0.045)]
    return Model(parts, np.array(places), np.full(4, 0.045))


def _lights(width: float, end: float, height: float) -> list[Part]:
    """Front and rear light of one side."""
    front = ellipsoid((0.33 * width, -end + 0.006, height), (0.019, 0.012, 0.016), 10, 5)
    rear = ellipsoid((0.36 * width, end - 0.004, height), (0.017, 0.008, 0.011), 10, 5)
    return [Part(front, plain("white", 0.8)), Part(rear, plain("red", 0.5))]


def _wheel(r: float, at: tuple[float, float, float]) -> list[Part]:
    """Tyre and hub around a place, the hub on the side away from the car."""
    side = np.sign(at[0])
    tyre = [(0, -0.018), (0.86 * r, -0.018), (r, -0.008), (r, 0.008), (0.86 * r, 0.018), (0, 0.018)]
    hub = [(0, 0.0), (0.5 * r, 0.0), (0.45 * r, 0.022), (0, 0.024)]
    tilt = np.array([[0.0, 0.0, side], [0.0, 1.0, 0.0], [-side, 0.0, 0.0]])  # the axle along x, outwards
    return [Part(lathe(tyre, 16).turned(tilt).moved(at), TYRE), Part(lathe(hub, 12).turned(tilt).moved(at), METAL)]
