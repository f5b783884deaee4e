"""A classifier of patches at every pixel, and the same without repetition."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.images import to_pil
from segue.drawing import contact_sheet, draw_semantic
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import PAIR, blown_up, pixels
from segue.models.analysis import multiply_adds
from segue.nn.sliding_window import Field, SlidingWindow, dilate, receptive_field, shift_and_stitch, surround
from segue.structures import Categories

SIDE = 40
"""Of the picture in pixels."""
CLASSES = Categories.from_names(["one", "two", "three", "four", "five", "six"])


def sliding_window() -> Page:
    """The page."""
    network, picture = classifier(), small_picture()
    x = (picture[None].float() - 127.5) / 64
    field = receptive_field(network)
    around = surround(x, Field(field.size, 1))
    literal, whole = SlidingWindow(network, field.size), dilate(network)
    with torch.no_grad():
        scores = [literal(x), shift_and_stitch(network, around, field), whole(around)]
    costs = [
        multiply_adds(literal, x),
        multiply_adds(lambda: shift_and_stitch(network, around, field)),
        multiply_adds(whole, around),
    ]
    shared = 1 - 1 / field.size
    return Page(
        title="Semantic segmentation by a sliding window",
        question="A network classifies pictures. Can it classify the pixel in the middle of a patch, patch by patch?",
        answer="Yes, and it is a waste: patches of neighbouring pixels share nearly all that is in them, and all of it "
        "is computed again. The same weights run over the whole picture at once give the same scores. Only the "
        "strides need care: either run over shifted copies of the picture and interleave the outputs (Pinheiro & "
        "Collobert), or take the strides away and dilate what comes after them.",
        figures=(
            Figure(two_patches(picture, field.size), "Two patches whose middles are neighbours."),
            Figure(
                label_maps(picture, scores),
                "The class with the highest score, from a network with random weights: patch by patch, by shifted "
                "pictures, dilated. All three are the same.",
            ),
        ),
        numbers=(
            Number("side of a patch", field.size),
            Number("patches, one for each pixel", SIDE * SIDE),
            Number("share of a patch that its neighbour has, too", shared),
            Number("million multiply-adds, patch by patch", costs[0] / 1e6),
            Number(f"million multiply-adds, {field.stride**2} shifted pictures", costs[1] / 1e6),
            Number("million multiply-adds, dilated", costs[2] / 1e6),
            Number("times as many patch by patch as dilated", costs[0] / costs[2]),
            Number("largest difference of a score, shifted", float((scores[0] - scores[1]).abs().max())),
            Number("largest difference of a score, dilated", float((scores[0] - scores[2]).abs().max())),
        ),
        module="segue.nn.sliding_window",
        test="tests/nn/test_sliding_window.py::test_literal_shifted_and_dilated_give_the_same_scores",
        try_it=TryIt(
            'python -c "from torch import nn; from segue.nn.sliding_window import receptive_field as field; '
            'print(field(nn.Sequential(nn.Conv2d(3, 8, 5), nn.MaxPool2d(2), nn.Conv2d(8, 8, 5))))"',
            "Add a pooling: the field and the stride grow, and with the stride the number of shifted pictures.",
        ),
    )


def classifier() -> nn.Sequential:
    """Convolutions and poolings without padding, with random weights; a patch gives one score for each class."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 6), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Conv2d(8, len(CLASSES), 4)).eval()


def small_picture() -> Tensor:
    """(3, SIDE, SIDE) uint8."""
    return F.interpolate(pixels(PAIR)[None].float(), (SIDE, SIDE), mode="area")[0].round().byte()


def two_patches(picture: Tensor, side: int) -> Image.Image:
    """The picture with the patches around two neighbouring pixels."""
    scale = 8
    image = blown_up(to_pil(picture), scale * SIDE)
    pen, first = ImageDraw.Draw(image), (SIDE - side) // 2
    for shift, color in ((0, (255, 64, 84)), (1, (255, 230, 90))):
        left, top = scale * (first + shift), scale * first
        pen.rectangle((left, top, left + scale * side, top + scale * side), outline=color, width=2)
    return image


def label_maps(picture: Tensor, scores: list[Tensor]) -> Image.Image:
    """What the three ways say."""
    image = to_pil(picture)
    maps = [draw_semantic(image, s.argmax(1)[0], CLASSES, 0.8, outline=0) for s in scores]
    return contact_sheet([blown_up(m, 240) for m in maps], 3, ["patch by patch", "shifted", "dilated"])
