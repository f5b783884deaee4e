"""How far one pixel reaches in any network, found by spoiling it and looking where the output is spoilt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from segue.errors import SegueError, UsageError
from segue.nn.dense import DenseNetwork

FAR = 2048
"""Side of the picture on which it is looked how far one line of pixels reaches: beyond, it is taken to reach all."""

LONGEST = 64
"""Lines after which a network is taken to repeat itself, if it did not before."""

USUAL = 256
"""Side of the noise pictures where an output sees the whole picture."""

WHOLE_PICTURE_NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)


@dataclass(frozen=True)
class Probe:
    """A network prepared for spoilt pictures.

    Attributes:
        network: in float64 on the CPU, without norms.
        stride: input pixels from one output pixel to the next.
        multiple: what sides must be multiples of, so that maps of every resolution have whole sizes.
        narrowest: the smallest side that the network takes.
    """

    network: nn.Module
    stride: int
    multiple: int
    narrowest: int

    @staticmethod
    def of(network: nn.Module) -> Probe:
        """Find out how the output's size follows the input's."""
        multiple = side_multiple(network)
        narrowest = _narrowest(network, multiple)
        side = round_up(USUAL, multiple)
        small, large = (_output(network, _noise(s, narrowest, 2)).shape[2] for s in (side, 2 * side))
        if large == small:
            raise UsageError("the output does not grow with the picture", cure="leave out the pooling of everything")
        return Probe(network, max(1, round(side / (large - small))), math.lcm(multiple, LONGEST), narrowest)

    def field(self, axis: int) -> int | None:
        """The extent along an axis; None where one line reaches the edges of a picture of ``FAR`` pixels."""
        side = round_up(FAR, self.multiple)
        far = self._reached(side, axis, side // 2)
        if far is None:
            return None
        ends = far.nonzero()
        reach = self.stride * (int(ends.max() - ends.min()) + 1) if len(ends) else 0
        side = round_up(reach, self.multiple) + self.multiple
        while side <= 2 * FAR:
            lines = self._period(side, axis)
            if lines is not None:
                return _extent(lines, self.stride)
            side += round_up(reach, self.multiple)  # without padding, a field is lost at the edges
        return None

    def _period(self, side: int, axis: int) -> Tensor | None:
        """(lines, outputs along the axis) bool: what central lines reach, as many as make a period; None as below."""
        lines: list[Tensor] = []
        for count in range(LONGEST):
            reached = self._reached(side, axis, side // 2 + count)
            if reached is None:
                return None
            if count and count % self.stride == 0 and _same(lines[0].roll(count // self.stride), reached):
                break
            lines.append(reached)
        return torch.stack(lines)

    def _reached(self, side: int, axis: int, line: int) -> Tensor | None:
        """(outputs along the axis,) bool: those that depend on a line of pixels; None if one of them is at an edge.

        The picture is as narrow as the network takes, since the other axis does not matter.
        """
        picture = _noise(side, self.narrowest, axis)
        picture.select(axis, line).fill_(torch.nan)
        spoilt = _output(self.network, picture).isnan().any(1).any(4 - axis)[0]
        return None if spoilt[0] or spoilt[-1] else spoilt


def _same(some: Tensor, others: Tensor) -> bool:
    return bool(some.any()) and torch.equal(some, others)


def _extent(lines: Tensor, stride: int) -> int:
    """The largest span of lines that reach one output, from a whole period of lines: (lines, outputs) bool."""
    period = len(lines)
    outputs = period // stride
    line, output = lines.nonzero().T
    place = line - output // outputs * period  # as if each output were in the first period
    spans = [place[output % outputs == phase] for phase in range(outputs)]
    return max((int(span.max() - span.min()) + 1 for span in spans if len(span)), default=0)


class _Spreading(TorchFunctionMode):
    """NaN goes exactly where a value would matter.

    Max unpooling gives every pixel of a window the pooled value. Nothing leaves float64, for which there are no
    convolutions by Winograd's tiles, in which a NaN spreads farther than the filter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pooled: dict[int, tuple[Tensor, Tensor]] = {}  # by the place of its indices: what was pooled, and these

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            return args[0].double()
        result = func(*args, **(kwargs or {}))
        if func is F.max_pool2d_with_indices:
            self.pooled[result[1].data_ptr()] = args[0], result[1]  # kept, so that no other tensor takes the place
        if func is F.max_unpool2d:
            return F.interpolate(args[0], result.shape[-2:])
        if func is Tensor.scatter and args[2].data_ptr() in self.pooled:
            fine, indices = self.pooled[args[2].data_ptr()]
            return F.interpolate(args[3].view_as(indices), fine.shape[-2:]).view_as(result)
        return result


def without_norms(network: nn.Module) -> nn.Module:
    """The network in evaluation, its normalisation layers taken out."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, WHOLE_PICTURE_NORMS):
            network.set_submodule(name, nn.Identity())
    return network.eval()


def side_multiple(network: nn.Module) -> int:
    """What sides of pictures must be multiples of."""
    return network.stride if isinstance(network, DenseNetwork) else 1


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple


def _narrowest(network: nn.Module, multiple: int) -> int:
    """The smallest power of two times ``multiple`` that the network takes as a side."""
    side, why = multiple, "it gives nothing"
    while side <= FAR:
        try:
            if _output(network, _noise(side, side, 2)).numel():
                return side
        except (RuntimeError, ValueError, SegueError) as error:
            why = str(error)
        side *= 2
    raise UsageError(f"the network takes no picture: {why}", cure="it must map (1, 3, H, W) to (1, K, h, w)")


def _output(network: nn.Module, picture: Tensor) -> Tensor:
    with torch.no_grad(), _Spreading():
        output: Tensor = network(picture)
    return output


def _noise(side: int, narrow: int, axis: int) -> Tensor:
    """A picture with ``side`` pixels along an axis. Zeros could become NaN where a network divides by a contrast."""
    size = (side, narrow) if axis == 2 else (narrow, side)
    return torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
