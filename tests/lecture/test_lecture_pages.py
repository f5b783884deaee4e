"""Every page of the lecture is made once, and its numbers are known answers."""

from __future__ import annotations

import math
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
    """The number of a page that is called so, or else the one whose name begins so."""
    numbers = page(name).numbers
    (one,) = [n for n in numbers if n.what == what] or [n for n in numbers if n.what.startswith(what)]
    return one.value


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
        ("sliding_window", "side of a patch", 25),
        ("sliding_window", "patches", 1600),
        ("sliding_window", "million multiply-adds, dilated", 5.916),
        ("fully_convolutional", "scores", "19 x 64 x 64"),
        ("fully_convolutional", "scores of a picture twice as large", "19 x 128 x 128"),
        ("receptive_field", "field after 1 ", 3),
        ("receptive_field", "field after 8 ", 17),
        ("receptive_field", "field of an encoder-decoder of 7 ", 70),
        ("resolutions", "sides of the maps", "256, 128, 64, 128, 256"),
        ("semantic_scores", "of the twelve pixels: accuracy", 0.75),
        ("semantic_scores", "IoU of class 0", 0.7),
        ("semantic_scores", "IoU of class 1", 0.4),
        ("things_and_stuff", "categories that are things", 13),
        ("things_and_stuff", "categories that are stuff", 6),
        ("things_and_stuff", "people among the objects", 3),
        ("things_and_stuff", "labels that the semantic map has", 1),
        ("things_and_stuff", "pixels in an object whose class is stuff", 0),
        ("things_and_stuff", "pixels of a thing class outside", 0),
        ("region_stages", "anchors", 3 * (64**2 + 32**2 + 16**2 + 8**2 + 4**2)),
        ("anchors", "anchors at one place", 9),
        ("anchors", "anchors of the bundled network", 3 * (64**2 + 32**2 + 16**2 + 8**2 + 4**2)),
        ("roi_pooling", "places of 33 that RoIPool", 3),
        ("roi_pooling", "places of 33 that RoIAlign", 33),
        ("roi_pooling", "largest error of RoIPool", 16.0),
        ("mask_training", "target of a region", "28 x 28"),
        ("mask_training", "output of the mask head", "13 x 28 x 28"),
        ("panoptic_maps", "matches of .8 and .6", 0.7),
        ("panoptic_maps", "RQ, 2 of 3", 2 / 3),
        ("panoptic_maps", "PQ, their product", 1.4 / 3),
        ("human_keypoints", "keypoints of a person", 17),
        ("human_keypoints", "target of a keypoint", "56 x 56"),
        ("human_keypoints", "cells that are on", 1),
        ("human_keypoints", "loss of a map that knows nothing, computed", 8.0507),
        ("mesh_shapes", "one voxel: vertices and faces", "8, 12"),
        ("mesh_shapes", "two voxels side by side", "12, 20"),
        ("mesh_shapes", "a ring of eight voxels", 0),
        ("mesh_shapes", "one voxel: vertices minus edges", 2),
        ("mesh_shapes", "that mesh is closed", "yes"),
    ],
)
def test_known_numbers(name: str, what: str, expected: Value) -> None:
    found = value(name, what)
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-4, abs=1e-9))


@pytest.mark.parametrize(
    ("name", "what", "low", "high"),
    [
        ("four_tasks", "boxes", 5, 12),
        ("sliding_window", "times as many patch by patch", 50, 200),
        ("sliding_window", "largest difference of a score, shifted", 0, 1e-5),
        ("sliding_window", "largest difference of a score, dilated", 0, 1e-5),
        ("fully_convolutional", "loss at the first step", 2, 4),
        ("fully_convolutional", "loss at the last step", 0, 0.3),
        ("fully_convolutional", "share of the pixels that are right", 0.9, 1),
        ("fully_convolutional", "difference from the mean", 0, 1e-5),
        ("receptive_field", "effective field after 7", 9, 14),
        ("bilinear", "largest difference between library and formula", 0, 1e-6),
        ("convolution", "largest difference from the same as a matrix", 0, 1e-5),
        ("region_stages", "proposals after", 50, 150),
        ("region_stages", "times as many in R-CNN", 10, 100),
        ("anchors", "that answer for an object", 6, 100),
        ("anchors", "boxes from anchors", 0, 1e-3),
        ("roi_pooling", "largest error of RoIAlign", 0, 1e-4),
        ("human_keypoints", "farthest that the middle", 0.1, 0.87),  # half the diagonal of a cell of 0.79 by 1.54
        ("semantic_scores", "mIoU of the picture", 0.6, 1),
        ("panoptic_maps", "of this picture: PQ", 0.6, 1),
        ("region_heads", "all further heads", 0.01, 1),
        ("dense_captioning", "mean METEOR", 0.1, 1),
        ("many_tasks", "`boxes/AP`", 0.6, 1),
        ("many_tasks", "`masks/AP`", 0.6, 1),
    ],
)
def test_measured_numbers_are_where_they_must_be(name: str, what: str, low: float, high: float) -> None:
    number = value(name, what)
    assert isinstance(number, int | float)
    assert low <= number <= high


def test_what_pages_say_of_their_numbers() -> None:
    assert value("fully_convolutional", "loss of equal scores, computed") == pytest.approx(math.log(19))
    assert value("four_tasks", "label of the picture") == value("four_tasks", "label as annotated") == "car"
    assert torch.equal(
        number("roi_pooling", "columns that RoIAlign reads"), number("roi_pooling", "columns of the mid")
    )
    assert number("transposed_plane", "trimmed minus the sum") == 0
    costs = [float(number("region_stages", what)) for what in ("R-CNN:", "Fast R-CNN:", "Faster R-CNN:")]
    assert costs[0] > costs[2] > costs[1]
    assert float(number("mesh_shapes", "chamfer distance after stage 3")) < float(
        number("mesh_shapes", "chamfer distance of the voxels' mesh")
    )
    ranking = str(value("dense_captioning", "log-probability")).split(", ")
    assert ranking[0].startswith("car ")  # the sentence is about the car


def number(name: str, what: str) -> torch.Tensor:
    """As `value`, as a tensor."""
    return torch.as_tensor(value(name, what))
