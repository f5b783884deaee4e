"""Upsampling without learned weights, and the max pooling that remembers where its values came from.

Everything takes (C, H, W) or (B, C, H, W) and is differentiable. Pixel centres lie at halves: output pixel o of M looks
at the place (o + 0.5) * N / M - 0.5 among N input pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Interpolation = Literal["nearest", "bilinear", "bicubic"]


def bed_of_nails(x: Tensor, factor: int) -> Tensor:
    """(..., H, W) -> (..., factor * H, factor * W): each value in the top left corner of a block of zeros."""
    height, width = x.shape[-2:]
    nails = x.new_zeros(*x.shape[:-2], factor * height, factor * width)
    nails[..., ::factor, ::factor] = x
    return nails


def resize(x: Tensor, size: tuple[int, int], kind: Interpolation) -> Tensor:
    """(..., H, W) -> (..., *size) by the library; also smaller sizes, then without a filter against aliasing."""
    mode = "nearest-exact" if kind == "nearest" else kind  # plain "nearest" counts from the pixel's corner
    resized = F.interpolate(x if x.dim() == 4 else x[None], size, mode=mode)
    return resized if x.dim() == 4 else resized[0]


def resize_by_formula(x: Tensor, size: tuple[int, int], kind: Interpolation) -> Tensor:
    """As `resize`, by the sum over input pixels: f(x, y) = sum over i, j of f(i, j) k(x - i) k(y - j)."""
    rows, columns = (
        interpolation_matrix(length, output, kind).to(x) for length, output in zip(x.shape[-2:], size, strict=True)
    )
    return rows @ x @ columns.mT


def interpolation_matrix(length: int, output: int, kind: Interpolation) -> Tensor:
    """What each of ``output`` pixels takes from each of ``length`` pixels on one axis: (output, length) float64.

    Taps beyond the edge read the edge pixel; rows add up to 1.
    """
    at = (2 * torch.arange(output, dtype=torch.float64) + 1) * length / (2 * output) - 0.5
    taps = at.floor()[:, None] + torch.arange(-1, 3)  # (output, 4), as far as the widest kernel reaches
    weights = KERNELS[kind](at[:, None] - taps)
    matrix = torch.zeros(output, length, dtype=torch.float64)
    return matrix.scatter_add(1, taps.clamp(0, length - 1).long(), weights)


def _box(t: Tensor) -> Tensor:
    return ((t >= -0.5) & (t < 0.5)).to(t.dtype)


def _triangle(t: Tensor) -> Tensor:
    return (1 - t.abs()).clamp(min=0)


def _cubic(t: Tensor, a: float = -0.75) -> Tensor:
    """Cubic convolution (Keys 1981). He shows a = -0.5 to be the most accurate; PyTorch and OpenCV take -0.75."""
    t = t.abs()
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


KERNELS: dict[Interpolation, Callable[[Tensor], Tensor]] = {"nearest": _box, "bilinear": _triangle, "bicubic": _cubic}


def bilinear_kernel(size: int) -> Tensor:
    """The filter with which a transposed convolution interpolates bilinearly: (size, size) float32.

    A filter of 2s with stride s and padding s / 2, s even, does so up to the border, where it fades towards zeros while
    `resize` repeats the edge. The formula is that of FCN's released code (Long et al. 2015, section 3.3).
    """
    reach = (size + 1) // 2
    centre = reach - 1 if size % 2 else reach - 0.5
    line = 1 - (torch.arange(size) - centre).abs() / reach
    return torch.outer(line, line)


def max_pool(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Maxima of ``size`` by ``size`` windows side by side, and where they stood; of equal values the first counts.

    Args:
        x: (..., H, W). Sides need not divide: the last windows are then smaller.
        size: side of a window.

    Returns:
        values (..., ceil(H / size), ceil(W / size)), and for each the int64 index ``row * W + column`` in its plane.
    """
    values, indices = F.max_pool2d(x, size, ceil_mode=True, return_indices=True)
    return values, indices


def max_unpool(x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
    """Put values where a paired `max_pool` found its maxima, zeros elsewhere (Zeiler & Fergus 2014, section 2.1).

    Args:
        x: (..., h, w).
        indices: (..., h, w) int64, from the pooling.
        size: (H, W) of what was pooled, which the indices do not tell.

    Returns:
        (..., H, W).
    """
    plane = x.new_zeros(*x.shape[:-2], size[0] * size[1])
    return plane.scatter(-1, indices.flatten(-2), x.flatten(-2)).view(*x.shape[:-2], *size)
