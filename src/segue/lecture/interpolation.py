"""Bilinear and bicubic interpolation."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from segue.data.images import to_pil
from segue.drawing import contact_sheet, plot_curves
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import SQUARE, STREET, pixels
from segue.ops import interpolation_matrix, resize, resize_by_formula
from segue.ops.upsample import KERNELS, Interpolation

BILINEAR = torch.tensor(
    [[1.0, 1.25, 1.75, 2.0], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3.0, 3.25, 3.75, 4.0]]
)
BICUBIC = torch.tensor(
    [[0.68, 1.02, 1.56, 1.89], [1.35, 1.68, 2.23, 2.56], [2.44, 2.77, 3.32, 3.65], [3.11, 3.44, 3.98, 4.32]]
)
SHOWN = (slice(None), slice(100, 148), slice(150, 198))
"""A part of the picture with a bottle in it, 48 pixels a side."""


def bilinear() -> Page:
    """The page."""
    values = resize(SQUARE[None], (4, 4), "bilinear")[0]
    by_formula = resize_by_formula(SQUARE[None], (4, 4), "bilinear")[0]
    sheet = contact_sheet([draw_grid(SQUARE), draw_grid(values)], 2, ["input, 2x2", "bilinear, 4x4"])
    return Page(
        title="Upsampling: bilinear interpolation",
        question="How can the values between be filled in?",
        answer="Look where the centre of the new pixel lies among the old ones and mix the two nearest on each axis, "
        "the nearer the more. The slide's sum with its two triangles, max(0, 1 - |x - i|), is `resize_by_formula`, "
        "written as one matrix for the rows and one for the columns; the library's own function gives the same.",
        figures=(
            Figure(sheet, "The slide's input and output."),
            Figure(kernels(), "How much a pixel adds to a place that lies so far away: the kernels of all three."),
        ),
        numbers=(
            Number("bilinear", values, BILINEAR),
            Number("largest difference between library and formula", float((values - by_formula).abs().max())),
            Number("what the four outputs of an axis take from the two inputs", interpolation_matrix(2, 4, "bilinear")),
        ),
        module="segue.ops.upsample",
        test="tests/ops/test_upsample.py::test_interpolation_of_the_slide_to_the_printed_digits",
        try_it=command("bilinear", "Each new pixel now lies at a third: ask for 6 x 6 or 5 x 3 and read the steps."),
    )


def bicubic() -> Page:
    """The page."""
    values = resize(SQUARE[None], (4, 4), "bicubic")[0]
    sheet = contact_sheet([draw_grid(SQUARE), draw_grid(values)], 2, ["input, 2x2", "bicubic, 4x4"])
    return Page(
        title="Upsampling: bicubic interpolation",
        question="Can the steps between pixels be smoother?",
        answer="Fit cubic pieces instead of lines: each output reads four pixels on an axis, of which the outer two "
        "count negative. So it overshoots: of values from 1 to 4 come values below 1 and above 4. The slides' digits "
        "follow with Keys' kernel at a = -0.75, which PyTorch and OpenCV use, and with the edge repeated outside.",
        figures=(
            Figure(sheet, "The slide's input and output."),
            Figure(photo(), "A part of a Toybox picture, a fourth as fine, and brought back in three ways."),
        ),
        numbers=(
            Number("bicubic", values, BICUBIC),
            Number("smallest value, of inputs from 1", float(values.min()), 0.68),
            Number("largest value, of inputs to 4", float(values.max()), 4.32),
        ),
        module="segue.ops.upsample",
        test="tests/ops/test_upsample.py::test_interpolation_of_the_slide_to_the_printed_digits",
        try_it=command("bicubic", "Change bicubic to bilinear or nearest: nothing is below 1 or above 4 any more."),
    )


def command(kind: Interpolation, see: str) -> TryIt:
    """Resizes the slides' input."""
    code = "import torch; from segue.ops import resize; print(resize(torch.tensor([[[1.0, 2], [3, 4]]]), (6, 6), '{}'))"
    return TryIt(f'python -c "{code.format(kind)}"', see)


def kernels() -> Image.Image:
    """Curves of the three kernels."""
    at = torch.linspace(-2.2, 2.2, 177, dtype=torch.float64)
    curves = {str(kind): list(zip(at.tolist(), kernel(at).tolist(), strict=True)) for kind, kernel in KERNELS.items()}
    return plot_curves(curves, x_label="pixels away", size=(640, 320))


def photo() -> Image.Image:
    """A detail made four times coarser, and the three ways back."""
    detail = pixels(STREET)[SHOWN].float()
    small = detail.unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4))
    kinds: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")
    ways: list[Tensor] = [detail, *(resize(small, (48, 48), kind) for kind in kinds)]
    shown = [resize(way.clamp(0, 255), (240, 240), "nearest").round().byte() for way in ways]
    return contact_sheet([to_pil(way) for way in shown], 4, ["as it was, 48x48", *(f"12x12, {k}" for k in kinds)])
