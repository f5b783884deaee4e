"""Boxes with their labels on chips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing.colors import ink_on
from segue.drawing.text import Font, fit, font, line_height
from segue.errors import UsageError
from segue.structures.categories import Color

Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive."""


def draw_boxes(
    image: Image.Image,
    boxes: Tensor,
    colors: Sequence[Color],
    labels: Sequence[str] | None = None,
    width: int | None = None,
) -> Image.Image:
    """A copy of an RGB picture with outlined boxes, the first on top, and their labels.

    Labels are left out altogether where they would hide the picture: see `labels_fit`.

    Args:
        image: the picture.
        boxes: (N, 4) xyxy in pixels; what lies outside the picture is cut off.
        colors: N RGB colours.
        labels: N texts, or None.
        width: of the outline in pixels; None takes one that suits the picture.

    Raises:
        UsageError: the numbers differ.
    """
    if len(colors) != len(boxes) or (labels is not None and len(labels) != len(boxes)):
        raise UsageError(f"{len(boxes)} boxes need as many colours and labels", cure="pass one each")
    image = image.convert("RGB")
    pen = ImageDraw.Draw(image)
    width = max(1, round(min(image.size) / 350)) if width is None else width
    rectangles = _on_canvas(boxes, image.size)
    for (x0, y0, x1, y1), color in reversed(list(zip(rectangles, colors, strict=True))):
        if x1 > x0 and y1 > y0:
            thick = min(width, max(1, min(x1 - x0, y1 - y0) // 6))
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=color, width=thick)
    if labels:
        _draw_labels(pen, image.size, rectangles, colors, labels)
    return image


def label_font(size: tuple[int, int]) -> Font:
    """The letters of labels on a picture of ``size`` in pixels."""
    return font(min(28, max(11, round(min(size) / 36))))


def labels_fit(chips: Sequence[tuple[int, int]], widths: Sequence[int], canvas: tuple[int, int]) -> bool:
    """Whether chips (width, height) over boxes of these widths leave enough of a picture (width, height) to see.

    They do while they cover less than a tenth of it and, from nine boxes on, are not far wider than the boxes.
    """
    covered = sum(w * h for w, h in chips) / (canvas[0] * canvas[1])
    crowded = len(chips) > 8 and median(w for w, _ in chips) > 1.5 * median(widths)
    return len(chips) < 3 or (covered < 0.1 and not crowded)


def _on_canvas(boxes: Tensor, size: tuple[int, int]) -> list[Rectangle]:
    """Boxes rounded to whole pixels and cut off at the picture's border."""
    rounded = boxes.detach().cpu().double().round()
    rounded[:, 0::2] = rounded[:, 0::2].clamp(0, size[0])
    rounded[:, 1::2] = rounded[:, 1::2].clamp(0, size[1])
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in rounded.long().tolist()]


def _draw_labels(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    rectangles: Sequence[Rectangle],
    colors: Sequence[Color],
    labels: Sequence[str],
) -> None:
    face = label_font(size)
    pad = round(face.size / 4)
    texts = [fit(label, face, size[0] - 2 * pad) for label in labels]
    chips = [(math.ceil(face.getlength(text)) + 2 * pad, line_height(face) + 2) for text in texts]
    if not labels_fit(chips, [x1 - x0 for x0, _, x1, _ in rectangles], size):
        return
    taken: list[Rectangle] = []
    for rectangle, chip, color, text in zip(rectangles, chips, colors, texts, strict=True):
        if text and chip[0] <= size[0] and chip[1] <= size[1]:
            place = place_chip(rectangle, chip, size, taken)
            taken.append(place)
            x0, y0, x1, y1 = place
            pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=pad / 2, fill=color)
            pen.text((x0 + pad, (y0 + y1) / 2), text, fill=ink_on(color), font=face, anchor="lm")


def place_chip(box: Rectangle, chip: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Rectangle]) -> Rectangle:
    """Where a chip (width, height) goes: above its box, else below, else beside it, else inside at a corner.

    Of these places on the canvas (width, height) it is the first that covers the least of the chips already there.
    """
    (x0, y0, x1, y1), (w, h) = box, chip
    edge_x, edge_y = canvas[0] - w, canvas[1] - h
    left, right = min(x0, edge_x), max(0, x1 - w)
    inside = min(max(0, y0), edge_y)
    outside = [(x, y) for y in (y0 - h, y1) for x in (left, right)] + [(x, inside) for x in (x1, x0 - w)]
    corners = [(x, y) for y in (inside, max(0, y1 - h)) for x in (left, right)]
    places = [(x, y, x + w, y + h) for x, y in outside + corners if 0 <= x <= edge_x and 0 <= y <= edge_y]
    return min(places, key=lambda place: sum(_shared(place, other) for other in taken))


def _shared(a: Rectangle, b: Rectangle) -> int:
    """Pixels that two rectangles have in common."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
