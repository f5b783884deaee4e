"""A small line chart, for training curves in model cards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from segue.drawing.text import Font, fit, font, line_height
from segue.structures.categories import Color

PALETTE: tuple[Color, ...] = (
    *((31, 99, 190), (222, 95, 33), (32, 145, 90), (160, 65, 170), (190, 150, 20)),
    *((20, 150, 170), (205, 50, 85), (110, 110, 118)),
)
PAPER, GRID, INK = (255, 255, 255), (228, 230, 234), (60, 64, 72)
SMOOTH = 3  # drawn so many times larger, then shrunk: lines without stairs


@dataclass(frozen=True)
class Axis:
    """One axis: data from ``low`` to ``high`` over the pixels from ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def plot_curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    size: tuple[int, int] = (800, 450),
) -> Image.Image:
    """A line chart.

    Args:
        series: points (x, y) of each line in their order, by its name in the legend. A point that is not finite
            breaks the line; a line of one point is a dot.
        title: above the chart.
        x_label: below the x axis.
        y_label: above the y axis.
        size: (width, height) in pixels.
    """
    width, height = size[0] * SMOOTH, size[1] * SMOOTH
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    margin, row = 20 * SMOOTH, line_height(_face()) + 4 * SMOOTH
    top = _draw_title(pen, title, margin, width - 2 * margin)
    top = _draw_legend(pen, list(series), margin, top, width - margin) + row // 2
    pen.text((margin, top), fit(y_label, _face(), width - 2 * margin), fill=INK, font=_face())
    top += row + row // 4 if y_label else 0
    points = [point for curve in series.values() for run in unbroken(curve) for point in run]
    xs, ys = ticks([x for x, _ in points]), ticks([y for _, y in points])
    left = margin + max(_face().getlength(f"{value:g}") for value in ys) + 8 * SMOOTH
    bottom = height - margin // 2 - row * (2 if x_label else 1)
    across, up = Axis(xs[0], xs[-1], left, width - margin), Axis(ys[0], ys[-1], bottom, top)
    _draw_grid(pen, across, up, xs, ys)
    middle = (across.start + across.stop) / 2
    pen.text((middle, bottom + row), fit(x_label, _face(), width), fill=INK, font=_face(), anchor="ma")
    if not points:
        pen.text((middle, (up.start + up.stop) / 2), "no data yet", fill=INK, font=_face(), anchor="mm")
    for i, curve in enumerate(series.values()):
        for run in unbroken(curve):
            _draw_run(pen, [(across(x), up(y)) for x, y in run], PALETTE[i % len(PALETTE)])
    return image.resize(size, Image.Resampling.LANCZOS)


def ticks(values: Sequence[float], most: int = 6) -> list[float]:
    """Two to ``most`` + 2 round numbers (steps of 1, 2 or 5 times a power of ten) that enclose all values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def unbroken(curve: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The parts of a curve between points that are not finite."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in curve:
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x, y))
        else:
            runs.append([])
    return [run for run in runs if run]


def _face() -> Font:
    return font(13 * SMOOTH)


def _draw_title(pen: ImageDraw.ImageDraw, title: str, margin: int, room: int) -> int:
    """The title at the top left; gives the y below it."""
    face = font(18 * SMOOTH)
    pen.text((margin, margin * 0.7), fit(title, face, room), fill=INK, font=face)
    return round(margin * 0.7 + (line_height(face) + 6 * SMOOTH if title else 0))


def _draw_legend(pen: ImageDraw.ImageDraw, names: Sequence[str], left: int, top: int, right: int) -> int:
    """Name after name with a piece of its line, in as many rows as it takes; gives the y below them."""
    face, dash, gap = _face(), 22 * SMOOTH, 6 * SMOOTH
    row = line_height(face) + 4 * SMOOTH
    x, y = left, top
    for i, name in enumerate(names):
        text = fit(name, face, right - left - dash - gap)
        wide = dash + gap + math.ceil(face.getlength(text))
        if x > left and x + wide > right:
            x, y = left, y + row
        middle = y + line_height(face) // 2
        pen.line((x, middle, x + dash, middle), fill=PALETTE[i % len(PALETTE)], width=3 * SMOOTH)
        pen.text((x + dash + gap, y), text, fill=INK, font=face)
        x += wide + 3 * gap
    return y + row if names else top


def _draw_grid(pen: ImageDraw.ImageDraw, across: Axis, up: Axis, xs: Sequence[float], ys: Sequence[float]) -> None:
    for value in ys:
        y = up(value)
        pen.line((across.start, y, across.stop, y), fill=GRID, width=SMOOTH)
        pen.text((across.start - 8 * SMOOTH, y), f"{value:g}", fill=INK, font=_face(), anchor="rm")
    for value in xs:
        x = across(value)
        pen.line((x, up.start, x, up.start + 4 * SMOOTH), fill=INK, width=SMOOTH)
        pen.text((x, up.start + 6 * SMOOTH), f"{value:g}", fill=INK, font=_face(), anchor="ma")
    pen.line((across.start, up.start, across.stop, up.start), fill=INK, width=SMOOTH)


def _draw_run(pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], color: Color) -> None:
    if len(points) == 1:
        pen.circle(points[0], 3 * SMOOTH, fill=color)
    else:
        pen.line(points, fill=color, width=2 * SMOOTH, joint="curve")
