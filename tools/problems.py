"""Measure the two problems of convolutions at full resolution, and what networks do about them.

    python tools/problems.py

Writes docs/receptive_field.md and docs/images/receptive_field.png. Takes some minutes; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segue.drawing import plot_curves
from segue.models.analysis import ReceptiveField, cost, receptive_field
from segue.models.probe import FAR
from segue.nn.dense import ARCHITECTURES, Architecture
from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from segue.nn.dense.plain import Plain, PlainSettings

DOCS = Path("docs")
SIZE = (360, 480)
CLASSES = 11  # of CamVid
WIDTH = 32  # of both kinds of network in the first table
NUMBERS = ("field", "effective", "G multiply-adds")
NARROW = 8  # width at which the fields of the second table are measured
LAYERS = range(1, 17)
PAIRED = range(4, 13, 2)  # an encoder-decoder of depth d has 2 d + 1 convolutions of 3x3, and the scores

INTRODUCTION = f"""# What a pixel sees, and what that costs

Written by `python tools/problems.py` with `segue.receptive_field` and `segue.models.analysis.cost`. Fields are sides in
pixels: of all that can change an output, and, "effective", of the square that holds 95 % of the gradient (Luo et al.
2016), in networks with random weights. Multiply-adds are for a picture of {SIZE[1]}x{SIZE[0]} with {CLASSES} classes.

## Two problems of convolutions at full resolution

"""

AFTER_FIRST = f"""
Problem 1: every 3x3 convolution adds two pixels to the field, 1 + 2L after L layers, and most of the gradient comes
from fewer. Problem 2: at full resolution each costs the same {WIDTH} x {WIDTH} x 9 multiply-adds per pixel, while an
encoder-decoder of as many layers and channels sees more for less, because most of its layers work on small maps.

![fields of the plain stack and the encoder-decoder](images/receptive_field.png)

## The networks

"""

AFTER_SECOND = f"""
"All": a pixel in the middle of a picture of {FAR} pixels reaches its edges. Costs are of the default settings, fields
of the same networks at width {NARROW} where they have a width, on which the theoretical field does not depend.
"""


@dataclass(frozen=True)
class Measured:
    """A network of the first table."""

    layers: int
    field: ReceptiveField
    multiply_adds: int

    @property
    def cells(self) -> list[str]:
        """Its part of a row."""
        return [side(self.field), str(self.field.effective), f"{self.multiply_adds / 1e9:.2f}"]


def main() -> None:
    """Measure, draw, write."""
    torch.manual_seed(0)
    plain = [measured(layers, Plain(CLASSES, PlainSettings(layers, WIDTH))) for layers in LAYERS]
    coders = [measured(layers, EncoderDecoder(CLASSES, as_long(layers))) for layers in PAIRED]
    curves = fields_of("plain", plain) | fields_of("encoder-decoder", coders)
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    image = plot_curves(curves, x_label="layers", y_label="side of the field in pixels")
    image.save(DOCS / "images" / "receptive_field.png")
    beside = {coder.layers: coder.cells for coder in coders}
    rows = [[str(stack.layers), *stack.cells, *beside.get(stack.layers, [""] * 3)] for stack in plain]
    first = table(["layers", *NUMBERS, "encoder-decoder: field", *NUMBERS[1:]], rows)
    networks = [network_row(architecture) for architecture in ARCHITECTURES]
    second = table(["network", *NUMBERS, "M activations", "M parameters"], networks)
    text = INTRODUCTION + first + AFTER_FIRST + second + AFTER_SECOND
    (DOCS / "receptive_field.md").write_text(text, encoding="utf-8")


def as_long(layers: int) -> EncoderDecoderSettings:
    """An encoder-decoder of as many convolutions."""
    return EncoderDecoderSettings("bilinear", layers // 2 - 1, WIDTH, max_width=WIDTH, convolutions=1)


def measured(layers: int, network: nn.Module) -> Measured:
    """Field and cost."""
    return Measured(layers, receptive_field(network), cost(network, SIZE).multiply_adds)


def fields_of(name: str, stacks: Sequence[Measured]) -> dict[str, list[tuple[float, float]]]:
    """The curves of both fields against the layers."""
    return {
        f"{name}, theoretical": [(s.layers, s.field.theoretical[0] or math.inf) for s in stacks],
        f"{name}, effective": [(s.layers, s.field.effective) for s in stacks],
    }


def network_row(architecture: Architecture) -> list[str]:
    """One row of the second table."""
    settings = architecture.settings()
    published = cost(built(architecture, settings), SIZE)
    has_width = any(field.name == "width" for field in fields(settings))
    network = built(architecture, replace(settings, width=NARROW) if has_width else settings)
    field = receptive_field(awake(network))
    numbers = [published.multiply_adds / 1e9, published.activations / 1e6, published.parameters / 1e6]
    return [architecture.name, side(field), str(field.effective), *(f"{number:.2f}" for number in numbers)]


def built(architecture: Architecture, settings: Any) -> nn.Module:
    """A network with random weights."""
    return architecture.build(CLASSES, settings)


def awake(network: nn.Module) -> nn.Module:
    """The network, with random weights in layers that start at zero, through which no gradient would come."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.kaiming_normal_(module.weight)
    return network


def side(field: ReceptiveField) -> str:
    """The theoretical field as text."""
    height, width = field.theoretical
    return "all" if height is None or width is None else f"{height}" if height == width else f"{height} x {width}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
