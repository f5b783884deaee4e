"""Semantic maps as a tint with a legend, and confidence as a heat map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from segue.drawing.colors import mix
from segue.drawing.text import fit, font, line_height
from segue.errors import UsageError
from segue.structures import Categories
from segue.structures.categories import Color

PAPER, INK, FAINT = (250, 250, 250), (60, 64, 72), (150, 154, 162)
BAND = 2**20
"""So many pixels are painted at a time."""

FEWEST_ROWS = 4
"""A legend has room for so many classes, however low the picture is."""

HEAT: tuple[Color, ...] = ((30, 16, 70), (48, 52, 132), (24, 104, 154), (20, 157, 140), (104, 203, 94), (249, 229, 60))
"""Dark violet to light yellow in even steps of lightness, which gray prints and colour-blind eyes keep in order."""


def draw_semantic(
    image: Image.Image, labels: Tensor, categories: Categories, alpha: float = 0.55, outline: int | None = None
) -> Image.Image:
    """A copy of an RGB picture with every pixel tinted in its class's colour, and thin lines between classes.

    Args:
        image: of the size of the map.
        labels: (H, W) category indices; -1 leaves a pixel as it is.
        categories: with the colours.
        alpha: how much of the tint covers the picture, in [0, 1].
        outline: width in pixels of the lines; None takes one that suits the picture, 0 draws none.

    Raises:
        UsageError: sizes differ, or a label is outside the categories.
    """
    if tuple(labels.shape) != (image.height, image.width):
        what = f"a semantic map of {tuple(labels.shape)} over a picture of {(image.height, image.width)}"
        raise UsageError(what, cure="use its own")
    labels = _checked(labels, categories)
    outline = max(1, round(min(labels.shape) / 500)) if outline is None else outline
    plain = (0, 0, 0)  # what -1 takes from the end of the tables, and does not show
    tints = torch.tensor([*(category.color for category in categories), plain]).float()
    lines = torch.tensor([*(mix(category.color, (255, 255, 255), 0.4) for category in categories), plain]).float()
    pixels = torch.from_numpy(np.array(image.convert("RGB")))  # (H, W, 3)
    edges = borders(labels, outline)
    height = max(1, BAND // image.width)
    for top in range(0, image.height, height):  # the floats of a large picture would fill memory
        rows = slice(top, top + height)
        under, classes = pixels[rows].float(), labels[rows]
        painted = torch.where(edges[rows, :, None], lines[classes], under + alpha * (tints[classes] - under))
        pixels[rows] = torch.where((classes >= 0)[..., None], painted, under).round().byte()
    return Image.fromarray(pixels.numpy())


def borders(labels: Tensor, width: int = 1) -> Tensor:
    """(H, W) bool: lines ``width`` pixels wide where different labels (H, W) meet; none around the picture."""
    before, after = width // 2, width - width // 2
    padded = F.pad(labels[None, None].float(), (before, after, before, after), mode="replicate")
    highest, lowest = (sign * F.max_pool2d(sign * padded, width + 1, stride=1) for sign in (1, -1))
    return (highest != lowest)[0, 0]


@dataclass(frozen=True)
class Row:
    """A line of a legend: what a colour means, and its share of the picture. None is a swatch without colour."""

    color: Color | None
    name: str
    share: float

    @property
    def percent(self) -> str:
        """The share as people read it."""
        return "<0.1 %" if 0 < self.share < 0.0005 else f"{100 * self.share:.1f} %"


def add_legend(image: Image.Image, labels: Tensor, categories: Categories) -> Image.Image:
    """The picture with a panel at its right: colour, name and share of each class in it, the largest first.

    The panel is as high as the picture; what finds no room in it is summed up in the last line. Pictures with room for
    less than ``FEWEST_ROWS`` lines get paper below.

    Args:
        image: an RGB picture of any size.
        labels: (h, w) category indices, -1 where unlabelled.
        categories: with names and colours.

    Raises:
        UsageError: a label is outside the categories.
    """
    pad = max(12, min(30, round(min(image.size) / 26)))  # also the size of the letters
    face = font(pad)
    height = line_height(face) + round(pad / 3)
    rows = _shortened(legend(labels, categories), max(FEWEST_ROWS, (image.height - 2 * pad) // height))
    names = [fit(row.name, face, 12 * pad) for row in rows]
    start = round(2.6 * pad)  # of the names, right of the swatch
    end = start + math.ceil(max(face.getlength(name) for name in names) + face.getlength("  100.0 %"))
    size = (image.width + end + pad, max(image.height, 2 * pad + height * len(rows)))
    canvas = Image.new("RGB", size, PAPER)
    canvas.paste(image.convert("RGB"), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        x, y, half = image.width, pad + (i + 0.5) * height, 0.45 * pad
        swatch = (x + pad, y - half, x + pad + 2 * half, y + half)
        pen.rounded_rectangle(swatch, radius=half / 3, fill=row.color, outline=row.color or FAINT)
        pen.text((x + start, y), name, fill=INK, font=face, anchor="lm")
        pen.text((x + end, y), row.percent, fill=FAINT if row.color is None else INK, font=face, anchor="rm")
    return canvas


def legend(labels: Tensor, categories: Categories) -> list[Row]:
    """The classes that occur, the largest first, and what is unlabelled; raises `UsageError` as `add_legend`."""
    counts = torch.bincount(_checked(labels, categories).flatten() + 1, minlength=len(categories) + 1)
    unlabelled, *shares = (counts / labels.numel()).tolist()
    rows = [Row(category.color, category.name, share) for category, share in zip(categories, shares, strict=True)]
    rows.sort(key=lambda row: -row.share)
    return [row for row in [*rows, Row(None, "unlabelled", unlabelled)] if row.share > 0]


def draw_confidence(confidence: Tensor) -> Image.Image:
    """An RGB picture of confidence (H, W) in [0, 1]: from dark violet at 0, as for NaN, to light yellow at 1.

    Raises:
        UsageError: not a plane.
    """
    if confidence.ndim != 2:
        raise UsageError(f"confidence of shape {tuple(confidence.shape)}", cure="pass (H, W)")
    levels = (confidence.detach().cpu().float().nan_to_num(0.0).clamp(0, 1) * 255).round().long()
    return Image.fromarray(heat_table()[levels].numpy())


def heat_table() -> Tensor:
    """(256, 3) uint8 colours from ``HEAT``, with straight lines between."""
    anchors = np.array(HEAT)
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return torch.from_numpy(np.stack(channels, axis=1).round().astype(np.uint8))


def _shortened(rows: list[Row], room: int) -> list[Row]:
    """At most ``room`` rows, the last of which sums up what is left out."""
    if len(rows) <= room:
        return rows
    kept, rest = rows[: room - 1], rows[room - 1 :]
    return [*kept, Row(None, f"{len(rest)} more", sum(row.share for row in rest))]


def _checked(labels: Tensor, categories: Categories) -> Tensor:
    """Labels as int64 on the CPU."""
    labels = labels.detach().cpu().long()
    low, high = (int(bound) for bound in labels.aminmax())
    if low < -1 or high >= len(categories):
        raise UsageError(f"labels from {low} to {high} for {len(categories)} classes", cure="use the map's own classes")
    return labels
