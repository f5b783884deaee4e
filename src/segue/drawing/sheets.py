"""Several pictures in one."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from segue.drawing.text import fit, font, line_height
from segue.errors import UsageError

PAPER = (250, 250, 250)
INK = (60, 64, 72)
GAP = 12
WIDEST = 2400
"""Pictures shrink where a sheet would be wider than this many pixels."""


def contact_sheet(images: Sequence[Image.Image], columns: int = 4, titles: Sequence[str] | None = None) -> Image.Image:
    """Pictures row by row on light paper, with a title above each.

    Args:
        images: at least one, of any sizes.
        columns: how many beside each other; fewer where there are fewer pictures.
        titles: one each, cut to the picture's width.

    Raises:
        UsageError: no picture, no column, or another number of titles.
    """
    if not images or columns < 1:
        raise UsageError("a contact sheet needs a picture and a column", cure="pass at least one of each")
    if titles is not None and len(titles) != len(images):
        raise UsageError(f"{len(titles)} titles for {len(images)} pictures", cure="pass one each")
    columns = min(columns, len(images))
    cells = _shrunk(images, (WIDEST - GAP) // columns - GAP)
    face = font(max(12, min(24, max(cell.width for cell in cells) // 28)))
    head = line_height(face) + 4 if titles else 0
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    widths = [max(cell.width for cell in cells[i::columns]) for i in range(columns)]
    heights = [head + max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths) + GAP * (columns + 1), sum(heights) + GAP * (len(rows) + 1)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        x, y = GAP + sum(widths[:column]) + GAP * column, GAP + sum(heights[:row]) + GAP * row
        sheet.paste(cell, (x, y + head))
        if titles:
            pen.text((x, y), fit(titles[i], face, widths[column]), fill=INK, font=face)
    return sheet


def side_by_side(left: Image.Image, right: Image.Image, titles: tuple[str, str] | None = None) -> Image.Image:
    """Two pictures beside each other, such as target and prediction."""
    return contact_sheet([left, right], columns=2, titles=titles)


def _shrunk(images: Sequence[Image.Image], widest: int) -> list[Image.Image]:
    """RGB copies, all at one scale at which none is wider than ``widest``."""
    scale = min(1.0, widest / max(image.width for image in images))
    sizes = [(max(1, round(image.width * scale)), max(1, round(image.height * scale))) for image in images]
    return [
        image.convert("RGB") if image.size == size else image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for image, size in zip(images, sizes, strict=True)
    ]
