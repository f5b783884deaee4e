"""Which pictures go through a network together: those of one size, as many as pay or as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from segue.errors import UsageError

Batch = int | Literal["auto"]
"""Pictures of equal size that go through the network together; ``auto`` leaves their number to `Room`."""

MOST = 16  # pictures
PIXELS_ON_CPU = 4 * 256 * 256  # more at once is no faster: docs/speeds.md
BYTES_PER_PIXEL = 2048  # on a GPU, of what a ResNet-50 with a pyramid holds at once: 1,400, and some more

Size = tuple[int, int]
R = TypeVar("R")


def pictures_at_once(size: Size, pixels: int) -> int:
    """How many pictures of ``size`` (height, width) may have ``pixels`` together: from 1 to 16."""
    return min(max(pixels // (size[0] * size[1]), 1), MOST)


def pixels_at_once(device: torch.device) -> int:
    """Of all pictures in the network together: what half of the free memory of a GPU takes, elsewhere what pays."""
    if device.type != "cuda":
        return PIXELS_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2 // BYTES_PER_PIXEL


@dataclass
class Room:
    """How many pictures of a size go together.

    Attributes:
        batch: this many, or as `pictures_at_once` says.
        pixels: of all together, for ``auto``.

    Raises:
        UsageError: ``batch`` is neither.
    """

    batch: Batch
    pixels: int

    def __post_init__(self) -> None:
        if self.batch != "auto" and not (isinstance(self.batch, int) and self.batch >= 1):
            raise UsageError(f"a batch of {self.batch} pictures", cure="use auto, or 1 or more")

    def count(self, size: Size) -> int:
        """Of pictures that the network sees in ``size`` (height, width)."""
        return pictures_at_once(size, self.pixels) if self.batch == "auto" else self.batch

    def halve(self, size: Size, count: int) -> bool:
        """For ``auto``, make do with half of ``count`` pictures of ``size``; False where there is nothing to halve."""
        if self.batch != "auto" or count == 1:
            return False
        self.pixels = size[0] * size[1] * (count // 2)
        return True


def by_size(
    pictures: Iterable[tuple[Tensor, str | None]], count: Callable[[Size], int]
) -> Iterator[list[tuple[int, Tensor, str | None]]]:
    """Pictures (C, H, W) with their files -> batches of equal size, each picture with its place among all.

    A picture waits for others of its size until their ``count`` is reached, or twice as many pictures have come:
    two sizes in turns make full batches, and what is in memory stays bounded.
    """
    waiting: dict[Size, list[tuple[int, Tensor, str | None]]] = {}  # in the order of their first pictures
    for place, (pixels, file) in enumerate(pictures):
        size = (pixels.shape[1], pixels.shape[2])
        waiting.setdefault(size, []).append((place, pixels, file))
        if len(waiting[size]) >= count(size):
            yield waiting.pop(size)
        while waiting:
            oldest = next(iter(waiting))
            if place - waiting[oldest][0][0] < 2 * count(oldest) - 1:
                break
            yield waiting.pop(oldest)
    yield from waiting.values()


def in_order(numbered: Iterable[tuple[int, R]]) -> Iterator[R]:
    """What has a place, from 0 without a gap, each as soon as all before it are there."""
    early: dict[int, R] = {}
    turn = 0
    for place, value in numbered:
        early[place] = value
        while turn in early:
            yield early.pop(turn)
            turn += 1
