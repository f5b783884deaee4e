"""The things of Toybox as closed triangle meshes: z is up, the ground is z = 0, the front looks along -y.

Every solid is a list of parts, and every part is a closed surface of its own; parts may run into each other, as a
mug's handle does into its wall. Sizes are those of toys, in metres, so that a car and a mug fit into one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from segue.data.toybox.arrays import Floats
from segue.data.toybox.cars import draw_car
from segue.data.toybox.chance import Dice
from segue.data.toybox.figures import draw_figure
from segue.data.toybox.paint import BRIGHT, Paint, draw_paint, plain, varied
from segue.data.toybox.parts import Model, Part
from segue.data.toybox.surfaces import ball, capsule, ellipsoid, lathe, slab, tube

METAL, BULB = plain("gray", 0.6), Paint("yellow", (1.0, 0.85, 0.4))
WOODS = ("brown", "white", "black")
SMALL, LARGE = 0.88, 1.14
"""Scales from which a thing is called small, or large."""


@dataclass(frozen=True)
class Solid:
    """A thing in its own coordinates, m.

    Attributes:
        category: its name.
        parts: closed surfaces; the first one gives the thing its colour.
        scale: 1 is the usual size of its category.
        style: a word for what it is or does, such as a pose; may be empty.
        second: a further colour that is spoken of (a person's trousers), or empty.
        keypoints: (K, 3).
        reach: (K,) m of the thing's own flesh that may lie before a keypoint without hiding it.
    """

    category: str
    parts: tuple[Part, ...]
    scale: float
    style: str
    second: str
    keypoints: Floats
    reach: Floats

    @property
    def paint(self) -> Paint:
        """Of the first part."""
        return self.parts[0].paint

    @cached_property
    def radius(self) -> float:
        """Of the upright cylinder around the origin that holds everything, m."""
        return max(float(np.hypot(p.shell.vertices[:, 0], p.shell.vertices[:, 1]).max()) for p in self.parts)


Parts = list[Part]


def _ball(dice: Dice, paint: Paint) -> Parts:
    radius = dice.uniform(0.085, 0.125)
    return [Part(ball(radius, 24, 11).moved((0, 0, radius)), paint)]


def _box(dice: Dice, paint: Paint) -> Parts:
    size = [dice.uniform(0.14, 0.26) for _ in range(3)]
    parts = [Part(slab(size, (0, 0, size[2] / 2), 0.012), paint)]
    if dice.chance(0.5):  # a lid
        lid = (size[0] + 0.016, size[1] + 0.016, 0.035)
        parts.append(Part(slab(lid, (0, 0, size[2]), 0.01), Paint(paint.color, _darker(paint), shine=paint.shine)))
    return parts


def _cone(dice: Dice, paint: Paint) -> Parts:
    radius, height, tip = dice.uniform(0.09, 0.12), dice.uniform(0.26, 0.36), 0.018
    body = [(0, 0.0), (radius, 0.0), (tip, height), (0, height + 0.004)]
    stripes = replace(paint, pattern="striped", axis=2, period=height / dice.pick((2.0, 2.5, 3.0)))
    foot = slab((2.3 * radius, 2.3 * radius, 0.03), (0, 0, 0.015), 0.01)
    return [Part(lathe(body), stripes), Part(foot, Paint(paint.color, _darker(paint)))]


def _bottle(dice: Dice, paint: Paint) -> Parts:
    r, h, neck = dice.uniform(0.05, 0.07), dice.uniform(0.15, 0.2), dice.uniform(0.018, 0.024)
    profile = [(0, 0.0), (0.9 * r, 0.0), (r, 0.1 * r), (r, h), (0.86 * r, h + 0.35 * r), (1.4 * neck, h + 0.75 * r)]
    profile += [(neck, h + r), (neck, h + r + 0.05), (0, h + r + 0.05)]
    z = h + r + 0.04
    cap = [(0, z), (neck + 0.007, z), (neck + 0.007, z + 0.028), (0, z + 0.028)]
    label = [(0, 0.25 * h), (r + 0.003, 0.25 * h), (r + 0.003, 0.8 * h), (0, 0.8 * h)]
    body = replace(paint, pattern="plain", shine=0.8)
    paper = replace(paint, rgb=varied(dice, "white"), other=paint.rgb, shine=0.0)
    return [Part(lathe(profile), body), Part(lathe(cap, 12), plain(dice.pick(WOODS[1:]))), Part(lathe(label), paper)]


def _bowl(dice: Dice, paint: Paint) -> Parts:
    r, h, t = dice.uniform(0.13, 0.17), dice.uniform(0.085, 0.11), 0.012
    angle = np.linspace(0.35, 1.0, 5) * np.pi / 2
    outer = np.stack([r * np.sin(angle), h - (h - 0.012) * np.cos(angle)], axis=1)
    inner = np.stack([(r - t) * np.sin(angle), h - (h - 0.012 - t) * np.cos(angle)], axis=1)[::-1]
    foot = [(0, 0.0), (0.42 * r, 0.0), (0.42 * r, 0.012)]
    return [Part(lathe(np.concatenate([foot, outer, inner, [(0, 0.03)]]), 24), paint)]


def _mug(dice: Dice, paint: Paint) -> Parts:
    r, h, t = dice.uniform(0.075, 0.095), dice.uniform(0.16, 0.21), 0.011
    profile = [(0, 0.0), (0.92 * r, 0.0), (r, 0.01), (r, h), (r - t, h), (r - t, 0.016), (0, 0.016)]
    angle = np.linspace(-0.5, 0.5, 9) * np.pi
    grip = np.stack([r - 0.006 + 0.055 * np.cos(angle), 0 * angle, h / 2 + 0.3 * h * np.sin(angle)], axis=1)
    grip[[0, -1], 0] -= 0.004
    handle = tube(grip, 0.0125, (0, 1, 0))
    return [Part(lathe(profile, 24), paint), Part(handle, Paint(paint.color, paint.rgb, shine=paint.shine))]


def _ring(dice: Dice, paint: Paint) -> Parts:
    radius, thick = dice.uniform(0.1, 0.14), dice.uniform(0.024, 0.045)
    angle = np.arange(28) * (2 * np.pi / 28)
    if dice.chance(0.6):  # upright: the picture shows what is behind
        path = np.stack([radius * np.cos(angle), 0 * angle, radius + thick + radius * np.sin(angle)], axis=1)
        return [Part(tube(path, thick, (0, 1, 0), 12, loop=True), paint)]
    path = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle + thick], axis=1)
    return [Part(tube(path, thick, (0, 0, 1), 12, loop=True), paint)]


def _legs(x: float, y: float, height: float, radius: float, paint: Paint) -> Parts:
    corners = [(sx * x, sy * y) for sx in (-1, 1) for sy in (-1, 1)]
    return [Part(tube([(a, b, 0), (a, b, height)], radius, (1, 0, 0), 8), paint) for a, b in corners]


def _table(dice: Dice, paint: Paint) -> Parts:
    height, wood = dice.uniform(0.22, 0.28), plain(dice.pick(WOODS))
    if dice.chance(0.4):
        r = dice.uniform(0.19, 0.24)
        disc = [(0, height), (r, height), (r, height + 0.022), (0, height + 0.022)]
        foot = [(0, 0.0), (0.55 * r, 0.0), (0.5 * r, 0.018), (0.03, 0.03), (0.022, height), (0, height)]
        return [Part(lathe(disc, 28), paint), Part(lathe(foot), wood)]
    w, d = dice.uniform(0.32, 0.46), dice.uniform(0.24, 0.32)
    top = slab((w, d, 0.026), (0, 0, height), 0.008)
    return [Part(top, paint), *_legs(w / 2 - 0.03, d / 2 - 0.03, height, 0.014, wood)]


def _chair(dice: Dice, paint: Paint) -> Parts:
    w, d, seat = dice.uniform(0.17, 0.2), dice.uniform(0.16, 0.19), dice.uniform(0.16, 0.19)
    back = dice.uniform(0.17, 0.22)
    x, y = w / 2 - 0.014, d / 2 - 0.014
    frame = replace(paint, pattern="plain")
    parts = [Part(slab((w, d, 0.024), (0, 0, seat), 0.008), paint), *_legs(x, y, seat, 0.0115, frame)]
    parts += [Part(capsule((s * x, y, seat), (s * x, y + 0.02, seat + back), 0.0115, n=8), frame) for s in (-1, 1)]
    slats = dice.whole(1, 3)
    for i in range(slats):
        z = seat + back * (1 - (i + 0.4) / (slats + 0.6))
        size = (w - 0.02, 0.014, 0.62 * back / slats)
        parts.append(Part(slab(size, (0, y + 0.02 * (z - seat) / back, z), 0.006), paint))
    return parts


def _lamp(dice: Dice, paint: Paint) -> Parts:
    height, r = dice.uniform(0.34, 0.46), dice.uniform(0.1, 0.13)
    narrow, tall, t = r * dice.uniform(0.5, 0.8), dice.uniform(0.11, 0.15), 0.005
    low = height - tall
    shade = [(r - t, low), (r, low), (narrow, height), (narrow - t, height)]  # a thin shell, open above and below
    foot = [(0, 0.0), (0.085, 0.0), (0.08, 0.016), (0.014, 0.028), (0.01, 0.05), (0.01, low + 0.03), (0, low + 0.03)]
    bulb = ellipsoid((0, 0, low + 0.045), (0.028, 0.028, 0.034), 12, 5)
    stand = dice.pick((METAL, plain("brown"), plain("black", 0.3), plain("white", 0.3)))
    return [Part(lathe(shade, 24, loop=True), paint), Part(lathe(foot), stand), Part(bulb, BULB)]


def _tree(dice: Dice, paint: Paint) -> Parts:
    paint = replace(paint, shine=0.0)
    height = dice.uniform(0.46, 0.62)
    bark = plain("brown")
    if dice.chance(0.4):  # a fir: cones on a trunk
        trunk = Part(tube([(0, 0, 0), (0, 0, 0.3 * height)], (0.028, 0.022), (1, 0, 0), 10), bark)
        layers = dice.whole(2, 3)
        parts: Parts = []
        for i in range(layers):
            low, r = height * (0.2 + 0.7 * i / (layers + 0.5)), 0.17 * (1 - 0.26 * i)
            high = min(height, low + 0.5 * height)
            layer = [(0, low + 0.02), (r, low), (0.9 * r, low + 0.02), (0.015, high), (0, high)]
            parts.append(Part(lathe(layer), paint))
        return [*parts, trunk]
    trunk = Part(tube([(0, 0, 0), (0, 0, 0.6 * height)], (0.034, 0.02), (1, 0, 0), 10), bark)
    return [*_leaves(dice, height, paint), trunk]


def _leaves(dice: Dice, height: float, paint: Paint) -> Parts:
    """Three balls around the trunk, and one above them."""
    crown, turn = 0.3 * height, dice.uniform(0, 2 * np.pi)
    parts: Parts = []
    for i in range(4):
        side = i < 3
        angle, r = turn + i * 2 * np.pi / 3, crown * (dice.uniform(0.55, 0.75) if side else 0.8)
        out = 0.48 * crown if side else 0.0
        z = height - crown * (1.05 if side else 0.75) + dice.uniform(-0.01, 0.02)
        parts.append(Part(ellipsoid((out * np.cos(angle), out * np.sin(angle), z), (r, r, 0.9 * r)), paint))
    return parts


def _darker(paint: Paint) -> tuple[float, float, float]:
    r, g, b = paint.rgb
    return 0.6 * r, 0.6 * g, 0.6 * b


Maker = Callable[[Dice, Paint], Parts | Model]
LEAVES = ("green", "green", "green", "green", "orange", "yellow", "red", "pink")

MAKERS: Mapping[str, tuple[Maker, tuple[str, ...], float]] = {
    "mug": (_mug, BRIGHT, 0.5),
    "chair": (_chair, (*BRIGHT, "brown", "black"), 0.15),
    "table": (_table, (*BRIGHT, "brown", "brown", "black"), 0.15),
    "lamp": (_lamp, BRIGHT, 0.45),
    "ring": (_ring, BRIGHT, 0.5),
    "car": (draw_car, (*BRIGHT, "black", "gray"), 0.0),
    "tree": (_tree, LEAVES, 0.0),
    "ball": (_ball, BRIGHT, 0.7),
    "box": (_box, (*BRIGHT, "brown", "brown"), 0.5),
    "cone": (_cone, ("orange", "orange", "red", "yellow", "green", "blue"), 0.0),
    "bottle": (_bottle, ("green", "blue", "brown", "red", "purple", "pink", "orange"), 0.5),
    "bowl": (_bowl, BRIGHT, 0.5),
}
"""By category: how it is made, its usual colours, and how often it has a pattern. People are made by `draw_figure`."""


def draw_solid(dice: Dice, category: str) -> Solid:
    """A random thing of a category: ``person`` or one of `MAKERS`."""
    scale = dice.uniform(0.74, 1.3)
    model = draw_figure(dice) if category == "person" else _draw_model(dice, category)
    parts = tuple(Part(p.shell.scaled(scale), replace(p.paint, period=p.paint.period * scale)) for p in model.parts)
    return Solid(category, parts, scale, model.style, model.second, model.keypoints * scale, model.reach * scale)


def _draw_model(dice: Dice, category: str) -> Model:
    make, colors, patterned = MAKERS[category]
    made = make(dice, draw_paint(dice, colors, patterned))
    return made if isinstance(made, Model) else Model(made)
