"""RoIPool rounds, RoIAlign does not."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing import contact_sheet, plot_curves
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.ops import roi_align
from segue.ops.roi_pool import roi_pool

STRIDE, OUTPUT = 16, 2
BOX = torch.tensor([[44.0, 28, 108, 92]])
"""No corner is on a border between pixels of the map."""
SCALE = 5


def roi_pooling() -> Page:
    """The page."""
    columns = torch.arange(10.0).expand(1, 1, 8, 10)
    owner = torch.zeros(1, dtype=torch.int64)
    shifts = range(0, 33)
    curves: dict[str, list[tuple[float, float]]] = {"the box": [], "RoIPool": [], "RoIAlign": []}
    for shift in shifts:
        moved = BOX + torch.tensor([shift, 0, shift, 0])
        middle = (moved[0, 0] + moved[0, 2]).item() / 2
        pool, align = both(columns, moved, owner)
        curves["RoIPool"].append((shift, in_pixels(pool)))
        curves["RoIAlign"].append((shift, in_pixels(align)))
        curves["the box"].append((shift, middle))
    errors = {
        name: max(abs(at - middle) for (_, at), (_, middle) in zip(curves[name], curves["the box"], strict=True))
        for name in ("RoIPool", "RoIAlign")
    }
    pool, align = both(columns, BOX, owner)
    return Page(
        title="RoIPool and RoIAlign",
        question="How are the features of a region cropped, when its corners lie between the pixels of the map?",
        answer="RoIPool (Fast R-CNN) rounds the corners and the bins to whole pixels of the map and takes maxima. "
        "RoIAlign (Mask R-CNN) rounds nothing: it reads bilinear samples at regular places of each bin and averages "
        "them. To see the difference, each pixel of the map below holds its own column, so that what comes out says "
        "where it was read; of RoIPool, the middle of its extremes. When the box glides to the right, RoIAlign follows "
        "and RoIPool jumps.",
        figures=(
            Figure(
                on_the_map(),
                "A box over a map of stride 16 with the samples of RoIAlign; in orange the pixels that RoIPool reads.",
            ),
            Figure(
                plot_curves(
                    curves, x_label="the box is moved so many pixels", y_label="read at, in pixels of the picture"
                ),
                "Where the bins of a gliding box are read; RoIAlign's line covers that of the middle of the box.",
            ),
            Figure(
                contact_sheet([draw_grid(pool[0, 0]), draw_grid(align[0, 0])], 2, ["RoIPool", "RoIAlign"]),
                "The columns of the map that the four bins say they read.",
            ),
        ),
        numbers=(
            Number("columns that RoIPool reads, left and right", pool[0, 0, 0]),
            Number("columns that RoIAlign reads", align[0, 0, 0]),
            Number("columns of the middles of the bins", middles()),
            Number("places of 33 that RoIPool tells apart", len({round(at, 3) for _, at in curves["RoIPool"]})),
            Number("places of 33 that RoIAlign tells apart", len({round(at, 3) for _, at in curves["RoIAlign"]})),
            Number("largest error of RoIPool in pixels of the picture", errors["RoIPool"]),
            Number("largest error of RoIAlign", errors["RoIAlign"]),
        ),
        module="segue.ops.roi_align",
        test="tests/ops/test_roi_pool.py::"
        "test_a_box_that_moves_by_less_than_a_pixel_of_the_map_gives_the_same_unlike_with_roi_align",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import roi_align; '
            "print(roi_align(torch.arange(10.0).expand(1, 1, 8, 10), torch.tensor([[44.0, 28, 108, 92]]), "
            'torch.tensor([0]), 2, 1 / 16, 2, aligned=False))"',
            "aligned=False is the older RoIAlign, which takes pixel centres for whole numbers: it reads half a pixel "
            "of the map further to the right.",
        ),
    )


def both(features: Tensor, boxes: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Where the two read, on a map that holds its own columns: of RoIPool, the middle of its extremes."""
    most, least = (sign * roi_pool(sign * features, boxes, owner, OUTPUT, 1 / STRIDE) for sign in (1, -1))
    return (most + least) / 2, roi_align(features, boxes, owner, OUTPUT, 1 / STRIDE, 2, aligned=True)


def in_pixels(columns: Tensor) -> float:
    """The mean of columns of the map as a place in the picture: column 0 has its centre at half a stride."""
    return float((columns.mean() + 0.5) * STRIDE)


def middles() -> Tensor:
    """Columns of the map in the middles of the bins of `BOX`."""
    x0, x1 = BOX[0, 0].item(), BOX[0, 2].item()
    bins = (torch.arange(OUTPUT) + 0.5) / OUTPUT
    return (x0 + bins * (x1 - x0)) / STRIDE - 0.5


def on_the_map() -> Image.Image:
    """The grid of the map with the box, and the pixels that RoIPool takes."""
    image = Image.new("RGB", (160 * SCALE, 128 * SCALE), (250, 250, 250))
    pen = ImageDraw.Draw(image)
    first, last = (BOX[0] / STRIDE).round()[:2].int().tolist(), (BOX[0] / STRIDE).round()[2:].int().tolist()
    cell = STRIDE * SCALE
    taken = (first[0] * cell, first[1] * cell, (last[0] + 1) * cell, (last[1] + 1) * cell)
    pen.rectangle(taken, fill=(255, 220, 200))
    for at in range(0, 160 * SCALE, cell):
        pen.line((at, 0, at, image.height), fill=(190, 196, 206), width=2)
        pen.line((0, at, image.width, at), fill=(190, 196, 206), width=2)
    pen.rectangle(taken, outline=(222, 95, 33), width=4)
    x0, y0, x1, y1 = (v * SCALE for v in BOX[0].tolist())
    pen.rectangle((x0, y0, x1, y1), outline=(31, 99, 190), width=5)
    for i in range(2 * OUTPUT):
        for j in range(2 * OUTPUT):
            x, y = x0 + (j + 0.5) * (x1 - x0) / (2 * OUTPUT), y0 + (i + 0.5) * (y1 - y0) / (2 * OUTPUT)
            pen.circle((x, y), 7, fill=(31, 99, 190))
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
