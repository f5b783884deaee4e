"""The two problems of convolutions at full resolution."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from segue.drawing import contact_sheet, draw_confidence, plot_curves
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import blown_up
from segue.models import analysis
from segue.models.analysis import ReceptiveField
from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from segue.nn.dense.plain import Plain, PlainSettings

CLASSES, WIDTH, DEPTH = 11, 8, 3
SIZE = (360, 480)
"""Of the picture whose cost is counted: CamVid's."""
LAYERS = range(1, 9)
ALIKE = 2 * DEPTH + 1
"""Convolutions of 3x3 in the encoder-decoder."""


def receptive_field() -> Page:
    """The page."""
    stacks = {layers: measured(Plain(CLASSES, PlainSettings(layers, WIDTH))) for layers in LAYERS}
    coder = measured(EncoderDecoder(CLASSES, EncoderDecoderSettings("bilinear", DEPTH, WIDTH, WIDTH, convolutions=1)))
    curves = {
        "theoretical": [(layers, side(field)) for layers, field in stacks.items()],
        "effective": [(layers, field.effective) for layers, field in stacks.items()],
    }
    gradients = [blown_up(heat(field), 220) for field in (stacks[2], stacks[ALIKE], coder)]
    titles = ["2 convolutions", f"{ALIKE} convolutions", f"encoder-decoder of {ALIKE}"]
    costs = {layers: field.cost.multiply_adds / 1e9 for layers, field in stacks.items()}
    return Page(
        title="Receptive field and cost",
        question="How far does a pixel of the output see after L convolutions of 3x3, and what does it cost?",
        answer="Problem 1: each convolution adds a pixel on each side, so the field is 1 + 2L, and most of the "
        "gradient comes from even less. Problem 2: at full resolution each layer costs as much as the picture has "
        "pixels. An encoder-decoder with as many convolutions and channels sees further for less.\n\n"
        "The field is measured, not calculated: a line of the picture is spoilt with NaN, and the outputs that become "
        "NaN are those that see it. The effective field is the square that holds 95 % of the gradient of the output in "
        "the middle, on noise (Luo et al. 2016).",
        figures=(
            Figure(
                plot_curves(curves, x_label="convolutions", y_label="side of the field in pixels", size=(640, 340)),
                "The field grows by two pixels for each convolution.",
            ),
            Figure(
                contact_sheet(gradients, 3, titles),
                "Where the gradient of the output in the middle goes, as its square root. Each picture is a little "
                "larger than the field.",
            ),
        ),
        numbers=(
            *(Number(f"field after {n} convolutions", side(field), 1 + 2 * n) for n, field in stacks.items()),
            Number(f"effective field after {ALIKE} convolutions", stacks[ALIKE].effective),
            Number(f"field of an encoder-decoder of {ALIKE} convolutions", side(coder)),
            Number(f"billion multiply-adds of {ALIKE} convolutions at 480x360", costs[ALIKE]),
            Number("of each further convolution", costs[ALIKE] - costs[ALIKE - 1]),
            Number("billion multiply-adds of the encoder-decoder", coder.cost.multiply_adds / 1e9),
        ),
        module="segue.models.analysis",
        test="tests/models/test_analysis.py::test_every_convolution_adds_a_pixel_on_each_side",
        try_it=TryIt(
            'python -c "import segue; from segue.nn.dense.plain import Plain, PlainSettings; '
            'print(segue.receptive_field(Plain(11, PlainSettings(layers=3, width=8)), inputs=1))"',
            "Change layers: the field is 1 + 2L. Change width: the cost grows nearly with its square.",
        ),
    )


def measured(network: nn.Module) -> ReceptiveField:
    """Field and cost, on one noise picture."""
    return analysis.receptive_field(network, inputs=1, size=SIZE)


def side(field: ReceptiveField) -> int:
    """Of the theoretical field, which is square here and does not reach over the whole picture."""
    height, width = field.theoretical
    assert height is not None
    assert height == width
    return height


def heat(field: ReceptiveField) -> Image.Image:
    """The gradient as a picture."""
    root = field.gradient.sqrt()
    return draw_confidence(root / root.max().clamp(min=torch.finfo(root.dtype).tiny))
