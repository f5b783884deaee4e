"""Transposed convolution: in two dimensions, in one, and as a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.drawing import contact_sheet
from segue.drawing.grids import draw_grid
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.symbols import spelled, spelled_matrix
from segue.lecture.toys import SQUARE
from segue.ops import conv1d_matrix, transposed_conv1d, transposed_conv2d

ONES = torch.ones(3, 3)
XYZ = torch.tensor([2.0, 3, 5])


def transposed_plane() -> Page:
    """The page about two dimensions."""
    copies = [transposed_conv2d(one[None], ONES[None, None], stride=2)[0] for one in alone(SQUARE)]
    five = transposed_conv2d(SQUARE[None], ONES[None, None], stride=2)[0]
    four = transposed_conv2d(SQUARE[None], ONES[None, None], stride=2, padding=1, output_padding=1)[0]
    overlaps = transposed_conv2d(torch.ones(1, 2, 2), ONES[None, None], stride=2)[0]
    titles = [f"{int(value)} times the filter" for value in SQUARE.flatten()]
    return Page(
        title="Transposed convolution",
        question="Convolution with a stride above 1 is learnable downsampling. What is learnable upsampling?",
        answer="The same, run backwards. Each input value multiplies the whole filter; the products are laid into the "
        "output, two pixels apart for a stride of 2, and where they overlap they are added. A 3x3 filter on a 2x2 "
        "input gives 5x5; trimming one pixel at the top and at the left gives 4x4. Padding 1 of the forward "
        "convolution trims that, and an output padding of 1 leaves the far edge where it is.\n\n"
        "Overlaps are uneven: the middle pixel gets four products, its neighbours two, the others one. That is where "
        "the checkerboards of learned upsampling come from.",
        figures=(
            Figure(contact_sheet([draw_grid(c, 44) for c in copies], 4, titles), "One weighted filter per input."),
            Figure(
                contact_sheet([draw_grid(v, 44) for v in (five, four)], 2, ["their sum, 5x5", "trimmed to 4x4"]),
                "Added up where they overlap, then trimmed at the top and at the left.",
            ),
        ),
        numbers=(
            Number("side of the sum", five.shape[0], 5),
            Number("side after trimming", four.shape[0], 4),
            Number("trimmed minus the sum without its first row and column", float((four - five[1:, 1:]).abs().max())),
            Number("products that meet in each place", overlaps),
        ),
        module="segue.ops.conv_matrix",
        test="tests/ops/test_upsample.py::test_a_plane_of_2_by_2_becomes_5_by_5_or_trimmed_at_top_and_left_4_by_4",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import transposed_conv2d; '
            'print(transposed_conv2d(torch.ones(1, 3, 3), torch.ones(1, 1, 4, 4), stride=2, padding=1)[0])"',
            "A 4x4 filter: inside, every pixel gets four products, so the checkerboard is gone. With 3 instead of 4 "
            "it is back.",
        ),
    )


def transposed_line() -> Page:
    """The page about one dimension."""
    formulas = spelled(lambda a, x: transposed_conv1d(a[None], x[None, None], stride=2)[0], "ab", "xyz")
    signal = torch.tensor([1.0, 2])
    copies = [transposed_conv1d(one[None], XYZ[None, None], stride=2) for one in alone(signal)]
    total = transposed_conv1d(signal[None], XYZ[None, None], stride=2)
    sheet = contact_sheet(
        [draw_grid(row) for row in (*copies, total)], 1, ["a = 1 times x y z", "b = 2 times x y z", "their sum"]
    )
    return Page(
        title="Transposed convolution in one dimension",
        question="What are the five outputs of two inputs, a filter of three and stride 2?",
        answer="Two copies of the filter, one weighted by a and one by b, two steps apart: they overlap in one place, "
        "where az and bx are added. The formulas below are read off the function: it is run with a single 1 in the "
        "input and a single 1 in the filter, for every pair.\n\n"
        "The operation has many names: deconvolution (a bad one, since nothing is undone), upconvolution, "
        "fractionally strided convolution, backward strided convolution, and transposed convolution, the best, for "
        "the reason on the next page.",
        figures=(Figure(sheet, "With a = 1, b = 2 and x, y, z = 2, 3, 5."),),
        numbers=(
            Number("outputs, first to last", ", ".join(formulas), "ax, ay, az + bx, by, bz"),
            Number("places", len(formulas), 5),
        ),
        module="segue.ops.conv_matrix",
        test="tests/ops/test_upsample.py::test_transposed_convolution_of_the_slide",
        try_it=TryIt(
            'python -c "from segue.lecture.symbols import spelled; from segue.ops import transposed_conv1d; '
            "print(spelled(lambda a, x: transposed_conv1d(a[None], x[None, None], stride=1)[0], 'abc', 'xyz'))\"",
            "With stride 1 the middle output is a sum of three products. With stride 3 nothing overlaps.",
        ),
    )


def convolution_matrix() -> Page:
    """The page about matrices."""
    one, two = conv1d_matrix(XYZ, 6, stride=1), conv1d_matrix(XYZ, 6, stride=2)
    down = {
        1: spelled(lambda a, x: conv1d_matrix(x, 4, 1, padding=1) @ a, "abcd", "xyz"),
        2: spelled(lambda a, x: conv1d_matrix(x, 4, 2, padding=1) @ a, "abcd", "xyz"),
    }
    up = {
        1: spelled(lambda a, x: conv1d_matrix(x, 6, 1).T @ a, "abcd", "xyz"),
        2: spelled(lambda a, x: conv1d_matrix(x, 6, 2).T @ a, "ab", "xyz"),
    }
    titles = ["X, stride 1", "X transposed", "X, stride 2", "X transposed"]
    sheet = contact_sheet([draw_grid(m, 40) for m in (one, one.T, two, two.T)], 4, titles)
    return Page(
        title="Convolution as matrix multiplication",
        question="Why is it called transposed convolution, and when is it a convolution itself?",
        answer="A convolution is linear, so it is a matrix X times the padded signal: each row holds the filter, moved "
        "by the stride. The transposed convolution multiplies by the transpose of that matrix. It does not undo the "
        "convolution; it only has the shape of its inverse.\n\n"
        "With stride 1 the transpose again has the same filter in every row, turned around: a convolution with other "
        "padding. With stride 2 its rows take turns between two filters, (z, x) and (y): no convolution can do that.",
        figures=(Figure(sheet, "The slides' matrices with x, y, z = 2, 3, 5."),),
        numbers=(
            Number("X, stride 1", "; ".join(rows(one)), "x y z 0 0 0; 0 x y z 0 0; 0 0 x y z 0; 0 0 0 x y z"),
            Number("X a, stride 1", ", ".join(down[1]), "ay + bz, ax + by + cz, bx + cy + dz, cx + dy"),
            Number(
                "X transposed a, stride 1",
                ", ".join(up[1]),
                "ax, ay + bx, az + by + cx, bz + cy + dx, cz + dy, dz",
            ),
            Number("X, stride 2", "; ".join(rows(two)), "x y z 0 0 0; 0 0 x y z 0"),
            Number("X a, stride 2", ", ".join(down[2]), "ay + bz, bx + cy + dz"),
            Number("X transposed a, stride 2", ", ".join(up[2]), "ax, ay, az + bx, by, bz, 0"),
            Number("different filters in the rows of X transposed, stride 1", filters(one.T)),
            Number("different filters in the rows of X transposed, stride 2", filters(two.T)),
        ),
        module="segue.ops.conv_matrix",
        test="tests/ops/test_upsample.py::test_transposed_matrices_of_the_slides",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import conv1d_matrix; '
            'print(conv1d_matrix(torch.tensor([2.0, 3, 5]), 7, stride=3).T)"',
            "With stride 3 the copies do not touch: every row has one weight at most, and some rows are empty when "
            "the length does not fit.",
        ),
    )


def alone(values: Tensor) -> list[Tensor]:
    """Each value with zeros in the place of all others."""
    places = torch.eye(values.numel()).view(-1, *values.shape)
    return list(places * values)


def rows(matrix: Tensor) -> list[str]:
    """With letters for the weights."""
    return spelled_matrix(matrix, XYZ, "xyz")


def filters(matrix: Tensor) -> int:
    """How many different sequences of weights the inner rows of a transposed matrix have, but for zeros at the ends.

    The first and last rows do not count: there the filter is cut off.
    """
    inner = matrix[2:-2]
    return len({tuple(row[row != 0].tolist()) for row in inner})
