import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing import add_legend, draw_confidence, draw_semantic, plot_confusion
from segue.drawing.confusion import RIGHT, UNKNOWN, WITH_NAMES, WRONG, cell_colors, cell_size
from segue.drawing.semantic import borders, heat_table, legend
from segue.errors import UsageError
from segue.structures import Categories, Category

RED, BLUE, GREEN = (200, 0, 0), (0, 0, 200), (0, 180, 0)
CLASSES = Categories(
    tuple(Category(name, i, color=color) for i, (name, color) in enumerate(zip("abc", (RED, BLUE, GREEN), strict=True)))
)
LABELS = torch.tensor([[0, 0, 0, 1, 1, 1, -1, -1]] * 6, dtype=torch.int16)


def gray(width=8, height=6, value=100):
    return Image.new("RGB", (width, height), (value, value, value))


def pixels(image):
    return np.asarray(image).astype(int)


def test_inside_is_tinted_by_alpha_and_void_stays_plain():
    painted = pixels(draw_semantic(gray(), LABELS, CLASSES, alpha=0.5, outline=0))
    assert (painted[:, :3] == (150, 50, 50)).all()
    assert (painted[:, 3:6] == (50, 50, 150)).all()
    assert (painted[:, 6:] == 100).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_from_nothing_to_opaque(alpha):
    painted = pixels(draw_semantic(gray(), LABELS, CLASSES, alpha=alpha, outline=0))
    assert (painted[:, :3] == (RED if alpha else (100, 100, 100))).all()


def test_lines_run_along_borders_only():
    plain, lined = (pixels(draw_semantic(gray(), LABELS, CLASSES, outline=width)) for width in (0, 1))
    changed = (plain != lined).any(axis=(0, 2))
    assert changed.tolist() == [False, False, True, False, False, True, False, False]
    assert (plain[:, changed] != lined[:, changed]).any(-1).all()


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_lines_are_as_wide_as_asked(width):
    labels = (torch.arange(12) >= 6).long().expand(12, 12)
    assert (borders(labels, width).sum(1) == width).all()
    assert (borders(labels.T, width).sum(0) == width).all()
    assert not borders(torch.full((4, 5), 7), width).any()


def test_the_picture_given_is_left_alone_and_may_have_any_mode():
    image = Image.new("L", (8, 6), 100)
    assert draw_semantic(image, LABELS, CLASSES).mode == "RGB"
    assert image.getextrema() == (100, 100)


@pytest.mark.parametrize("labels", [LABELS[:, :-1], LABELS.T, LABELS + 2, LABELS - 1])
def test_maps_that_do_not_fit_are_refused(labels):
    with pytest.raises(UsageError):
        draw_semantic(gray(), labels, CLASSES)


def test_legend_rows_are_the_classes_there_are_by_size():
    rows = legend(torch.tensor([[1, 1, 1, 1, 1, 0, 0, -1, -1, -1]]), CLASSES)
    assert [(row.name, row.color, row.percent) for row in rows] == [
        ("b", BLUE, "50.0 %"),
        ("a", RED, "20.0 %"),
        ("unlabelled", None, "30.0 %"),
    ]


def test_a_share_that_would_round_to_nothing_is_said_to_be_small():
    labels = torch.zeros(100, 100, dtype=torch.int64)
    labels[0, 0] = 2
    assert [row.percent for row in legend(labels, CLASSES)] == ["100.0 %", "<0.1 %"]


def test_the_legend_stands_right_of_the_picture_with_every_colour():
    image = gray(300, 200)
    labels = LABELS.repeat_interleave(30, 0).repeat_interleave(30, 1)
    canvas = pixels(add_legend(image, labels, CLASSES))
    assert canvas.shape[0] == 200
    assert (canvas[:, :300] == 100).all()
    panel = canvas[:, 300:]
    for color, there in ((RED, True), (BLUE, True), (GREEN, False)):
        assert (panel == color).all(-1).any() == there
    assert (panel[:, -3:] == panel[0, 0]).all()  # nothing is cut off


@pytest.mark.parametrize("size", [(1, 1), (40, 24), (2000, 30), (30, 900)])
def test_hostile_names_and_many_classes_keep_the_legend_small(size):
    many = Categories.from_names([f"\x1b[31m\n\ud800{i} " + "W" * 200 for i in range(150)])
    labels = torch.arange(-1, 150)[None]
    canvas = add_legend(gray(*size), labels, many)
    assert size[0] < canvas.width < size[0] + 600
    assert size[1] <= canvas.height <= max(size[1], 150)


def test_a_legend_without_room_sums_up_the_rest():
    many = Categories.from_names([str(i) for i in range(20)])
    labels = torch.arange(20)[None]
    few, all_of_them = (add_legend(gray(60, height), labels, many).height for height in (24, 900))
    assert few < 150
    assert all_of_them == 900


def test_confidence_grows_lighter_step_by_step():
    table = heat_table().double() / 255
    linear = torch.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    lightness = torch.where(luminance > 0.008856, 116 * luminance ** (1 / 3) - 16, 903.3 * luminance)  # CIE L*
    assert (lightness.diff() > -0.25).all()  # no more than rounding to 8 bits
    even = torch.linspace(float(lightness[0]), float(lightness[-1]), 256)
    assert (lightness - even).abs().max() < 3


def test_confidence_pictures_take_anything():
    values = torch.tensor([[0.0, 1.0, -3.0, 9.0, float("nan"), float("inf")]])
    image = draw_confidence(values)
    assert image.size == (6, 1)
    low, high = heat_table()[0].tolist(), heat_table()[255].tolist()
    assert pixels(image)[0].tolist() == [low, high, low, high, low, high]
    with pytest.raises(UsageError):
        draw_confidence(values[None])


def test_confusion_cells_say_right_wrong_and_unknown():
    colors = cell_colors(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [np.nan] * 3]))
    assert colors[0, 0].tolist() == list(RIGHT)
    assert colors[1, 2].tolist() == list(WRONG)
    assert (colors[2] == UNKNOWN).all()
    assert (colors[0, 1] == colors[1, 1]).all()  # nothing is nothing, right or wrong
    grow = cell_colors(np.linspace(0, 1, 5)[None].repeat(2, 0))[1].astype(int)
    assert (np.diff(grow[[0, 2, 3, 4]].sum(1)) < 0).all()


def has(image, color):
    return bool((pixels(image) == color).all(-1).any())


def test_confusion_is_of_rows():
    """Rows of any total with the same shares give the same picture; columns do not matter."""
    counts = torch.tensor([[8, 2], [1, 3]])
    first = pixels(plot_confusion(counts, ["a", "b"]))
    assert (first == pixels(plot_confusion(counts * torch.tensor([[5], [100]]), ["a", "b"]))).all()
    assert not np.array_equal(first, pixels(plot_confusion(counts.T, ["a", "b"])))


@pytest.mark.parametrize("k", [1, 2, 11, 30, 33, 150, 250])
def test_confusion_of_any_number_of_classes(k):
    names = [f"\x00\nclass {i} " + "W" * 200 for i in range(k)]
    image = plot_confusion(torch.eye(k, dtype=torch.int64), names)
    assert k * cell_size(k) < min(image.size)
    assert max(image.size) < 2600
    assert has(image, RIGHT)
    assert not has(image, WRONG)


def test_no_class_has_a_column_where_it_occurs():
    names = ["a", "b", "c"]
    square = torch.eye(3, dtype=torch.int64)
    without = plot_confusion(torch.cat([square, torch.zeros(3, 1).long()], 1), names)
    assert (pixels(without) == pixels(plot_confusion(square, names))).all()
    missed = plot_confusion(torch.cat([torch.zeros(3, 3), torch.ones(3, 1)], 1), names)
    assert missed.width >= without.width + cell_size(3)
    assert has(missed, WRONG)


def test_confusion_of_nothing_is_gray():
    assert has(plot_confusion(torch.zeros(3, 4), ["a", "b", "c"]), UNKNOWN)


def test_names_are_written_up_to_a_limit():
    image = plot_confusion(torch.zeros(WITH_NAMES + 1, WITH_NAMES + 1), ["W" * 30] * (WITH_NAMES + 1))
    assert image.width < WITH_NAMES * cell_size(WITH_NAMES + 1) + 150


@pytest.mark.parametrize(("shape", "names"), [((0, 0), []), ((2, 2), "a"), ((2, 4), "ab"), ((3, 2), "ab")])
def test_counts_that_do_not_fit_are_refused(shape, names):
    with pytest.raises(UsageError):
        plot_confusion(torch.zeros(shape), names)
