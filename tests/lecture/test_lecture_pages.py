"""Every page of the lecture is made once, and its numbers are known answers."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from segue.cli import parser
from segue.lecture import LECTURE, Number, Page
from segue.lecture.page import Value

ROOT = Path(__file__).parents[2]
NAMES = [make.__name__ for make in LECTURE]


@cache
def page(name: str) -> Page:
    made: Page = dict(zip(NAMES, LECTURE, strict=True))[name]()
    return made


def value(name: str, what: str) -> Value:
    """The number of a page whose name begins so; there is exactly one."""
    (number,) = [n for n in page(name).numbers if n.what.startswith(what)]
    return number.value


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_whole(name: str) -> None:
    made = page(name)
    assert made.title
    assert made.question.endswith("?")
    assert made.answer
    assert made.figures
    assert made.numbers
    for figure in made.figures:
        assert min(figure.image.size) >= 40
        assert max(figure.image.size) <= 2400
        assert len(figure.image.convert("RGB").getcolors(2**24) or []) > 1, "a blank picture"
        assert figure.caption.endswith(".")
    assert len({number.what for number in made.numbers}) == len(made.numbers)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_slide_prints_is_what_the_code_computes(name: str) -> None:
    assert [number for number in page(name).numbers if not number.agrees] == []


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_tests_that_are_named_exist(name: str) -> None:
    assert find_spec(page(name).module)
    file, test = page(name).test.split("::")
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_what_to_try_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in page(name).try_it.command.split(" && "):
        program, *arguments = shlex.split(command)
        if program == "segue":
            assert parser().parse_args(arguments).command  # what it then does is tested where it is implemented
        else:
            assert (program, arguments[0], len(arguments)) == ("python", "-c", 2)
            exec(compile(arguments[1], name, "exec"), {})
            assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("value", "slide"), [(0.69, 0.68), (5, 4), ("ax", "ay"), (torch.tensor([1.0, 2]), torch.tensor([[1.0, 2]]))]
)
def test_a_number_that_differs_from_its_slide_is_told(value: Value, slide: Value) -> None:
    assert not Number("", value, slide).agrees
    assert Number("", slide, slide).agrees
    assert Number("", value).agrees


NAILS = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
COPIES = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
BILINEAR = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
BICUBIC = [[0.68, 1.02, 1.56, 1.89], [1.35, 1.68, 2.23, 2.56], [2.44, 2.77, 3.32, 3.65], [3.11, 3.44, 3.98, 4.32]]
UNPOOLED = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
OVERLAPS = [[1, 1, 2, 1, 1], [1, 1, 2, 1, 1], [2, 2, 4, 2, 2], [1, 1, 2, 1, 1], [1, 1, 2, 1, 1]]


@pytest.mark.parametrize(
    ("name", "what", "expected"),
    [
        ("unpooling", "bed of nails", NAILS),
        ("unpooling", "nearest neighbour", COPIES),
        ("bilinear", "bilinear", BILINEAR),
        ("bicubic", "bicubic", BICUBIC),
        ("max_unpooling", "maxima", [[5, 6], [7, 8]]),
        ("max_unpooling", "unpooled", UNPOOLED),
        ("transposed_plane", "products", OVERLAPS),
    ],
)
def test_matrices_on_the_slides(name: str, what: str, expected: list[list[float]]) -> None:
    torch.testing.assert_close(value(name, what), torch.tensor(expected).float(), atol=0.005, rtol=0)


@pytest.mark.parametrize(
    ("name", "what", "expected"),
    [
        ("convolution", "side of the output, stride 1", 4),
        ("convolution", "side of the output, stride 2", 2),
        ("convolution", "multiply-adds of stride 1", 144),
        ("convolution", "multiply-adds of stride 2", 36),
        ("transposed_plane", "side of the sum", 5),
        ("transposed_plane", "side after trimming", 4),
        ("transposed_line", "outputs", "ax, ay, az + bx, by, bz"),
        ("convolution_matrix", "X a, stride 1", "ay + bz, ax + by + cz, bx + cy + dz, cx + dy"),
        ("convolution_matrix", "X transposed a, stride 1", "ax, ay + bx, az + by + cx, bz + cy + dx, cz + dy, dz"),
        ("convolution_matrix", "X transposed a, stride 2", "ax, ay, az + bx, by, bz, 0"),
        ("convolution_matrix", "different filters in the rows of X transposed, stride 1", 1),
        ("convolution_matrix", "different filters in the rows of X transposed, stride 2", 2),
    ],
)
def test_known_numbers(name: str, what: str, expected: Value) -> None:
    assert value(name, what) == expected
