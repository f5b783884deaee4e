"""Sentences beside a picture, each with a line to its box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing.text import Font, clean, fit, font, line_height
from segue.errors import UsageError
from segue.structures.categories import Color

PAPER: Color = (255, 255, 255)
INK: Color = (40, 44, 52)
FAINT: Color = (130, 136, 146)
CASING = (16, 18, 26, 80)

COLUMN = 20
"""Width of the text in sizes of its letters."""
MOST_LINES = 4
"""Longer sentences are cut."""
LEAST_ROOM = 30
"""Lines that have room beside a picture, however low it is: paper is added below."""


@dataclass(frozen=True)
class Note:
    """A sentence in lines, and where its line begins: at the right edge of its box, in the middle."""

    lines: list[str]
    color: Color
    start: tuple[float, float]


def draw_captions(image: Image.Image, boxes: Tensor, sentences: Sequence[str], colors: Sequence[Color]) -> Image.Image:
    """The picture with a column of sentences at its right, as near to their boxes as they can be without overlap.

    The lines to them run level through the picture and do not cross. Of a text of several lines the first is shown.
    When there is no room for all, the first sentences are shown and the others counted. Without any sentence nothing
    changes.

    Args:
        image: an RGB picture of any size.
        boxes: (N, 4) xyxy in pixels; they are not drawn.
        sentences: N texts; an empty one is left out.
        colors: N RGB colours.

    Raises:
        UsageError: the numbers differ.
    """
    if not len(boxes) == len(sentences) == len(colors):
        raise UsageError(f"{len(boxes)} boxes need as many sentences and colours", cure="pass one each")
    face = font(min(28, max(13, round(min(image.size) / 32))))
    notes = _notes(image.size, boxes, sentences, colors, face)
    return _with_column(image, notes, face) if notes else image


def _with_column(image: Image.Image, notes: Sequence[Note], face: Font) -> Image.Image:
    line, gap = line_height(face), round(face.size / 2)
    shown = _fitting(notes, line, gap, max(image.height, LEAST_ROOM * line) - line - 2 * gap)
    rest = f"and {len(notes) - len(shown)} more" if len(shown) < len(notes) else ""
    shown.sort(key=lambda note: note.start[1])
    heights = [len(note.lines) * line + gap for note in shown]
    foot = line if rest else 0
    height = max(image.height, sum(heights) + gap + foot)
    wanted = [note.start[1] - (tall + gap) / 2 for note, tall in zip(shown, heights, strict=True)]
    tops = settle(wanted, heights, height - gap - foot)
    left = image.width + 5 * gap  # of the text
    widest = max(face.getlength(text) for text in [rest, *(text for note in shown for text in note.lines)])
    canvas = Image.new("RGB", (left + math.ceil(widest) + 2 * gap, height), PAPER)
    canvas.paste(image.convert("RGB"), (0, 0))
    for note, top in zip(shown, tops, strict=True):
        _draw_line(canvas, note, image.width, (left - gap, top + gap + len(note.lines) * line / 2))
        _draw_note(canvas, note, (left, top + gap), face)
    ImageDraw.Draw(canvas).text((left, height - foot - gap / 2), rest, fill=FAINT, font=face)
    return canvas


def settle(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Tops of notes below each other that are the nearest to ``wanted`` (in squares), inside ``room`` if they fit.

    Without the heights of those before it, each top must be no smaller than the last: isotonic regression, by pooling
    adjacent violators.

    Args:
        wanted: N tops.
        heights: N, above 0.
        room: from 0 to here.
    """
    before = [0.0, *accumulate(heights)]
    pools: list[tuple[float, int]] = []  # mean and number
    for top, offset in zip(wanted, before, strict=False):
        pools.append((top - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    free = max(0.0, room - before[-1])
    levels = [min(max(mean, 0.0), free) for mean, number in pools for _ in range(number)]
    return [level + offset for level, offset in zip(levels, before, strict=False)]


def wrap(text: str, face: Font, width: float, most: int = MOST_LINES) -> list[str]:
    """A text in up to ``most`` lines of at most ``width`` pixels; an ellipsis stands for what has no room."""
    words, lines = clean(text, 400).split(), list[str]()
    while words:
        fits = (n for n in range(len(words), 0, -1) if face.getlength(" ".join(words[:n])) <= width)
        taken = len(words) if len(lines) == most - 1 else next(fits, 1)
        row = " ".join(words[:taken])
        lines.append(row if face.getlength(row) <= width else fit(row, face, width))
        words = words[taken:]
    return lines


def _notes(
    size: tuple[int, int], boxes: Tensor, sentences: Sequence[str], colors: Sequence[Color], face: Font
) -> list[Note]:
    """What there is to show, for a picture of ``size`` (width, height)."""
    edges = boxes.detach().cpu().double()
    x = edges[:, 2].clamp(0, size[0] - 1)
    y = (edges[:, 1::2].clamp(0, size[1] - 1)).mean(dim=1)
    first = [next((line for line in text.splitlines() if line.strip()), "") for text in sentences]
    lines = [wrap(text, face, COLUMN * face.size) for text in first]
    starts = zip(x.tolist(), y.tolist(), strict=True)
    return [Note(*note) for note in zip(lines, colors, starts, strict=True) if note[0]]


def _fitting(notes: Sequence[Note], line: int, gap: int, room: float) -> list[Note]:
    """The first notes, as many as have room."""
    ends = accumulate(len(note.lines) * line + gap for note in notes)
    return [note for note, end in zip(notes, ends, strict=True) if end <= room]


def _draw_line(canvas: Image.Image, note: Note, edge: int, end: tuple[float, float]) -> None:
    """Level from the box to the picture's ``edge``, then straight to the sentence."""
    pen, (x, y) = ImageDraw.Draw(canvas, "RGBA"), note.start
    width = max(1, round(math.sqrt(canvas.height) / 20))
    pen.line((x, y, edge, y), fill=CASING, width=width + 2)
    pen.line((x, y, edge, y), fill=(*note.color, 200), width=width)
    pen.line((edge, y, *end), fill=(*note.color, 255), width=width)
    dot = width + 2
    pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=(*note.color, 255), outline=CASING)


def _draw_note(canvas: Image.Image, note: Note, place: tuple[float, float], face: Font) -> None:
    """The text with a bar of its colour at its left."""
    pen, (x, y), line = ImageDraw.Draw(canvas), place, line_height(face)
    gap, bar = round(face.size / 2), max(2, round(face.size / 6))
    pen.rectangle((x - gap, y, x - gap + bar, y + len(note.lines) * line - 1), fill=note.color)
    for i, text in enumerate(note.lines):
        pen.text((x, y + i * line), text, fill=INK, font=face)
