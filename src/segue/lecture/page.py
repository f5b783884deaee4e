"""What a page of the lecture is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

Value = int | float | str | Tensor

PRINTED = 0.005
"""A number agrees with its slide where it differs by no more: slides print two decimals."""


@dataclass(frozen=True)
class Figure:
    """A picture that the code made.

    Attributes:
        image: the picture.
        caption: what is to be seen in it.
    """

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Number:
    """A number, some text or a matrix that the code computed.

    Attributes:
        what: it is.
        value: as computed.
        slide: as the slide prints it; None where it prints nothing.
    """

    what: str
    value: Value
    slide: Value | None = None

    @property
    def agrees(self) -> bool:
        """Whether it is what the slide prints, to the printed digits."""
        if self.slide is None or isinstance(self.value, str) or isinstance(self.slide, str):
            return self.slide is None or self.value == self.slide
        value, slide = torch.as_tensor(self.value).double(), torch.as_tensor(self.slide).double()
        return value.shape == slide.shape and bool(((value - slide).abs() <= PRINTED + 1e-9).all())


@dataclass(frozen=True)
class TryIt:
    """One thing to change.

    Attributes:
        command: for a shell.
        see: what to change in it, and what to look for.
    """

    command: str
    see: str


@dataclass(frozen=True)
class Page:
    """A topic of the lecture.

    Attributes:
        title: of the topic.
        question: that the slide asks.
        answer: paragraphs with empty lines between; `code` between backticks.
        figures: made by the code.
        numbers: computed by the code.
        module: where in the package it is implemented, such as ``segue.ops.upsample``.
        test: that proves it, such as ``tests/ops/test_upsample.py::test_name``.
        try_it: one thing to change and see.
    """

    title: str
    question: str
    answer: str
    figures: tuple[Figure, ...]
    numbers: tuple[Number, ...]
    module: str
    test: str
    try_it: TryIt
