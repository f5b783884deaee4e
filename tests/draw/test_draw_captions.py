from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from torch import Tensor

from segue.drawing.captions import MOST_LINES, draw_captions, settle, wrap
from segue.drawing.text import font
from segue.errors import UsageError
from segue.structures.categories import Color, distinct_color

GRAY = (90, 90, 90)
FACE = font(14)


def blank(size: tuple[int, int] = (200, 150)) -> Image.Image:
    return Image.new("RGB", size, GRAY)


def boxes(*centres: tuple[float, float], side: float = 20) -> Tensor:
    middle = torch.tensor(centres).reshape(-1, 2)
    return torch.cat([middle - side / 2, middle + side / 2], dim=1)


def colors(number: int) -> list[Color]:
    return [distinct_color(i) for i in range(number)]


def bars(painted: Image.Image, width: int, of: list[Color]) -> list[tuple[int, int]]:
    """First and last row of the bar beside each sentence, in a picture that was ``width`` wide; none for some."""
    pixels = np.asarray(painted)[:, width:]
    rows = [np.flatnonzero((pixels == color).all(-1).sum(1) > 1) for color in of]
    longest = [max(np.split(r, np.flatnonzero(np.diff(r) > 1) + 1), key=len) for r in rows if len(r)]
    return [(int(run[0]), int(run[-1])) for run in longest]


@pytest.mark.parametrize(
    ("wanted", "room", "tops"),
    [
        ([5, 30, 80], 100, [5, 30, 80]),  # where nothing overlaps nothing moves
        ([50, 50], 100, [45, 55]),
        ([50, 54, 10], 100, [28, 38, 48]),
        ([0, 0, 0], 100, [0, 10, 20]),
        ([95, 95], 100, [80, 90]),
        ([-40, 200], 100, [0, 90]),
        ([3, 3], 5, [0, 10]),  # more than there is room for
        ([], 5, []),
    ],
)
def test_notes_settle(wanted: list[float], room: float, tops: list[float]) -> None:
    assert settle(wanted, [10.0] * len(wanted), room) == pytest.approx(tops)


def test_no_other_places_are_nearer() -> None:
    generator = np.random.default_rng(0)
    for _ in range(30):
        heights, wanted = generator.integers(1, 4, 4), generator.uniform(-3, 14, 4)
        before, free = np.cumsum(heights) - heights, 12 - heights.sum()
        tops = np.array(settle(wanted.tolist(), heights.tolist(), 12))
        assert (np.diff(tops) >= heights[:-1] - 1e-9).all()
        assert tops[0] >= -1e-9
        assert tops[-1] + heights[-1] <= 12 + 1e-9
        others = np.array(list(combinations_with_replacement(np.linspace(0, free, 9), 4))) + before
        assert ((tops - wanted) ** 2).sum() <= ((others - wanted) ** 2).sum(1).min() + 1e-9


def test_wrapped_lines_fit_and_say_everything_in_order() -> None:
    text = "a small cheering person in a dotted green shirt and white trousers on the grass"
    for width in (90, 150, 400, 2000):
        lines = wrap(text, FACE, width, most=20)
        assert all(FACE.getlength(line) <= width for line in lines)
        assert " ".join(lines) == text
    assert len(wrap(text, FACE, 2000)) == 1


def test_long_sentences_are_cut() -> None:
    for text in ("word " * 300, "x" * 5000, "x" * 300 + " word"):
        lines = wrap(text, FACE, 200)
        assert len(lines) <= MOST_LINES
        assert all(FACE.getlength(line) <= 200 for line in lines)
        assert any(line.endswith("…") for line in lines)
    assert wrap(" \n", FACE, 200) == []


def test_sentences_stand_right_of_the_picture_in_the_order_of_their_boxes_without_overlap() -> None:
    places = boxes((60, 70), (100, 72), (140, 68), (20, 71), (90, 120))
    sentences = [f"a thing with number {i} and so many words that they need several lines" for i in range(5)]
    painted = draw_captions(blank(), places, sentences, colors(5))
    found = bars(painted, 200, colors(5))
    assert len(found) == 5
    order = sorted(range(5), key=lambda i: found[i])
    assert order == [2, 0, 3, 1, 4]
    assert all(found[a][1] < found[b][0] for a, b in pairwise(order))
    assert painted.width > 300


def test_only_lines_to_the_boxes_touch_the_picture() -> None:
    painted = draw_captions(blank(), boxes((60, 70), (100, 30)), ["one", "two"], colors(2))
    touched = (np.asarray(painted)[:150, :200] != GRAY).any(-1)
    rows, columns = np.nonzero(touched)
    assert all(min(abs(y - 70), abs(y - 30)) <= 5 for y in rows)
    assert columns.min() >= 64  # the first box ends at 70
    assert touched[70, 70:].all()
    assert touched[30, 110:].all()


def test_a_sentence_alone_stands_at_the_height_of_its_box() -> None:
    for y in (40, 75, 110):
        [(first, last)] = bars(draw_captions(blank(), boxes((50, y)), ["a mug"], colors(1)), 200, colors(1))
        assert (first + last) / 2 == pytest.approx(y, abs=2)


def test_the_first_line_is_shown_and_empty_texts_are_left_out() -> None:
    places = boxes((60, 70), (100, 30))
    painted = draw_captions(blank(), places, ["one\ntwo", ""], colors(2))
    assert painted.tobytes() == draw_captions(blank(), places, ["\n one", "\n"], colors(2)).tobytes()
    assert len(bars(painted, 200, colors(2))) == 1
    for nothing in (["", " "], []):
        bare = draw_captions(blank(), places[: len(nothing)], nothing, colors(len(nothing)))
        assert ImageChops.difference(bare, blank()).getbbox() is None
        assert bare.size == (200, 150)


def test_what_has_no_room_is_counted() -> None:
    many = draw_captions(blank((200, 3000)), boxes(*[(50, 20 * i) for i in range(99)]), ["a mug"] * 99, colors(99))
    assert many.height == 3000
    assert len(bars(many, 200, colors(99))) == 99
    few = draw_captions(blank(), boxes(*[(50, i) for i in range(99)]), ["a mug"] * 99, colors(99))
    assert 150 < few.height < 800
    shown = len(bars(few, 200, colors(99)))
    assert 10 < shown < 40
    assert len(bars(few, 200, colors(shown))) == shown  # the first ones


HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "right to left": "ספל אדום על הדשא",
    "turned about": "\u202e\u2066mug",
    "an emoji": "\U0001f469\u200d\U0001f680\ufe0f",
    "half a sign": "\ud83d mug",
    "control signs": "a\0b\x1b[31m\x7f",
    "marks over marks": "e" + "\u0301" * 500,
    "300 words": "mug " * 300,
    "one long word": "m" * 100_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_text_can_be_drawn(kind: str) -> None:
    painted = draw_captions(blank(), boxes((60, 70)), [HOSTILE[kind]], colors(1))
    assert 200 < painted.width < 600
    assert 150 <= painted.height < 400


def test_boxes_beyond_the_edge() -> None:
    far = torch.tensor([[-500.0, -500, -400, -400], [900, 900, 1000, 1000], [-1e6, -1e6, 1e6, 1e6]])
    painted = draw_captions(blank(), far, ["one", "two", "three"], colors(3))
    found = bars(painted, 200, colors(3))
    assert found[0] < found[2] < found[1]
    assert painted.height == 150


def test_tiny_pictures_and_wrong_numbers() -> None:
    assert draw_captions(blank((1, 1)), boxes((0.5, 0.5)), ["a mug"], colors(1)).height >= 13
    for wrong in ((["one"], colors(2)), (["one", "two"], colors(1))):
        with pytest.raises(UsageError, match="2 boxes need as many"):
            draw_captions(blank(), boxes((1, 1), (2, 2)), *wrong)
