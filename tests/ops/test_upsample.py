from collections.abc import Callable
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.conv_matrix import conv1d_matrix, conv2d_matrix, transposed_conv1d, transposed_conv2d
from segue.ops.upsample import (
    Interpolation,
    bed_of_nails,
    bilinear_kernel,
    interpolation_matrix,
    max_pool,
    max_unpool,
    resize,
    resize_by_formula,
)

KINDS: tuple[Interpolation, ...] = get_args(Interpolation)
SQUARE = torch.tensor([[[1.0, 2], [3, 4]]])  # the input of all slides
SLIDES: dict[Interpolation, list[list[float]]] = {
    "nearest": [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]],
    "bilinear": [[1.0, 1.25, 1.75, 2.0], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3.0, 3.25, 3.75, 4.0]],
    "bicubic": [[0.68, 1.02, 1.56, 1.89], [1.35, 1.68, 2.23, 2.56], [2.44, 2.77, 3.32, 3.65], [3.11, 3.44, 3.98, 4.32]],
}
X, Y, Z = 2.0, 3.0, 5.0  # primes, so that every sum on the slides is told from every other
A, B, C, D = 7.0, 11.0, 13.0, 17.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bed_of_nails_of_the_slide() -> None:
    nails = torch.tensor([[[1.0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]])
    assert torch.equal(bed_of_nails(SQUARE, 2), nails)
    assert torch.equal(bed_of_nails(SQUARE[None], 2), nails[None])


def test_bed_of_nails_keeps_every_value_and_nothing_else() -> None:
    x = random(2, 3, 4, 5)
    nails = bed_of_nails(x, 3)
    assert nails.shape == (2, 3, 12, 15)
    assert torch.equal(nails[..., ::3, ::3], x)
    assert nails.count_nonzero() == x.numel()


@pytest.mark.parametrize("way", [resize, resize_by_formula])
@pytest.mark.parametrize("kind", KINDS)
def test_interpolation_of_the_slide_to_the_printed_digits(
    kind: Interpolation, way: Callable[[Tensor, tuple[int, int], Interpolation], Tensor]
) -> None:
    printed = torch.tensor([SLIDES[kind]], dtype=torch.float32)
    torch.testing.assert_close(way(SQUARE, (4, 4), kind), printed, atol=0.005, rtol=0)
    torch.testing.assert_close(way(SQUARE[None], (4, 4), kind), printed[None], atol=0.005, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_is_what_the_library_computes(kind: Interpolation) -> None:
    for size, output in product([(1, 7), (3, 4), (6, 5)], [(1, 1), (2, 11), (9, 8), (13, 3)]):
        x = random(2, 3, *size)
        torch.testing.assert_close(resize_by_formula(x, output, kind), resize(x, output, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_interpolation_keeps_constants_and_mirrors(kind: Interpolation) -> None:
    matrix = interpolation_matrix(5, 10, kind)
    torch.testing.assert_close(matrix.sum(1), torch.ones(10, dtype=torch.float64))
    torch.testing.assert_close(matrix.flip(0, 1), matrix)


def test_only_bilinear_keeps_straight_lines() -> None:
    place = (torch.arange(36, dtype=torch.float64) + 0.5) / 3 - 0.5
    line = torch.arange(12, dtype=torch.float64)
    errors = {kind: (interpolation_matrix(12, 36, kind) @ line - place)[6:-6].abs().max() for kind in KINDS}
    assert errors["bilinear"] < 1e-12 < errors["bicubic"] < errors["nearest"]  # a = -0.5 would keep even parabolas


def test_pool_and_unpool_of_the_slide() -> None:
    x = torch.tensor([[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]])
    values, indices = max_pool(x, 2)
    assert torch.equal(values, torch.tensor([[[5.0, 6], [7, 8]]]))
    assert torch.equal(indices, torch.tensor([[[5, 2], [12, 15]]]))
    back = torch.tensor([[[0.0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]])
    assert torch.equal(max_unpool(SQUARE, indices, (4, 4)), back)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pool_equals_the_loops_with_odd_sides_and_ties(memory: torch.memory_format, dtype: torch.dtype) -> None:
    x = torch.randint(-2, 1, (2, 16, 5, 7), generator=torch.Generator().manual_seed(0))
    values, indices = max_pool(x.to(dtype).contiguous(memory_format=memory), 2)
    assert values.shape == indices.shape == (2, 16, 3, 4)
    for i, j in product(range(3), range(4)):
        window = [(r, c) for r in range(2 * i, min(2 * i + 2, 5)) for c in range(2 * j, min(2 * j + 2, 7))]
        for b, k in product(range(2), range(16)):
            r, c = max(window, key=lambda p: x[b, k, p[0], p[1]].item())  # max takes the first of equals
            assert values[b, k, i, j] == x[b, k, r, c]
            assert indices[b, k, i, j] == r * 7 + c


def test_unpool_undoes_pool_at_the_maxima_and_is_the_librarys() -> None:
    x = random(2, 3, 7, 6)
    values, indices = max_pool(x, 2)
    up = max_unpool(values, indices, (7, 6))
    assert torch.equal(up[up != 0], x[up != 0])
    assert torch.equal(max_pool(up.abs(), 2)[1], indices)
    assert torch.equal(up, F.max_unpool2d(values, indices, 2, output_size=(7, 6)))
    assert torch.equal(max_unpool(values[0], indices[0], (7, 6)), up[0])


def test_convolution_as_the_matrices_of_the_slides() -> None:
    kernel, padded = torch.tensor([X, Y, Z]), torch.tensor([0, A, B, C, D, 0])
    one, two = conv1d_matrix(kernel, 6, stride=1), conv1d_matrix(kernel, 6, stride=2)
    rows = [[X, Y, Z, 0, 0, 0], [0, X, Y, Z, 0, 0], [0, 0, X, Y, Z, 0], [0, 0, 0, X, Y, Z]]
    assert torch.equal(one, torch.tensor(rows))
    assert torch.equal(two, torch.tensor(rows[::2]))
    dots = [A * Y + B * Z, A * X + B * Y + C * Z, B * X + C * Y + D * Z, C * X + D * Y]
    assert torch.equal(one @ padded, torch.tensor(dots))
    assert torch.equal(two @ padded, torch.tensor(dots[::2]))
    for matrix, stride in ((one, 1), (two, 2)):
        assert torch.equal(conv1d_matrix(kernel, 4, stride, padding=1), matrix[:, 1:-1])


def test_transposed_matrices_of_the_slides() -> None:
    kernel = torch.tensor([X, Y, Z])
    long = [A * X, A * Y + B * X, A * Z + B * Y + C * X, B * Z + C * Y + D * X, C * Z + D * Y, D * Z]
    assert torch.equal(conv1d_matrix(kernel, 6).T @ torch.tensor([A, B, C, D]), torch.tensor(long))
    strided = [A * X, A * Y, A * Z + B * X, B * Y, B * Z, 0]
    assert torch.equal(conv1d_matrix(kernel, 6, stride=2).T @ torch.tensor([A, B]), torch.tensor(strided))


def test_transposed_convolution_of_the_slide() -> None:
    x, weight = torch.tensor([[A, B]]), torch.tensor([[[X, Y, Z]]])
    five = torch.tensor([[A * X, A * Y, A * Z + B * X, B * Y, B * Z]])
    assert torch.equal(transposed_conv1d(x, weight, stride=2), five)
    assert torch.equal(transposed_conv1d(x, weight, stride=2, output_padding=1), F.pad(five, (0, 1)))


def test_a_plane_of_2_by_2_becomes_5_by_5_or_trimmed_at_top_and_left_4_by_4() -> None:
    kernel = torch.arange(1.0, 10).view(1, 1, 3, 3)
    five = transposed_conv2d(SQUARE, kernel, stride=2)
    by_hand = torch.zeros(1, 5, 5)
    for i, j in product(range(2), range(2)):
        by_hand[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += SQUARE[0, i, j] * kernel[0, 0]
    assert torch.equal(five, by_hand)
    four = transposed_conv2d(SQUARE, kernel, stride=2, padding=1, output_padding=1)
    assert torch.equal(four, five[:, 1:, 1:])


CASES = [(s, p, o) for s, p, o in product((1, 2, 3), (0, 1, 2), (0, 1, 2)) if o < s]


@pytest.mark.parametrize(("stride", "padding", "output_padding"), CASES)
def test_transposed_convolution_is_the_librarys(stride: int, padding: int, output_padding: int) -> None:
    options = (stride, padding, output_padding)
    x, weight = random(2, 3, 5), random(3, 4, 4, seed=1)
    expected = F.conv_transpose1d(x, weight, None, *options)
    torch.testing.assert_close(transposed_conv1d(x, weight, *options), expected)
    x, weight = random(2, 3, 5, 4), random(3, 4, 4, 3, seed=1)
    expected = F.conv_transpose2d(x, weight, None, *options)
    torch.testing.assert_close(transposed_conv2d(x, weight, *options), expected)
    torch.testing.assert_close(transposed_conv2d(x[0], weight, *options), expected[0])


@pytest.mark.parametrize(("taps", "stride", "padding"), [*product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2))])
def test_the_matrix_convolves_and_its_transpose_is_the_transposed_convolution(
    taps: int, stride: int, padding: int
) -> None:
    kernel, a = random(taps), random(8, seed=1)
    matrix = conv1d_matrix(kernel, 8, stride, padding)
    torch.testing.assert_close(matrix @ a, F.conv1d(a[None], kernel[None, None], None, stride, padding)[0])
    b = random(len(matrix), seed=2)
    rest = (8 + 2 * padding - taps) % stride  # places at the end that no output reads
    up = transposed_conv1d(b[None], kernel[None, None], stride, padding, rest)[0]
    torch.testing.assert_close(matrix.T @ b, up)


@pytest.mark.parametrize(("stride", "sides"), [(1, 4), (2, 2)])
def test_the_matrix_of_a_plane(stride: int, sides: int) -> None:
    kernel, a = random(3, 3), random(4, 4, seed=1)  # the slide: 3x3, padding 1, on 4x4
    matrix = conv2d_matrix(kernel, (4, 4), stride, padding=1)
    assert matrix.shape == (sides**2, 16)
    convolved = F.conv2d(a[None], kernel[None, None], None, stride, 1)[0]
    torch.testing.assert_close(matrix @ a.flatten(), convolved.flatten())
    b = random(1, sides, sides, seed=2)
    up = transposed_conv2d(b, kernel[None, None], stride, padding=1, output_padding=stride - 1)
    torch.testing.assert_close(matrix.T @ b.flatten(), up.flatten())


def test_the_matrix_of_an_oblong_plane_and_kernel() -> None:
    kernel, a = random(2, 3), random(5, 7, seed=1)
    matrix = conv2d_matrix(kernel, (5, 7), 2, 1)
    torch.testing.assert_close(matrix @ a.flatten(), F.conv2d(a[None], kernel[None, None], None, 2, 1).flatten())


def distance_from_convolutions(matrix: Tensor) -> float:
    """How far (M, N) is from the nearest convolution of stride 1, whatever the kernel, its size and the padding.

    Those are the matrices whose entries depend on row minus column only; the nearest has the means of the diagonals.
    """
    m, n = matrix.shape
    diagonal = torch.arange(m)[:, None] - torch.arange(n) + n - 1
    totals = matrix.new_zeros(m + n - 1).index_add(0, diagonal.flatten(), matrix.flatten())
    means = totals / diagonal.flatten().bincount()
    return float((matrix - means[diagonal]).norm())


def test_transposed_convolution_of_stride_1_is_a_convolution_with_the_filter_turned() -> None:
    x, weight = random(2, 3, 6, 5), random(3, 4, 3, 3, seed=1)
    turned = weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(transposed_conv2d(x, weight), F.conv2d(x, turned, padding=2))
    assert distance_from_convolutions(conv1d_matrix(random(3), 6).T) < 1e-12


def test_transposed_convolution_of_stride_2_is_no_convolution() -> None:
    kernel = torch.tensor([X, Y, Z])
    up = conv1d_matrix(kernel, 6, stride=2).T
    assert distance_from_convolutions(up) > X
    step = transposed_conv1d(torch.tensor([[0, 1.0, 0, 0]]), kernel[None, None], stride=2)
    later = transposed_conv1d(torch.tensor([[0, 0, 1.0, 0]]), kernel[None, None], stride=2)
    assert not torch.equal(later, step.roll(1, -1))  # a convolution's output moves as far as its input
    assert torch.equal(later, step.roll(2, -1))


def test_transposed_convolution_of_stride_2_is_a_convolution_of_the_bed_of_nails() -> None:
    x, weight = random(2, 3, 4, 5), random(3, 4, 3, 3, seed=1)
    turned = weight.flip(2, 3).transpose(0, 1)
    convolved = F.conv2d(bed_of_nails(x, 2), turned, padding=1)
    torch.testing.assert_close(transposed_conv2d(x, weight, 2, padding=1, output_padding=1), convolved)


def test_bilinear_kernels_of_small_sizes() -> None:
    torch.testing.assert_close(bilinear_kernel(3)[1], torch.tensor([0.5, 1, 0.5]))
    torch.testing.assert_close(bilinear_kernel(4) * 16, torch.outer(*2 * [torch.tensor([1.0, 3, 3, 1])]))
    assert torch.equal(bilinear_kernel(1), torch.ones(1, 1))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_bilinear_kernel_interpolates_inside_and_fades_at_the_border(scale: int) -> None:
    x, kernel = random(1, 5, 6), bilinear_kernel(2 * scale).double()
    up = transposed_conv2d(x, kernel[None, None], scale, padding=scale // 2)
    expected = resize(x, (5 * scale, 6 * scale), "bilinear")
    edge = scale // 2
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(up[inside], expected[inside])
    assert not torch.isclose(up[:, 0], expected[:, 0]).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(4, 6), (5, 2)])
def test_gradient_of_interpolation(kind: Interpolation, size: tuple[int, int]) -> None:
    x = random(2, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize(x, size, kind), x)
    assert torch.autograd.gradcheck(lambda x: resize_by_formula(x, size, kind), x)


def test_gradient_of_unpooling() -> None:
    x = random(2, 2, 5, 4).requires_grad_()
    _, indices = max_pool(x.detach(), 2)
    assert torch.autograd.gradcheck(lambda x: bed_of_nails(x, 3), x)
    assert torch.autograd.gradcheck(lambda x: max_pool(x, 2)[0], x)
    assert torch.autograd.gradcheck(lambda v: max_unpool(v, indices, (5, 4)), random(2, 2, 3, 2).requires_grad_())


def test_gradient_of_convolutions_written_out() -> None:
    line, plane = random(2, 2, 4).requires_grad_(), random(2, 2, 3, 2).requires_grad_()
    taps, filters = random(2, 3, 3).requires_grad_(), random(2, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: transposed_conv1d(x, w, 2, 1, 1), (line, taps))
    assert torch.autograd.gradcheck(lambda x, w: transposed_conv2d(x, w, 2, 1, 1), (plane, filters))
    assert torch.autograd.gradcheck(lambda k: conv1d_matrix(k, 6, 2, 1), random(3).requires_grad_())
    assert torch.autograd.gradcheck(lambda k: conv2d_matrix(k, (4, 5), 2, 1), random(3, 2).requires_grad_())


def test_what_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        transposed_conv1d(torch.ones(1, 1), torch.ones(1, 1, 2), padding=1)
    with pytest.raises(ValueError, match="does not fit"):
        conv1d_matrix(torch.ones(5), 2, padding=1)
