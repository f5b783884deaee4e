"""Layers for inference that multiply 8-bit integers, through oneDNN's quantised convolution in torch.

`segue.models.quantised` measures the ranges and puts these in the place of `FusedConv` and `FusedBlock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segue.nn.fused import FusedConv, output_size

AVAILABLE = hasattr(torch.ops.onednn, "qconv2d_pointwise")
"""Whether this torch has the convolution; like that of `segue.nn.fused` it has no public name."""

BLOCK = 2**16
"""So many values go through all steps of `Scale.quantise` before the next do: they stay in the cache."""


@dataclass(frozen=True)
class Scale:
    """What 8 bits stand for: ``step * (value - zero)``, for values from 0 to 255."""

    step: float
    zero: int

    def quantise(self, x: Tensor) -> Tensor:
        """Numbers (B, C, H, W) -> uint8, channels last; what is out of range becomes the nearest that is not."""
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x, dtype=torch.int8)
        shift = torch.full((1,), self.zero - 128.0, device=x.device)  # torch casts to int8 three times faster
        for values, place in zip(torch.split(_rows(x), BLOCK), torch.split(_rows(out), BLOCK), strict=True):
            place.copy_(torch.add(shift, values, alpha=1 / self.step).round_().clamp_(-128, 127))
        return out.view(torch.uint8).add_(128)  # modulo 256

    def restore(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Of uint8 the numbers."""
        return x.to(dtype).sub_(self.zero).mul_(self.step)


class QuantisedConv(nn.Module):
    """A `FusedConv` in 8 bits: a scale for each output channel's weights, one for what comes in.

    Attributes:
        given: scale of the input; uint8 is taken as it is, numbers are quantised.
        out: scale in which the result leaves as uint8; None for numbers in the format of the layer replaced.
        added: scale of the uint8 that is added before the ReLU, whose memory the result takes.
    """

    step: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(self, layer: FusedConv, given: Scale, out: Scale | None = None, added: Scale | None = None) -> None:
        super().__init__()
        self.given, self.out, self.added = given, out, added
        self.dtype, self.kernel = layer.weight.dtype, tuple(layer.weight.shape[2:])
        self.relu, self.channels, self.groups = layer.relu, len(layer.weight), layer.groups
        self.stride, self.padding, self.dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
        weight = (layer.weight.to_dense() if layer.weight.is_mkldnn else layer.weight).float()
        step = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
        whole = (weight / step[:, None, None, None]).round().to(torch.int8)
        self.register_buffer("step", step)
        self.register_buffer("zeros", torch.zeros(self.channels, dtype=torch.int64))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.float())
        prepack: Any = torch.ops.onednn.qconv_prepack
        shape = self.stride, self.padding, self.dilation, self.groups
        self.packed = prepack(whole.contiguous(), step, given.step, given.zero, *shape, None)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, C, H, W), and uint8 to add (B, O, H', W'), which is overwritten -> (B, O, H', W')."""
        if not x.numel():
            size = output_size(x.shape[2:], self.kernel, self.stride, self.padding, self.dilation)
            return x.new_empty(len(x), self.channels, *size, dtype=self.dtype if self.out is None else torch.uint8)
        x = x if x.dtype == torch.uint8 else self.given.quantise(x)
        out = self.out or Scale(1.0, 0)
        layer = x, self.given.step, self.given.zero, self.packed, self.step, self.zeros
        shape = self.bias, self.stride, self.padding, self.dilation, self.groups, out.step, out.zero
        dtype = self.dtype if self.out is None else torch.uint8
        call: Any = torch.ops.onednn.qconv2d_pointwise
        if residual is None or self.added is None:
            result: Tensor = call(*layer, *shape, dtype, "relu" if self.relu else "none", [], "")
        else:
            added, relu = (self.added.step, self.added.zero), "relu" if self.relu else None
            result = call.binary(*layer, residual, *shape, dtype, *added, "sum", 1.0, relu, [], "")
        return result


class QuantisedBlock(nn.Module):
    """A residual block that reads numbers or uint8 and gives uint8; uint8 that it is given may be overwritten."""

    def __init__(self, convolutions: Sequence[QuantisedConv], shortcut: nn.Module) -> None:
        super().__init__()
        self.convolutions, self.shortcut = nn.ModuleList(convolutions), shortcut
        self.given = convolutions[0].given

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H / stride, W / stride) uint8."""
        x = x if x.dtype == torch.uint8 else self.given.quantise(x)
        *others, last = self.convolutions
        y = x
        for convolution in others:
            y = convolution(y)
        out: Tensor = last(y, self.shortcut(x))
        return out


class Restored(nn.Module):
    """From uint8 back to numbers."""

    def __init__(self, scale: Scale, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale, self.dtype = scale, dtype

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.scale.restore(x, self.dtype)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) in channels-last memory as one row, in the order of memory."""
    return x.permute(0, 2, 3, 1).reshape(-1)
