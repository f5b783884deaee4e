"""Panoptic maps: stuff in its class's colour, every thing in a shade of its own, names where there is room."""

from __future__ import annotations

import colorsys
import math
from collections import Counter

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from segue.drawing.boxes import label_font
from segue.drawing.semantic import draw_semantic
from segue.drawing.text import clean, line_height
from segue.errors import UsageError
from segue.structures import Categories, Category, Segments
from segue.structures.categories import Color

ALPHA = 0.6
"""How much of the tint covers the picture."""
TURN = 0.13
"""The hues of a class's things lie so far to both sides of its colour, of the whole circle."""
GOLDEN = 0.618033988749895
"""Its multiples, modulo 1, never come close to each other soon."""
VALUES = (1.0, 0.6, 0.8)
"""Times these the lightness of a class's colour is that of its things, in turn."""
DARKEST = 0.5
"""Darker colours have no room for shades and count as that light, from 0 to 1."""
LETTERS, CASING = (255, 255, 255), (20, 22, 28)
SCALES = (1.0, 1.3, 1.7, 2.2, 3.0, 4.0)
"""Where this many times the room of a name is free, more does not make a better place."""


def draw_panoptic(
    image: Image.Image, panoptic: Tensor, segments: Segments, categories: Categories, name_things: bool = True
) -> Image.Image:
    """A copy of an RGB picture with every segment tinted, thin lines between them, and names where they fit inside.

    What belongs to no segment stays as it is. Names of segments that are too small for them are left out.

    Args:
        image: of the size of the map.
        panoptic: (H, W) segment ids, 0 where there is none.
        segments: what the ids mean.
        categories: with names and colours.
        name_things: write the names of things, too; without, only those of stuff, where boxes tell the others.

    Raises:
        UsageError: the map is of another size than the picture.
        DataError: an id in the map is not among the segments.
    """
    if tuple(panoptic.shape) != (image.height, image.width):
        what = f"a panoptic map of {tuple(panoptic.shape)} over a picture of {(image.height, image.width)}"
        raise UsageError(what, cure="use its own")
    segments = segments.to("cpu")
    places = segments.places(panoptic.detach().cpu().long())  # (H, W) from -1
    own = [
        Category(str(number), number, color=color) for number, color in enumerate(segment_colors(segments, categories))
    ]
    painted = draw_semantic(image, places, Categories(tuple(own)), ALPHA)  # every segment as a class of its own
    chosen = [categories[label] for label in segments.labels.tolist()]
    _write_names(painted, places, [c.name if name_things or not c.isthing else "" for c in chosen])
    return painted


def segment_colors(segments: Segments, categories: Categories) -> list[Color]:
    """An RGB colour for each segment: its class's, or for the second thing of a class and all later ones a `shade`."""
    seen: Counter[int] = Counter()
    colors = []
    for label in segments.labels.tolist():
        colors.append(shade(categories[label].color, seen[label]))
        seen[label] += categories[label].isthing
    return colors


def shade(color: Color, number: int) -> Color:
    """The ``number``-th relative of a colour, itself for 0; those next to each other differ in hue and lightness."""
    if number == 0:
        return color
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))
    step = number * GOLDEN % 1  # in [0, 1)
    value = max(value, DARKEST) * VALUES[number % len(VALUES)]
    r, g, b = colorsys.hsv_to_rgb((hue + TURN * (2 * step - 1)) % 1, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def roomiest(inside: Tensor, width: int, height: int) -> tuple[int, int] | None:
    """x, y of the middle of a free rectangle, far from the border of what is free; None where no rectangle is free.

    Args:
        inside: (H, W) bool, what is free.
        width: of the rectangle in pixels, from 1.
        height: of the rectangle in pixels, from 1.
    """
    counts = F.pad(inside.int().cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    found = None
    for scale in SCALES:
        w, h = math.ceil(scale * width), math.ceil(scale * height)
        if w > inside.shape[1] or h > inside.shape[0]:
            break
        free = counts[h:, w:] - counts[:-h, w:] - counts[h:, :-w] + counts[:-h, :-w] == w * h
        corners = free.nonzero()  # (M, 2) y, x of rectangles that are all free
        if not len(corners):
            break
        middle = (corners - corners.double().mean(0)).square().sum(1).argmin()
        y, x = corners[middle].tolist()
        found = (x + w // 2, y + h // 2)
    return found


def coarse(labels: Tensor, cell: int) -> Tensor:
    """(H, W) labels -> (H // cell, W // cell): the label of each square of ``cell`` pixels, -1 where it has several."""
    planes = labels[None, None].float()
    highest, lowest = (sign * F.max_pool2d(sign * planes, cell) for sign in (1, -1))
    return torch.where(highest == lowest, highest, -1.0)[0, 0].to(labels.dtype)


def _write_names(image: Image.Image, places: Tensor, names: list[str]) -> None:
    """Write a name (or none, where it is empty) inside each segment of a map (H, W) of their indices."""
    face, pen = label_font(image.size), ImageDraw.Draw(image)
    stroke = max(1, round(face.size / 12))
    height = line_height(face) + 2 * stroke
    cell = min(max(1, height // 12), *image.size)  # large pictures have large letters, and need no finer search
    squares = coarse(places, cell)
    areas = (squares.flatten() + 1).bincount(minlength=len(names) + 1)[1:].tolist()
    for index, (name, area) in enumerate(zip(map(clean, names), areas, strict=True)):
        w, h = (math.ceil(side / cell) for side in (face.getlength(name) + 4 * stroke, height))
        if not name or area < w * h:
            continue
        inside = squares == index
        rows, columns = (inside.any(axis).nonzero()[:, 0] for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        place = roomiest(inside[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1], w, h)
        if place:
            xy = ((left + place[0]) * cell, (top + place[1]) * cell)
            pen.text(xy, name, fill=LETTERS, font=face, anchor="mm", stroke_width=stroke, stroke_fill=CASING)
