"""Formulas read off the code: what a function that is linear in a signal and in a filter does with letters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Bilinear = Callable[[Tensor, Tensor], Tensor]
"""(signal (N,), kernel (K,)) -> (M,), linear in both."""


def spelled(function: Bilinear, signal: str, kernel: str) -> list[str]:
    """The formula of every output, such as ``az + bx``: one letter for each value of the signal and of the kernel.

    Each product of a letter of the one and a letter of the other is found by giving 1 for these two and 0 for all
    others, so the formulas are what the function does, not what we believe that it does.

    Raises:
        ValueError: a product comes with another factor than 0 or 1, which letters cannot say.
    """
    ones, taps = torch.eye(len(signal)), torch.eye(len(kernel))
    terms: list[list[str]] = []
    for a, one in zip(signal, ones, strict=True):
        for x, tap in zip(kernel, taps, strict=True):
            factors = function(one, tap)
            if not bool(((factors == 0) | (factors == 1)).all()):
                raise ValueError(f"{a}{x} comes with the factors {factors.tolist()}")
            terms = terms or [[] for _ in factors]
            for place in factors.nonzero()[:, 0].tolist():
                terms[place].append(a + x)
    return [" + ".join(own) or "0" for own in terms]


def spelled_matrix(matrix: Tensor, values: Tensor, letters: str) -> list[str]:
    """The rows of a matrix with letters for its values, as ``x y z 0``; other values than these and 0 as numbers."""
    names = {0.0: "0", **dict(zip(values.tolist(), letters, strict=True))}
    return [" ".join(names.get(value, f"{value:g}") for value in row) for row in matrix.tolist()]
