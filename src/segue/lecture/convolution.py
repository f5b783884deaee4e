"""Convolution recalled, and what its stride does."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from segue.drawing import contact_sheet
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.ops import conv2d_matrix

PICTURE = torch.arange(16.0).view(4, 4)
FILTER = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])


def convolution() -> Page:
    """The page."""
    outputs = {stride: F.conv2d(PICTURE[None, None], FILTER[None, None], None, stride, 1)[0, 0] for stride in (1, 2)}
    matrices = {stride: conv2d_matrix(FILTER, (4, 4), stride, padding=1) for stride in outputs}
    errors = [(matrices[s] @ PICTURE.flatten() - outputs[s].flatten()).abs().max() for s in outputs]
    grids = [draw_grid(values) for values in (PICTURE, FILTER, outputs[1], outputs[2])]
    sheet = contact_sheet(grids, 4, ["input, 4x4", "filter, 3x3", "stride 1, pad 1: 4x4", "stride 2, pad 1: 2x2"])
    return Page(
        title="Convolution, and learnable downsampling",
        question="What does a 3x3 convolution do to a 4x4 input, with stride 1 and with stride 2?",
        answer="Each output is a dot product between the filter and the part of the input below it. With stride 1 and "
        "a border of one zero, the output is as large as the input. With stride 2 the filter moves two pixels for each "
        "output and the output has half the side: downsampling whose weights are learned. The outputs of stride 2 "
        "are those of stride 1 at every second place.",
        figures=(Figure(sheet, "A filter that compares a pixel with its neighbours, on the numbers 0 to 15."),),
        numbers=(
            Number("side of the output, stride 1", outputs[1].shape[0], 4),
            Number("side of the output, stride 2", outputs[2].shape[0], 2),
            Number("stride 2 from every second output of stride 1, difference", difference(outputs[1], outputs[2])),
            Number("multiply-adds of stride 1", matrices[1].shape[0] * FILTER.numel()),
            Number("multiply-adds of stride 2", matrices[2].shape[0] * FILTER.numel()),
            Number("largest difference from the same as a matrix product", float(torch.stack(errors).max())),
        ),
        module="segue.ops.conv_matrix",
        test="tests/ops/test_upsample.py::test_the_matrix_of_a_plane",
        try_it=TryIt(
            'python -c "import torch; from torch.nn.functional import conv2d; x = torch.arange(16.0).view(1, 1, 4, 4); '
            'print(conv2d(x, torch.ones(1, 1, 3, 3) / 9, stride=2, padding=1))"',
            "A filter that averages: the values at the border are too small, because zeros are averaged in.",
        ),
    )


def difference(fine: torch.Tensor, coarse: torch.Tensor) -> float:
    """Largest one between every second value of a plane and another plane."""
    return float((fine[::2, ::2] - coarse).abs().max())
