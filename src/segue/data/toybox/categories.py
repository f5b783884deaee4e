"""The classes of Toybox."""

from __future__ import annotations

from segue.data.toybox.cars import WHEEL_PAIRS, WHEEL_SKELETON, WHEELS
from segue.data.toybox.figures import FLIP_PAIRS, KEYPOINTS, SKELETON
from segue.data.toybox.solids import MAKERS
from segue.structures import Categories, Category
from segue.structures.categories import Color

THINGS = ("person", *MAKERS)
STUFF = ("sky", "wall", "grass", "sand", "water", "pavement")

COLORS: tuple[Color, ...] = (
    (230, 60, 70), (250, 150, 40), (150, 90, 40), (190, 130, 70), (250, 220, 60), (150, 60, 180), (40, 110, 220),
    (20, 120, 50), (240, 110, 170), (110, 80, 220), (255, 110, 60), (40, 190, 160), (120, 200, 230),
    (150, 200, 250), (170, 130, 130), (110, 190, 70), (230, 210, 140), (60, 120, 180), (140, 140, 150),
)  # fmt: skip


def _category(index: int, name: str) -> Category:
    isthing, color = index < len(THINGS), COLORS[index]
    if name == "person":
        return Category(name, index + 1, isthing, color, KEYPOINTS, SKELETON, FLIP_PAIRS)
    if name == "car":
        return Category(name, index + 1, isthing, color, WHEELS, WHEEL_SKELETON, WHEEL_PAIRS)
    return Category(name, index + 1, isthing, color)


TOYBOX = Categories(tuple(_category(i, name) for i, name in enumerate((*THINGS, *STUFF))))
"""First the things, then the stuff; ids from 1."""
