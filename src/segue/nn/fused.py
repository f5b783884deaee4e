"""Layers for inference alone: convolution, norm, shortcut and ReLU as one call, weights laid out beforehand.

`segue.models.inference` puts them in the place of the layers that were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.ops.winograd import winograd_conv, winograd_weight

WINOGRAD_CHANNELS = 96
"""With fewer, moving tiles into Winograd's base and back costs more than it saves."""

WINOGRAD_TILES = 32
"""With fewer, reading the weights, four times as many, does."""


ONEDNN = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and torch._C._has_mkldnn


class FusedConv(nn.Module):
    """A convolution with the norm after it folded into its weights, a residual added and a ReLU applied on the way.

    On a CPU it calls oneDNN's fused convolution where this torch has it (``torch.ops.mkldnn``, no public name), and
    computes wide 3x3 layers in 32 bits by Winograd's way; elsewhere plain calls do the same.

    Attributes:
        weight: (O, C / groups, k, k), with the norm in it; of bfloat16 on a CPU in oneDNN's own layout.
        bias: (O,) or None.
        moved: the weight in Winograd's base, (36, C, O), or None where that does not pay.
        relu: clamp the result below at zero.
    """

    weight: Tensor
    bias: Tensor | None
    moved: Tensor | None

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module | None, relu: bool, dtype: torch.dtype) -> None:
        super().__init__()
        c, self.relu = convolution, relu
        self.stride, self.padding, self.dilation, self.groups = _numbers(c)
        weight, bias = folded(c, norm)
        tiled = dtype == torch.float32 and weight.device.type == "cpu" and suits_winograd(c)
        moved = winograd_weight(weight) if tiled else None
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        if dtype == torch.bfloat16 and weight.device.type == "cpu" and ONEDNN:  # in 32 bits it may choose a slow layout
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, c.padding, c.stride, c.dilation, c.groups)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if bias is None else bias.to(dtype))
        self.register_buffer("moved", moved)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, C, H, W), and what to add before the ReLU (B, O, H', W') -> (B, O, H', W')."""
        x = x.to(self.weight.dtype)
        if self.moved is not None and x.shape[0] * (x.shape[2] // 4) * (x.shape[3] // 4) >= WINOGRAD_TILES:
            return winograd_conv(x, self.moved, self.bias, self.relu, residual)
        if ONEDNN and x.device.type == "cpu":
            return self._onednn(x, residual) if x.numel() else self._nothing(x)
        out = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        out = out if residual is None else out.add_(residual)
        return out.relu_() if self.relu else out

    def _nothing(self, x: Tensor) -> Tensor:
        """What comes out where nothing goes in, as of a picture without objects."""
        size = output_size(x.shape[2:], self.weight.shape[2:], self.stride, self.padding, self.dilation)
        return x.new_empty(len(x), self.weight.shape[0], *size)

    def _onednn(self, x: Tensor, residual: Tensor | None) -> Tensor:
        layer = self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        call: Any = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            out: Tensor = call(x, *layer, "relu" if self.relu else "none", [], "")
        else:
            other = residual.to(x.dtype).contiguous(memory_format=torch.channels_last)
            out = call.binary(x, other, *layer, "add", 1.0, "relu" if self.relu else None, [], None)
        return out


class FusedBlock(nn.Module):
    """A residual block of ResNet: its convolutions, the last of which takes the shortcut and the ReLU along."""

    def __init__(self, convolutions: Sequence[FusedConv], shortcut: nn.Module) -> None:
        super().__init__()
        self.convolutions, self.shortcut = nn.ModuleList(convolutions), shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H / stride, W / stride)."""
        *others, last = self.convolutions
        y = x
        for convolution in others:
            y = convolution(y)
        out: Tensor = last(y, self.shortcut(x))
        return out


def folded(convolution: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Weight (O, C, k, k) and bias (O,) that do what a convolution and the norm after it do."""
    weight, bias = convolution.weight.detach(), convolution.bias
    bias = None if bias is None else bias.detach()
    if norm is None:
        return weight, bias
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # type: ignore[operator]
    shift = norm.bias - norm.running_mean * scale  # type: ignore[operator]
    shift = shift if bias is None else shift + bias * scale
    return (weight * scale[:, None, None, None]).detach(), shift.detach()


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Height and width of what a convolution makes of ``size``."""
    numbers = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers)


def suits_winograd(convolution: nn.Conv2d) -> bool:
    """Whether Winograd's way computes this layer, and faster."""
    c = convolution
    fits = c.kernel_size == (3, 3) and _numbers(c) == ((1, 1), (1, 1), (1, 1), 1)
    return fits and min(c.in_channels, c.out_channels) >= WINOGRAD_CHANNELS


def _numbers(c: nn.Conv2d) -> tuple[Any, Any, Any, int]:
    return c.stride, c.padding, c.dilation, c.groups
