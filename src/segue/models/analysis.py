"""What a network that scores pixels can see, and what it costs: the lecture's two problems, measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from segue.errors import UsageError
from segue.models.densecap import DenseCap
from segue.models.probe import LONGEST, USUAL, Probe, round_up, side_multiple, without_norms
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork

HELD = 0.95
"""Share of the gradient that lies in the effective field."""


class HasNetwork(Protocol):
    """A model around a network, such as a predictor."""

    @property
    def network(self) -> nn.Module:
        """The network."""


@dataclass(frozen=True)
class StageCost:
    """What is computed at one resolution.

    Attributes:
        stride: pixels of the picture from one value of its maps to the next; the picture's height for a map that has
            the same size whatever the picture's.
        multiply_adds: of convolutions, transposed convolutions and matrix products.
        activations: values that these put out, as Radosavovic et al. (2020) count; in training they are all kept.
    """

    stride: int
    multiply_adds: int
    activations: int


@dataclass(frozen=True)
class Cost:
    """What one picture costs.

    Attributes:
        size: (height, width) of the padded picture.
        parameters: trained values of the network.
        stages: by stride, finest first.
    """

    size: tuple[int, int]
    parameters: int
    stages: tuple[StageCost, ...]

    @property
    def multiply_adds(self) -> int:
        """Of all stages."""
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def activations(self) -> int:
        """Of all stages; four bytes each in float32."""
        return sum(stage.activations for stage in self.stages)

    def __str__(self) -> str:
        h, w = self.size
        rows = [(f"stride {s.stride}", s.multiply_adds, s.activations) for s in self.stages]
        rows.append(("together", self.multiply_adds, self.activations))
        lines = [f"  {name:10} {adds / 1e9:9.3f} G multiply-adds {4 * v / 1e6:9.1f} MB" for name, adds, v in rows]
        return "\n".join([f"{self.parameters / 1e6:.2f} M parameters; a picture of {w}x{h} px costs", *lines])


@dataclass(frozen=True)
class ReceptiveField:
    """What one output pixel sees.

    Attributes:
        theoretical: (height, width) in pixels of the smallest box around every pixel that can change an output, the
            largest over all positions; None on an axis where a pixel reaches the edges of a picture of ``FAR`` pixels.
        effective: side in pixels of the smallest square that holds 95 % of ``gradient``; 0 where there is none, as in
            a network whose scores start at zero.
        stride: input pixels from one output pixel to the next.
        gradient: (H, W) float32, mean over inputs of |d output / d input| for the central output pixel.
        cost: what a picture costs, resolution by resolution.
    """

    theoretical: tuple[int | None, int | None]
    effective: int
    stride: int
    gradient: Tensor
    cost: Cost

    def __str__(self) -> str:
        height, width = ("all" if side is None else str(side) for side in self.theoretical)
        what = f"an output, one every {self.stride} px, sees {width}x{height} px"
        return f"{what}; 95 % of the gradient within {self.effective} px\n{self.cost}"


def receptive_field(
    model: nn.Module | HasNetwork, inputs: int = 8, size: tuple[int, int] = (360, 480)
) -> ReceptiveField:
    """The theoretical and the effective receptive field, and the cost.

    Theoretical: a row (then a column) of the picture is spoilt with NaN, which no convolution, pooling or resizing can
    hide; the outputs that become NaN are those that depend on it. Row after row, until what they reach repeats itself
    shifted: networks of this kind commute with shifts by the stride of their coarsest map. Nothing else is assumed of
    weights or graph. Two rules are added: statistics that normalisation layers take over a picture do not count, and
    max unpooling spreads a value over its whole window, since where it lands depends on all of the window.

    Effective: Luo et al. (2016), section 4: gradients of the central output, in a random mixture of its channels, on
    white noise. Where the theoretical field is the whole picture, the picture has about 256 pixels a side.

    Args:
        model: maps pictures (1, 3, H, W) to (1, K, h, w), sides being multiples of its stride if it is a
            `DenseNetwork`. It is left as it is.
        inputs: random pictures for the effective field.
        size: (height, width) of the picture whose cost is counted.

    Raises:
        UsageError: the network takes no picture, has an output of fixed size, or finds objects.
    """
    network = pixel_network(model)
    probe = Probe.of(without_norms(deepcopy(network)).to("cpu", torch.float64))
    height, width = probe.field(2), probe.field(3)
    field = max(height or USUAL, width or USUAL)
    multiple = side_multiple(network)
    side = round_up(field + 2 * multiple, multiple)
    gradient = _gradient(deepcopy(network).eval().requires_grad_(False).float(), side, inputs)
    return ReceptiveField((height, width), smallest_square(gradient), probe.stride, gradient, cost(model, size))


def cost(model: nn.Module | HasNetwork, size: tuple[int, int]) -> Cost:
    """Multiply-adds and activations for a picture of ``size`` (height, width), padded to the network's stride.

    Runs on PyTorch's meta device, which knows only shapes: no memory, no time. A network whose graph depends on values
    runs once on the CPU instead.

    Raises:
        UsageError: the network finds objects.
    """
    network = pixel_network(model)
    multiple = side_multiple(network)
    height, width = round_up(size[0], multiple), round_up(size[1], multiple)
    taller = height + math.lcm(multiple, LONGEST)  # how much a map grows with the picture tells its stride
    calls, twins = _record(network, (height, width)), _record(network, (taller, width))
    stages: dict[int, list[_Product]] = defaultdict(list)
    for call, twin in zip(calls, twins, strict=True):
        grown = twin.height - call.height
        stages[round((taller - height) / grown) if grown else height].append(call)
    parameters = sum(p.numel() for p in network.parameters())
    totals = (StageCost(s, sum(c.multiply_adds for c in of), sum(c.values for c in of)) for s, of in stages.items())
    return Cost((height, width), parameters, tuple(sorted(totals, key=lambda stage: stage.stride)))


def multiply_adds(function: Callable[..., Any], *inputs: Any) -> int:
    """Of the convolutions, transposed convolutions and matrix products of a call, counted as it runs."""
    counter = _CountProducts(0)
    with torch.no_grad(), counter:
        function(*inputs)
    return sum(call.multiply_adds for call in counter.calls)


def pixel_network(model: nn.Module | HasNetwork) -> nn.Module:
    """The network inside a model that maps (B, 3, H, W) to (B, K, h, w); raises `UsageError` for one of regions."""
    network = model if isinstance(model, nn.Module) else model.network
    if isinstance(network, RegionNetwork | DenseCap):
        raise UsageError("a network that finds objects scores no pixels", cure="use a semantic model")
    return network.body if isinstance(network, SemanticNetwork) else network


def smallest_square(density: Tensor, share: float = HELD) -> int:
    """Side of the smallest square, anywhere in a non-negative map (H, W), that holds a share of its sum; 0 of zeros."""
    sums = F.pad(density.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    if sums[-1, -1] == 0:
        return 0
    low, high = 1, min(density.shape)
    while low < high:
        s = (low + high) // 2
        inside = sums[s:, s:] - sums[:-s, s:] - sums[s:, :-s] + sums[:-s, :-s]
        low, high = (low, s) if bool(inside.max() >= share * sums[-1, -1]) else (s + 1, high)
    return low


class _Product(NamedTuple):
    """One convolution or matrix product: height of its map, multiply-adds, values that it puts out."""

    height: int
    multiply_adds: int
    values: int


class _CountProducts(TorchDispatchMode):
    """Notes every product."""

    def __init__(self, height: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.height = height  # of the latest map: matrices have none
        self.calls: list[_Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if func is aten.convolution.default:
            # Every value of one side meets one filter: weight (that side's channels, other channels / groups, k, k).
            transposed, one_filter = args[6], args[1][0]
            places = (args[0] if transposed else result).numel()
            self.height = result.shape[2]
            self.calls.append(_Product(self.height, places * one_filter.numel(), result.numel()))
        elif func in (aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default):
            self.calls.append(_Product(self.height, result.numel() * args[-2].shape[-1], result.numel()))
        return result


def _record(network: nn.Module, size: tuple[int, int]) -> list[_Product]:
    """The products for a picture."""
    kind = next((p.dtype for p in network.parameters()), torch.float32)
    try:
        return _products(_on_meta(network), torch.empty(1, 3, *size, dtype=kind, device="meta"))
    except (NotImplementedError, RuntimeError):  # an operation without shape rule, or one that reads values
        return _products(deepcopy(network).cpu(), torch.zeros(1, 3, *size, dtype=kind))


def _products(network: nn.Module, picture: Tensor) -> list[_Product]:
    counter = _CountProducts(picture.shape[2])
    with torch.no_grad(), counter:
        network.eval()(picture)
    return counter.calls


def _on_meta(network: nn.Module) -> nn.Module:
    """A copy that holds shapes instead of values."""
    shapes: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in network.parameters()}
    shapes |= {id(b): b.to("meta") for b in network.buffers()}
    return deepcopy(network, shapes)  # deepcopy takes for copied what the memo holds


def _gradient(network: nn.Module, side: int, inputs: int) -> Tensor:
    """(side, side) mean of |d output / d input| over noise pictures, summed over the picture's channels."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    chance = torch.Generator().manual_seed(0)
    total = torch.zeros(side, side)
    for _ in range(inputs):
        picture = torch.randn(1, 3, side, side, generator=chance).to(device).requires_grad_()
        scores = network(picture)
        middle = scores[0, :, scores.shape[2] // 2, scores.shape[3] // 2]
        mixture = torch.randn(len(middle), generator=chance).to(device)
        (gradient,) = torch.autograd.grad(middle @ mixture, picture)
        total += gradient[0].abs().sum(0).cpu()
    return total / inputs
