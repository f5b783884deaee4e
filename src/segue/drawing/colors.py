"""Which colour an object gets."""

from __future__ import annotations

from segue.structures import Scene
from segue.structures.categories import Color, distinct_color


def object_colors(scene: Scene) -> list[Color]:
    """One RGB colour per region: its class's where the scene knows several classes, else one for each object."""
    if len(scene.categories) > 1:
        return [scene.categories[label].color for label in scene.regions.labels.tolist()]
    return [distinct_color(index) for index in range(len(scene.regions))]


def mix(color: Color, other: Color, share: float) -> Color:
    """``color`` with a ``share`` in [0, 1] of ``other``."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return r, g, b


def ink_on(color: Color) -> Color:
    """Black or white, whichever reads better on ``color`` (luma of ITU-R BT.601)."""
    r, g, b = color
    return (16, 16, 16) if 0.299 * r + 0.587 * g + 0.114 * b > 140 else (255, 255, 255)
