"""The one word for a picture, in its corner."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from segue.drawing.boxes import label_font
from segue.drawing.colors import ink_on
from segue.drawing.text import fit, line_height
from segue.structures.categories import Color


def draw_label(image: Image.Image, text: str, color: Color) -> Image.Image:
    """The RGB picture with a text on a chip of this colour in its lower left corner, where there is room for it."""
    image = image.copy()
    face = label_font(image.size)
    pad = round(face.size / 4)
    text = fit(text, face, image.width - 2 * pad)
    width, height = math.ceil(face.getlength(text)) + 2 * pad, line_height(face) + 2
    if text and height <= image.height:
        pen, top = ImageDraw.Draw(image), image.height - height
        pen.rectangle((0, top, width - 1, image.height - 1), fill=color)
        pen.text((pad, top + height / 2), text, fill=ink_on(color), font=face, anchor="lm")
    return image
