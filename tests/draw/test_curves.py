import math

import numpy as np
import pytest

from segue.drawing import plot_curves
from segue.drawing.curves import PALETTE, ticks, unbroken


@pytest.mark.parametrize(
    "values", [[0, 1], [3.2, 17.8], [-5, 5], [0.001, 0.0042], [1e6, 3e9], [2, 2], [0], [], [-1e-7, 1e-7]]
)
def test_ticks_are_few_round_and_enclose(values):
    found = ticks(values)
    steps = np.diff(found)
    assert 2 <= len(found) <= 9
    assert (steps > 0).all()
    assert np.allclose(steps, steps[0])
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)
    if values:
        assert found[0] <= min(values) + 1e-6 * steps[0]
        assert found[-1] >= max(values) - 1e-6 * steps[0]


def test_runs_break_where_a_point_is_not_finite():
    curve = [(0, 1), (1, math.nan), (2, 3), (3, 4), (4, math.inf)]
    assert unbroken(curve) == [[(0, 1)], [(2, 3), (3, 4)]]
    assert unbroken([]) == []


def columns_of(image, color):
    close = (np.abs(np.asarray(image).astype(int) - color).max(2) < 40).nonzero()
    return close[0], close[1]


def test_a_rising_line_rises():
    image = plot_curves({"loss": [(0, 0), (10, 1)]}, size=(400, 300))
    assert image.size == (400, 300)
    y, x = columns_of(image, PALETTE[0])
    body = y > 60  # below the legend
    left, right = y[body & (x < 150)], y[body & (x > 300)]
    assert left.mean() > right.mean() + 50


def test_every_series_has_its_colour_and_bad_points_are_left_out():
    series = {"a": [(0, 1), (1, 2)], "b": [(0, 2), (1, math.nan), (2, math.inf)], "c": []}
    image = plot_curves(series, "title " * 50, "x" * 200, "y" * 200, size=(300, 200))
    for color in PALETTE[:3]:
        assert len(columns_of(image, color)[0])


def test_nothing_to_plot():
    assert plot_curves({}).size == (800, 450)
