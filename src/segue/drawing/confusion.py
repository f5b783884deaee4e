"""A confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing.colors import ink_on
from segue.drawing.text import Font, fit, font, line_height
from segue.errors import UsageError
from segue.structures.categories import Color

PAPER, INK = (255, 255, 255), (60, 64, 72)
NONE: Color = (246, 247, 249)
UNKNOWN: Color = (218, 220, 226)
RIGHT: Color = (20, 92, 160)
WRONG: Color = (204, 70, 20)
WITH_NUMBERS = 32
"""Cells of larger matrices have no numbers."""
WITH_NAMES = 200
"""Rows and columns of larger matrices have no names."""


def plot_confusion(counts: Tensor, names: Sequence[str]) -> Image.Image:
    """A row for each true class, and in each cell the per cent of the row's pixels that were predicted as the column's.

    What is right is blue, mistakes are orange, both the darker the more. Rows without pixels stay gray. Numbers below
    one half per cent are left out.

    Args:
        counts: (K, K) or (K, K + 1) pixels, true by predicted class; the last of K + 1 columns, which is "no class",
            is left out where it is empty.
        names: K, shortened to the room there is.

    Raises:
        UsageError: other shapes, or no class.
    """
    k = len(names)
    if not k or tuple(counts.shape) not in ((k, k), (k, k + 1)):
        raise UsageError(f"confusion counts of shape {tuple(counts.shape)} for {k} names", cure="pass (K, K)")
    columns = [*names, "no class"] if counts[:, k:].any() else [*names]
    shares = _shares(counts, len(columns))
    cell = cell_size(k)
    size = max(10, min(16, cell - 2))  # of the letters
    face, gap = font(size), size // 2
    texts = [fit(name, face, 13 * size) if k <= WITH_NAMES else "" for name in columns]
    title = line_height(face) + 2 * gap
    start = title + math.ceil(max(face.getlength(text) for text in texts)) + gap  # of the cells, at left and top
    room = start - gap - title
    image = Image.new("RGB", (start + cell * len(columns) + title, start + cell * k + title), PAPER)
    image.paste(_cells(shares, cell), (start, start))
    image.paste(_names(texts[:k], room, cell, face, "rm"), (title, start))
    image.paste(_names(texts, room, cell, face, "lm").rotate(90, expand=True), (start, title))
    image.paste(_names(["predicted as"], cell * len(columns), title, face, "lm"), (start, 0))
    image.paste(_names(["truth"], cell * k, title, face, "rm").rotate(90, expand=True), (0, start))
    if k <= WITH_NUMBERS:
        _write_numbers(image, shares, start, cell)
    return image


def cell_size(classes: int) -> int:
    """Pixels of a cell's side: some 700 for the matrix, as far as numbers and names allow."""
    least = 34 if classes <= WITH_NUMBERS else 13 if classes <= WITH_NAMES else 1
    return max(least, min(80, 700 // classes))


def _shares(counts: Tensor, columns: int) -> NDArray[np.float64]:
    """(K, columns) share of each row's total; NaN where that is 0."""
    counts = counts.detach().cpu().double()
    shares: NDArray[np.float64] = (counts / counts.sum(1, keepdim=True))[:, :columns].numpy()
    return shares


def _cells(shares: NDArray[np.float64], cell: int) -> Image.Image:
    """The coloured cells, with lines of paper between where there is room."""
    pixels = cell_colors(shares).repeat(cell, 0).repeat(cell, 1)
    if cell > 8:
        pixels[cell - 1 :: cell] = pixels[:, cell - 1 :: cell] = PAPER
    return Image.fromarray(pixels)


def cell_colors(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(K, columns, 3) colour of each cell. The colour grows with the root of a mistake: small ones must be seen."""
    right = np.eye(*shares.shape, dtype=np.bool_)
    strength = np.where(right, shares, np.sqrt(shares))[..., None]
    ink = np.where(right[..., None], RIGHT, WRONG)
    colors = NONE + strength * (ink - NONE)
    return np.where(np.isnan(strength), UNKNOWN, colors).round().astype(np.uint8)


def _names(texts: Sequence[str], width: int, height: int, face: Font, anchor: Literal["lm", "rm"]) -> Image.Image:
    """Texts below each other, ``height`` pixels each, at the left or right of a strip."""
    strip = Image.new("RGB", (max(1, width), height * len(texts)), PAPER)
    pen = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        pen.text((0 if anchor == "lm" else width, (i + 0.5) * height), text, fill=INK, font=face, anchor=anchor)
    return strip


def _write_numbers(image: Image.Image, shares: NDArray[np.float64], start: int, cell: int) -> None:
    """Per cent in the cells, from one half on."""
    pen, face, colors = ImageDraw.Draw(image), font(max(12, min(20, round(cell * 0.36)))), cell_colors(shares)
    for row, column in np.argwhere(shares >= 0.005).tolist():
        place = (start + (column + 0.5) * cell - 0.5, start + (row + 0.5) * cell - 0.5)
        r, g, b = colors[row, column].tolist()
        pen.text(place, f"{100 * shares[row, column]:.0f}", fill=ink_on((r, g, b)), font=face, anchor="mm")
