import pytest
import torch

from segue.drawing.grids import draw_grid
from segue.errors import UsageError
from segue.lecture.symbols import spelled, spelled_matrix


def test_a_product_of_sums_is_spelled_out() -> None:
    assert spelled(lambda a, x: a.sum() * x.sum().view(1), "ab", "xy") == ["ax + ay + bx + by"]


def test_what_is_never_reached_is_0() -> None:
    assert spelled(lambda a, x: torch.stack([a[0] * x[1], 0 * a[0] * x[0]]), "ab", "xy") == ["ay", "0"]


def test_factors_that_letters_cannot_say_are_refused() -> None:
    with pytest.raises(ValueError, match="ax comes with the factors"):
        spelled(lambda a, x: 2 * a * x, "a", "x")


def test_a_matrix_with_letters_and_numbers() -> None:
    matrix = torch.tensor([[2.0, 0], [7, 3]])
    assert spelled_matrix(matrix, torch.tensor([2.0, 3]), "xy") == ["x 0", "7 y"]


def test_a_grid_has_a_cell_for_each_value_and_the_largest_is_darkest() -> None:
    image = draw_grid(torch.tensor([[0.0, -1, 4]]), 40)
    assert image.size == (121, 41)
    zero, small, large = (sum(image.getpixel((40 * i + 4, 4))) for i in range(3))  # type: ignore[arg-type]
    assert zero == 3 * 255
    assert zero > small > large


def test_only_planes_with_something_in_them_are_drawn() -> None:
    for shape in ((3,), (0, 2), (1, 2, 2)):
        with pytest.raises(UsageError, match="a grid of shape"):
            draw_grid(torch.zeros(shape))
