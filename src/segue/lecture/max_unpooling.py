"""Max unpooling, paired with its pooling."""

from __future__ import annotations

import torch

from segue.drawing import contact_sheet
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import SQUARE
from segue.ops import max_pool, max_unpool

FINE = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
POOLED = torch.tensor([[5.0, 6], [7, 8]])
UNPOOLED = torch.tensor([[0.0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]])


def max_unpooling() -> Page:
    """The page."""
    maxima, where = (values[0] for values in max_pool(FINE[None], 2))
    back = max_unpool(SQUARE[None], where[None], (4, 4))[0]
    grids = [draw_grid(values) for values in (FINE, maxima, SQUARE, back)]
    sheet = contact_sheet(grids, 4, ["before pooling", "maxima", "after the rest of the net", "unpooled"])
    return Page(
        title="Max unpooling",
        question="Pooling forgot where the maximum stood. Can the way up know?",
        answer="Yes, where each downsampling layer is paired with an upsampling layer: the pooling hands over the "
        "places of its maxima, and the unpooling puts its values there and zeros elsewhere. What was an edge on the "
        "way down is at the same pixel on the way up. SegNet and DeconvNet are built of such pairs.",
        figures=(Figure(sheet, "The slide's four maps."),),
        numbers=(
            Number("maxima", maxima, POOLED),
            Number("their places, row times 4 plus column", where),
            Number("unpooled", back, UNPOOLED),
        ),
        module="segue.ops.upsample",
        test="tests/ops/test_upsample.py::test_pool_and_unpool_of_the_slide",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import max_pool; '
            'print(max_pool(torch.tensor([[[1.0, 2, 6, 3], [3, 9, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]), 2))"',
            "The 5 became a 9: the value changes, its place does not. Move the 9 to another corner of its block and "
            "the first index follows.",
        ),
    )
