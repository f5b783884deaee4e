"""Which pictures go through a network together: those of one size, as many as pay or as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from segue.errors import UsageError

Batch = int | Literal["auto"]
"""Pictures of equal size that go through the network together; ``auto`` leaves their number to `room_for`."""

ON_CPU = 4, 4 * 256 * 256  # pictures and their pixels: beyond, nothing is gained for sure (docs/speeds.md)
ON_GPU = 16
BYTES_PER_PIXEL = 2048  # on a GPU: a ResNet-50 with a pyramid and its heads holds 1,400 at once

Size = tuple[int, int]
R = TypeVar("R")


def pictures_at_once(size: Size, pictures: int, pixels: int) -> int:
    """How many pictures of ``size`` (height, width): with so many ``pixels`` together, from 1 to ``pictures``."""
    return min(max(pixels // (size[0] * size[1]), 1), pictures)


@dataclass
class Room:
    """What may be in the network at once.

    Attributes:
        pictures: at most.
        pixels: of all together, or None for any number; one picture always has room.
    """

    pictures: int
    pixels: int | None = None

    def count(self, size: Size) -> int:
        """Of pictures that the network sees in ``size`` (height, width)."""
        return self.pictures if self.pixels is None else pictures_at_once(size, self.pictures, self.pixels)

    def halve(self, size: Size, count: int) -> bool:
        """Make do with half of ``count`` pictures of ``size``; False where their number is fixed or 1."""
        if self.pixels is None or count == 1:
            return False
        self.pixels = size[0] * size[1] * (count // 2)
        return True


def room_for(batch: Batch, device: torch.device) -> Room:
    """For so many pictures; or for ``auto`` what pays on a CPU, what half of the free memory takes on a GPU.

    Raises:
        UsageError: ``batch`` is neither.
    """
    if isinstance(batch, int) and batch >= 1:
        return Room(batch)
    if batch != "auto":
        raise UsageError(f"a batch of {batch} pictures", cure="use auto, or 1 or more")
    if device.type != "cuda":
        return Room(*ON_CPU)
    free, _ = torch.cuda.mem_get_info(device)
    return Room(ON_GPU, free // 2 // BYTES_PER_PIXEL)


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
