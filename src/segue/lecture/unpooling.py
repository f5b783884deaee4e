"""Bed of nails and nearest neighbour."""

from __future__ import annotations

import torch

from segue.drawing import contact_sheet
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import SQUARE
from segue.ops import bed_of_nails, resize

NAILS = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
NEAREST = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])


def unpooling() -> Page:
    """The page."""
    nails = bed_of_nails(SQUARE, 2)
    copies = resize(SQUARE[None], (4, 4), "nearest")[0]
    grids = [draw_grid(values) for values in (SQUARE, nails, copies)]
    sheet = contact_sheet(grids, 3, ["input, 2x2", "bed of nails, 4x4", "nearest neighbour, 4x4"])
    return Page(
        title="Unpooling: bed of nails and nearest neighbour",
        question="How can a map get larger inside a network, without any weights?",
        answer="Put each value into a corner of a block and zeros around it (bed of nails), or copy it all over the "
        "block (nearest neighbour). The zeros are left to the next convolution; the copies look like stairs.",
        figures=(Figure(sheet, "The slides' input and what the two functions make of it."),),
        numbers=(
            Number("bed of nails", nails, NAILS),
            Number("nearest neighbour", copies, NEAREST),
            Number("sum of the nails over sum of the input", float(nails.sum() / SQUARE.sum())),
            Number("sum of the copies over sum of the input", float(copies.sum() / SQUARE.sum())),
        ),
        module="segue.ops.upsample",
        test="tests/ops/test_upsample.py::test_bed_of_nails_of_the_slide",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import bed_of_nails; '
            'print(bed_of_nails(torch.tensor([[1.0, 2], [3, 4]]), 3))"',
            "The factor is 3 here, so the map becomes 6x6. Whatever the factor, the four values stay and nothing is "
            "added to them.",
        ),
    )
