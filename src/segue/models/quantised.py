"""From the form for inference to one that multiplies 8-bit integers, by what a few pictures look like inside.

Weights have a scale for every output channel (symmetric), what layers read has one for all, found by looking at the
pictures: the one that loses least (mean squared error). Residual blocks stay in 8 bits from end to end, and those of a
pyramid's trunk hand them on. Elsewhere a layer is worth it where every value that it rounds is read often: 3x3 and
larger. First layers and the last ones of heads, which are 1x1 or narrow, so keep their format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segue.nn.fused import FusedBlock, FusedConv
from segue.nn.quantised import QuantisedBlock, QuantisedConv, Restored, Scale
from segue.nn.trunk import Trunk

NARROW = 16
"""With fewer channels on a side a layer outside of blocks keeps its format."""

DRAWN = 4096
"""So many values of every tensor are kept of each picture."""

SHARES = torch.linspace(0.3, 1.0, 36)
"""Shares of the whole range that are tried."""


@dataclass
class Seen:
    """What was seen of one tensor: every so-many-th value of each picture, and its ends."""

    values: list[Tensor] = field(default_factory=list)
    low: float = 0.0
    high: float = 0.0

    def add(self, x: Tensor) -> None:
        """Remember a tensor (B, C, H, W)."""
        if not x.numel():
            return
        flat = x.detach().permute(0, 2, 3, 1).reshape(-1)
        step = max(1, len(flat) // DRAWN) | 1  # odd, so that all channels have their turn
        self.values.append(flat[::step].float())
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def scale(self) -> Scale:
        """The range around 0 that loses least of the values drawn."""
        values = torch.cat(self.values)
        steps = ((self.high - self.low) * SHARES / 255).clamp(min=1e-12)
        zeros = (-self.low * SHARES / steps).round()
        errors = [
            ((values / step + zero).round().clamp(0, 255) - zero).mul(step).sub(values).square().mean()
            for step, zero in zip(steps, zeros, strict=True)
        ]
        best = int(torch.stack(errors).argmin())
        return Scale(float(steps[best]), int(zeros[best]))


class Ranges:
    """What was seen of the inputs of every fused layer, of what was added in it, and of what blocks gave."""

    def __init__(self) -> None:
        self.given: dict[nn.Module, Seen] = {}
        self.added: dict[nn.Module, Seen] = {}
        self.left: dict[nn.Module, Seen] = {}

    def __contains__(self, module: nn.Module) -> bool:
        return bool(self.given[module].values)


def calibrate(network: nn.Module, look: Callable[[], Any]) -> Ranges:
    """The ranges inside a network in its form for inference while ``look`` shows it pictures."""
    ranges, hooks = Ranges(), []

    def read(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        for table, x in zip((ranges.given, ranges.added), given, strict=False):
            table[module].add(x)

    def leave(module: nn.Module, _: Any, out: Tensor) -> None:
        ranges.left[module].add(out)

    for module in network.modules():
        if isinstance(module, FusedConv):
            ranges.given[module], ranges.added[module] = Seen(), Seen()
            hooks.append(module.register_forward_pre_hook(read))
        elif isinstance(module, FusedBlock):
            ranges.left[module] = Seen()
            hooks.append(module.register_forward_hook(leave))
    try:
        look()
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def quantise(network: nn.Module, ranges: Ranges) -> None:
    """Bring a network, in place, from its form for inference into 8 bits; layers that saw nothing stay as they are."""
    for name, child in list(network.named_children()):
        network.register_module(name, _quantised(child, ranges))


def _quantised(module: nn.Module, ranges: Ranges) -> nn.Module:
    """The form of one module."""
    if isinstance(module, Trunk):
        _trunk(module, ranges)
    if isinstance(module, nn.Sequential) and len(module) and all(isinstance(layer, FusedBlock) for layer in module):
        return _stage(module, ranges, restored=True)
    if isinstance(module, FusedConv):
        return _layer(module, ranges) if _worth_it(module, ranges) else module
    quantise(module, ranges)
    return module


def _trunk(trunk: Trunk, ranges: Ranges) -> None:
    """Its stages, whose only readers are each other and the pyramid's lateral layers, keep to 8 bits between them."""
    stages, laterals = trunk.backbone.stages, trunk.pyramid.lateral
    fits = [isinstance(block, FusedBlock) for stage in stages for block in stage.children()]
    layers = [layer[0] if isinstance(layer, nn.Sequential) else layer for layer in laterals]
    if not all(fits) or not all(isinstance(layer, FusedConv) and layer in ranges for layer in layers):
        return
    for i, (stage, lateral) in enumerate(zip(list(stages), list(laterals), strict=True)):
        stages[i] = _stage(stage, ranges, restored=False)
        if isinstance(lateral, nn.Sequential):
            lateral[0] = _layer(lateral[0], ranges)
        else:
            laterals[i] = _layer(lateral, ranges)


def _stage(stage: nn.Module, ranges: Ranges, restored: bool) -> nn.Sequential:
    """Residual blocks after each other, in the end numbers again or not."""
    blocks: list[Any] = list(stage.children())
    if not all(layer in ranges for block in blocks for layer in block.convolutions):
        return nn.Sequential(*blocks)
    layers: list[nn.Module] = [_block(block, ranges) for block in blocks]
    if restored:
        layers.append(Restored(ranges.left[blocks[-1]].scale(), blocks[-1].convolutions[-1].weight.dtype))
    return nn.Sequential(*layers)


def _block(block: Any, ranges: Ranges) -> QuantisedBlock:
    """One block: every layer gives what the next reads."""
    layers = list(block.convolutions)
    scales = [*(ranges.given[layer].scale() for layer in layers), ranges.left[block].scale()]
    added = ranges.added[layers[-1]].scale()
    ends = [None] * (len(layers) - 1) + [added]
    convolutions = [QuantisedConv(*parts) for parts in zip(layers, scales[:-1], scales[1:], ends, strict=True)]
    shortcut = block.shortcut
    if isinstance(shortcut, nn.Sequential):
        first: Any = shortcut[0]
        shortcut = nn.Sequential(QuantisedConv(first, scales[0], added), *list(shortcut)[1:])
    return QuantisedBlock(convolutions, shortcut)


def _layer(layer: Any, ranges: Ranges) -> QuantisedConv:
    """One layer that gives numbers."""
    return QuantisedConv(layer, ranges.given[layer].scale())


def _worth_it(layer: FusedConv, ranges: Ranges) -> bool:
    """Whether a layer that stands alone gains from it."""
    outputs, inputs, *kernel = layer.weight.shape
    return layer in ranges and min(outputs, inputs) >= NARROW and 3 <= max(kernel) <= 7
