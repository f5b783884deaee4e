"""Transposed convolution written out, and convolution as a matrix: what the library computes, in the open.

As in every network library, "convolution" does not flip its filter. All functions are differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor


def transposed_conv1d(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, output_padding: int = 0) -> Tensor:
    """Every input value puts its multiple of the filter into the output, ``stride`` apart; overlaps add up.

    The same as `torch.nn.functional.conv_transpose1d`, without bias, groups and dilation.

    Args:
        x: (..., I, N) channels and values.
        weight: (I, O, K), a filter from every input channel to every output channel.
        stride: steps in the output for one in the input.
        padding: how much is trimmed from both ends.
        output_padding: how much is added to the far end: the places that a trim kept, or else zeros.

    Returns:
        (..., O, M) with M = (N - 1) * stride + K - 2 * padding + output_padding.

    Raises:
        ValueError: the padding leaves nothing.
    """
    copies = torch.einsum("...in,iok->...okn", x, weight)
    return _lay_out(copies, stride, padding, output_padding)


def transposed_conv2d(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, output_padding: int = 0) -> Tensor:
    """As `transposed_conv1d`, on planes (..., I, H, W) with filters (I, O, K, L) -> (..., O, H', W')."""
    copies = torch.einsum("...ihw,iokl->...okhlw", x, weight)
    rows = _lay_out(copies, stride, padding, output_padding)  # (..., O, K, H, W')
    return _lay_out(rows.movedim(-1, -3), stride, padding, output_padding).mT  # (..., O, W', H') turned


def _lay_out(copies: Tensor, stride: int, padding: int, output_padding: int) -> Tensor:
    """Filters (..., K, N), the n-th starting at place n * stride -> their trimmed sum (..., M)."""
    k, n = copies.shape[-2:]
    full = (n - 1) * stride + k + output_padding
    if full <= 2 * padding:
        raise ValueError(f"a padding of {padding} leaves nothing of {full} places")
    place = torch.arange(k, device=copies.device)[:, None] + stride * torch.arange(n, device=copies.device)
    total = copies.new_zeros(*copies.shape[:-2], full).index_add(-1, place.flatten(), copies.flatten(-2))
    return total[..., padding : full - padding]


def conv1d_matrix(kernel: Tensor, length: int, stride: int = 1, padding: int = 0) -> Tensor:
    """The matrix X of a convolution: ``X @ a`` convolves, ``X.T @ b`` is the transposed convolution.

    Padding zeros need no columns, as they add nothing. To see them, pass the padded length and no padding.

    Args:
        kernel: (K,).
        length: of the signal a, N.
        stride: steps in the signal for one in the output.
        padding: zeros at both ends of the signal.

    Returns:
        (M, N) with M = (N + 2 * padding - K) // stride + 1.

    Raises:
        ValueError: the kernel is longer than the padded signal.
    """
    return torch.einsum("mnk,k->mn", _reads(kernel, 0, length, stride, padding), kernel)


def conv2d_matrix(kernel: Tensor, size: tuple[int, int], stride: int = 1, padding: int = 0) -> Tensor:
    """As `conv1d_matrix`, for a kernel (K, L) on a plane of ``size`` (H, W), both planes flattened -> (H'W', HW)."""
    down = _reads(kernel, 0, size[0], stride, padding)
    along = _reads(kernel, 1, size[1], stride, padding)
    return torch.einsum("yhk,xwl,kl->yxhw", down, along, kernel).flatten(2).flatten(0, 1)


def _reads(kernel: Tensor, axis: int, length: int, stride: int, padding: int) -> Tensor:
    """1 where output m reads input n through tap k of this axis of the kernel, else 0: (M, N, K)."""
    taps = kernel.shape[axis]
    outputs = (length + 2 * padding - taps) // stride + 1
    if outputs < 1:
        raise ValueError(f"a kernel of {taps} does not fit into {length + 2 * padding} places")
    start = stride * torch.arange(outputs, device=kernel.device) - padding
    tap = torch.arange(length, device=kernel.device) - start[:, None]  # (M, N)
    return (tap[..., None] == torch.arange(taps, device=kernel.device)).to(kernel)
