"""Colours with names, materials, and patterns as functions of a place on an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.data.toybox.arrays import Floats32, Ints
from segue.data.toybox.chance import Dice

Rgb = tuple[float, float, float]
Pattern = Literal["plain", "striped", "checked", "dotted"]
PATTERNS: tuple[Pattern, ...] = ("plain", "striped", "checked", "dotted")

COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (206, 44, 44),
    "orange": (240, 126, 30),
    "yellow": (248, 206, 52),
    "green": (58, 156, 78),
    "blue": (46, 104, 204),
    "purple": (132, 76, 176),
    "pink": (244, 142, 178),
    "brown": (132, 86, 52),
    "black": (42, 42, 48),
    "gray": (140, 142, 150),
    "white": (240, 238, 230),
}
"""sRGB by name; painted things vary a little around them."""

BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SHADES = {"yellow": "white", "orange": "white", "white": "gray"}


@dataclass(frozen=True)
class Paint:
    """How a part looks.

    Attributes:
        color: name of the main colour.
        rgb: linear light that it reflects, 0 to 1.
        other: the same for the pattern's second colour.
        pattern: how the two share the surface.
        period: m, after which the pattern repeats.
        axis: of the object's coordinates, across which stripes run.
        shine: strength of the highlight; 0 is matt.
    """

    color: str
    rgb: Rgb
    other: Rgb = (0.0, 0.0, 0.0)
    pattern: Pattern = "plain"
    period: float = 0.1
    axis: int = 2
    shine: float = 0.0


def linear(color: tuple[float, float, float]) -> Rgb:
    """sRGB of 0 to 255 as linear light of 0 to 1, by the exponent 2.2."""
    r, g, b = ((value / 255) ** 2.2 for value in color)
    return r, g, b


def plain(color: str, shine: float = 0.0) -> Paint:
    """A paint without pattern, exactly of the named colour."""
    return Paint(color, linear(COLORS[color]), shine=shine)


def varied(dice: Dice, color: str) -> Rgb:
    """Linear light of a named colour, a little lighter, darker or shifted."""
    light = dice.uniform(0.86, 1.1)
    r, g, b = (min(255.0, value * light + dice.uniform(-9, 9)) for value in COLORS[color])
    return linear((max(r, 0.0), max(g, 0.0), max(b, 0.0)))


def draw_paint(dice: Dice, colors: tuple[str, ...] = BRIGHT, patterned: float = 0.5) -> Paint:
    """A random paint: one of ``colors``, with a pattern with probability ``patterned``, matt or shiny."""
    color = dice.pick(colors)
    pattern = dice.pick(PATTERNS[1:]) if dice.chance(patterned) else "plain"
    rgb, partner = varied(dice, color), _partner(dice, color)
    period, axis = dice.uniform(0.06, 0.1), dice.pick((2, 2, 0))
    shine = dice.uniform(0.35, 0.7) if dice.chance(0.5) else 0.0
    return Paint(color, rgb, partner, pattern, period, axis, shine)


def _partner(dice: Dice, color: str) -> Rgb:
    """The second colour of a pattern: white, or a darker shade of the first, so that the first still names it."""
    if dice.chance(0.6) and color != "white":
        return varied(dice, "white")
    r, g, b = varied(dice, "blue" if color == "white" else color)
    return (r, g, b) if color == "white" else (0.4 * r, 0.4 * g, 0.4 * b)


def share(pattern: Pattern, place: Floats32, period: Floats32, axis: Ints, blur: Floats32) -> Floats32:
    """How much (P,) of the second colour shows, 0 to 1, fading over ``blur`` metres at the borders.

    Args:
        pattern: not plain.
        place: (3, P) object coordinates in metres.
        period: (P,) m.
        axis: (P,) across which stripes run.
        blur: (P,) m.
    """
    if pattern == "striped":
        along = np.take_along_axis(place, axis[None], 0)[0]
        return _half(_wave(along / period, period, blur))
    cells = place / period
    if pattern == "checked":
        x, y, z = _wave(cells + np.float32(0.13), period, blur)
        return _half(x * y * z)
    offsets = cells - np.rint(cells), cells - np.floor(cells) - np.float32(0.5)
    even, odd = (d[0] ** 2 + d[1] ** 2 + d[2] ** 2 for d in offsets)
    distance = (
        np.sqrt(np.minimum(even, odd)) * period
    )  # to a body-centred lattice, of which every plane has points near
    dots: Floats32 = np.clip((np.float32(0.33) * period - distance) / blur + np.float32(0.5), 0, 1)
    return dots


def _wave(phase: Floats32, period: Floats32, blur: Floats32) -> Floats32:
    """Square wave of period 1 between -1 and 1, as sharp as ``blur`` allows."""
    distance = (np.abs(phase - np.floor(phase) - np.float32(0.5)) - np.float32(0.25)) * period
    wave: Floats32 = np.clip(2 * distance / blur, -1, 1)
    return wave


def _half(wave: Floats32) -> Floats32:
    """From -1 to 1 to the range from 0 to 1."""
    return np.float32(0.5) + np.float32(0.5) * wave
