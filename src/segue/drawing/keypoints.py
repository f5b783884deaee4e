"""Skeletons: bones and joints, left and right told apart by colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from segue.errors import UsageError
from segue.structures import Category
from segue.structures.categories import Color

LEFT: Color = (255, 138, 31)
RIGHT: Color = (38, 154, 255)
MIDDLE: Color = (190, 222, 74)
CASING = (18, 20, 26)
PAPER = (255, 255, 255, 255)
CLEAR = (0, 0, 0, 0)
MOST_PIXELS = 1_000_000
"""Layers below this size are drawn twice as fine as those up to four times as large, to smooth their edges."""


def draw_keypoints(image: Image.Image, points: Tensor, hollow: Tensor, categories: Sequence[Category]) -> Image.Image:
    """A copy of an RGB picture with the skeletons of N objects over it, the first on top.

    Bones and joints of the left side are orange, of the right side blue, others green; the side is in the keypoint's
    name. Lines are as thick as suits the picture, less on small objects.

    Args:
        image: the picture.
        points: (N, K, 3) x, y in pixels, and a number above 0 for the points that are shown.
        hollow: (N, K) bool, points shown as rings (occluded ones), and their bones faint.
        categories: that of each object; its keypoints may be fewer than K.

    Raises:
        UsageError: the numbers differ.
    """
    if len(categories) != len(points) or hollow.shape != points.shape[:2]:
        raise UsageError(f"{len(points)} objects need as many categories and flags", cure="pass one each")
    image = image.convert("RGB")
    for own, rings, category in reversed(list(zip(points, hollow, categories, strict=True))):
        count = len(category.keypoints)
        shown = own[:count, 2] > 0
        if bool(shown.any()):
            _draw_object(image, own[:count], shown, rings[:count], category)
    return image


def side_color(*names: str) -> Color:
    """The colour of a keypoint, or of a bone between two."""
    sides = {side for name in names for side in ("left", "right") if side in name.lower()}
    return MIDDLE if len(sides) != 1 else LEFT if sides == {"left"} else RIGHT


def line_width(size: tuple[int, int], extent: float) -> float:
    """Pixels across a bone in a picture of ``size``, of an object whose points reach over ``extent`` pixels."""
    return min(max(1.2, min(size) / 170), max(1.0, extent / 32))


def _draw_object(image: Image.Image, points: Tensor, shown: Tensor, hollow: Tensor, category: Category) -> None:
    xy = points[:, :2].double()
    low, high = xy[shown].amin(0), xy[shown].amax(0)
    width = line_width(image.size, float((high - low).max()))
    x0, y0 = (max(0, math.floor(v - 4 * width)) for v in low.tolist())
    x1, y1 = (min(math.ceil(v + 4 * width), side) for v, side in zip(high.tolist(), image.size, strict=True))
    if x1 <= x0 or y1 <= y0:
        return
    w, h = x1 - x0, y1 - y0
    fine = 4 if w * h < MOST_PIXELS else 2 if w * h < 4 * MOST_PIXELS else 1
    layer = Image.new("RGBA", (w * fine, h * fine), CLEAR)
    places = ((xy - torch.tensor([x0, y0])) * fine).tolist()
    _draw_bones(layer, places, shown.tolist(), hollow.tolist(), category, width * fine)
    _draw_joints(layer, places, shown.tolist(), hollow.tolist(), category, width * fine)
    smooth = layer.resize((w, h), Image.Resampling.BOX)
    image.paste(smooth, (x0, y0), smooth)


def _draw_bones(
    layer: Image.Image,
    places: Sequence[Sequence[float]],
    shown: Sequence[bool],
    hollow: Sequence[bool],
    category: Category,
    width: float,
) -> None:
    pen = ImageDraw.Draw(layer)
    bones = [(a, b) for a, b in category.skeleton if shown[a] and shown[b]]
    for faint in (True, False):
        chosen = [(a, b) for a, b in bones if (hollow[a] or hollow[b]) == faint]
        alpha = 130 if faint else 235
        for grown, dark in ((1.7, True), (1.0, False)):  # all casings lie below all bones
            for a, b in chosen:
                color = CASING if dark else side_color(category.keypoints[a], category.keypoints[b])
                ends = (*places[a], *places[b])
                pen.line(ends, fill=(*color, alpha), width=max(1, round(width * grown)))


def _draw_joints(
    layer: Image.Image,
    places: Sequence[Sequence[float]],
    shown: Sequence[bool],
    hollow: Sequence[bool],
    category: Category,
    width: float,
) -> None:
    pen = ImageDraw.Draw(layer)
    for (x, y), visible, ring, name in zip(places, shown, hollow, category.keypoints, strict=True):
        if not visible:
            continue
        color = (*side_color(name), 255)
        discs = [(1.75, (*CASING, 255)), (1.45, color), (0.85, CLEAR)] if ring else [(1.75, PAPER), (1.4, color)]
        for grown, fill in discs:
            radius = width * grown
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
