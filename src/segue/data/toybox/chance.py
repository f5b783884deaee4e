"""Random numbers that are the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from segue.data.toybox.arrays import Floats, Floats32

T = TypeVar("T")


class Dice:
    """Draws from the raw bits of PCG64. NumPy promises to keep these, but not what its `Generator` makes of them.

    Args:
        seed: any non-negative numbers.
    """

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def unit(self) -> float:
        """A number in [0, 1)."""
        return float(int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """A whole number in low to high, both included."""
        return low + int(self.unit() * (high + 1 - low))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[self.whole(0, len(options) - 1)]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One of the options, each as likely as its weight says."""
        mark = self.unit() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            mark -= weight
            if mark < 0:
                return option
        return options[-1]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All options in random order."""
        rest = list(options)
        return [rest.pop(self.whole(0, len(rest) - 1)) for _ in range(len(rest))]

    def uniforms(self, *shape: int) -> Floats:
        """Numbers in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        units: Floats = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return units.reshape(shape)

    def noise(self, *shape: int) -> Floats32:
        """Nearly normal numbers of mean 0 and deviation 1: sums of four bytes, which every machine rounds alike."""
        count = int(np.prod(shape))
        bytes_ = self._bits.random_raw(-(-count // 2)).astype("<u8", copy=False).view(np.uint8)
        quads = bytes_.reshape(-1, 4)
        sums = quads[:, 0].astype(np.uint16) + quads[:, 1] + quads[:, 2] + quads[:, 3]
        spread = np.float32(np.sqrt(4 * (256**2 - 1) / 12))
        return ((sums[:count] - np.float32(510)) / spread).reshape(shape)
