"""Text on pictures: one font, cleaned and cut to the room there is."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont


@cache
def font(size: int) -> Font:
    """Pillow's own font, ``size`` pixels high."""
    face = ImageFont.load_default(size)
    assert isinstance(face, ImageFont.FreeTypeFont)  # Pillow's promise where a size is given
    return face


def line_height(face: Font) -> int:
    """Pixels from the top of the tallest letter to the bottom of the lowest."""
    return sum(face.getmetrics())


def clean(text: str, longest: int = 60) -> str:
    """One line of printable characters, at most ``longest``: names come from files and models."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def fit(text: str, face: Font, width: float) -> str:
    """``text`` cleaned and cut with an ellipsis so that it is at most ``width`` pixels wide; maybe empty."""
    text = clean(text)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""
