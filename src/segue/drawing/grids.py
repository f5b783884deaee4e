"""Small maps as the numbers that they hold."""

from __future__ import annotations

from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing.colors import mix
from segue.drawing.text import fit, font
from segue.errors import UsageError
from segue.structures.categories import Color

PAPER: Color = (255, 255, 255)
TINT: Color = (90, 150, 230)
LINE: Color = (170, 176, 186)
INK: Color = (40, 44, 52)
DEEPEST = 0.75
"""Share of the tint in the cell with the largest value."""


def draw_grid(values: Tensor, cell: int = 64) -> Image.Image:
    """A square for each value with the number in it, the deeper its tint the larger its magnitude; zeros are white.

    Args:
        values: (H, W), finite.
        cell: pixels a side.

    Raises:
        UsageError: not a plane, or nothing in it.
    """
    if values.ndim != 2 or not values.numel():
        raise UsageError(f"a grid of shape {tuple(values.shape)}", cure="pass (H, W) with at least one value")
    rows = values.detach().cpu().double()
    largest = float(rows.abs().max()) or 1.0
    whole = bool((rows == rows.round()).all())
    image = Image.new("RGB", (rows.shape[1] * cell + 1, rows.shape[0] * cell + 1), PAPER)
    pen, face = ImageDraw.Draw(image), font(max(9, round(cell * 0.32)))
    for y, row in enumerate(rows.tolist()):
        for x, value in enumerate(row):
            place = (x * cell, y * cell, (x + 1) * cell, (y + 1) * cell)
            pen.rectangle(place, fill=mix(PAPER, TINT, DEEPEST * abs(value) / largest), outline=LINE)
            text = f"{value:.0f}" if whole else f"{value:.2f}"
            middle = ((x + 0.5) * cell, (y + 0.5) * cell)
            pen.text(middle, fit(text, face, cell - 2), fill=INK, font=face, anchor="mm")
    return image
