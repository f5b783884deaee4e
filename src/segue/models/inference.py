"""From the network that was trained to the one that is used: the same numbers, faster.

Models and tasks know nothing of it: norms go into the convolutions before them, ReLUs and shortcuts into the call, and
layers that multiply get the number format asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, TypeGuard, get_args

import torch
from torch import Tensor, nn

from segue.errors import UsageError
from segue.nn.fused import FusedBlock, FusedConv
from segue.nn.norm import FrozenBatchNorm
from segue.nn.quantised import AVAILABLE
from segue.nn.resnet import BasicBlock, Bottleneck

Speed = Literal["exact", "fast", "int8"]

MULTIPLYING = nn.Linear, nn.ConvTranspose2d
WORTHWHILE = 1 << 16
"""With fewer weights, a layer on a CPU is faster in 32 bits."""
PARTICULAR = nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d, nn.RNNBase, nn.MultiheadAttention
"""Layers that keep 32 bits, and take nothing else."""


def number_format(speed: str, device: torch.device) -> torch.dtype:
    """What to multiply in: 32 bits for the numbers as trained, else the 16 bits that the device is good at.

    For ``int8`` it is the format of what `segue.models.quantised` leaves alone.

    A processor without bfloat16 stays with 32 bits, and a warning says so.

    Raises:
        UsageError: there is no such speed.
    """
    if speed not in get_args(Speed):
        raise UsageError(f"no speed {speed!r}", where="--speed", cure=f"use {' or '.join(get_args(Speed))}")
    if speed == "exact":
        return torch.float32
    if device.type != "cpu":
        return torch.float16
    if multiplies_bfloat16():
        return torch.bfloat16
    warnings.warn("this processor does not multiply bfloat16: fast is exact here", stacklevel=2)
    return torch.float32


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for that; without, it is slower than 32 bits."""
    return any(capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def multiplies_int8() -> bool:
    """Whether the processor has instructions for that (VNNI or AMX), and torch the layers."""
    return AVAILABLE and any(capabilities().get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def capabilities() -> dict[str, Any]:
    """What the processor can do, by name; nothing where an older torch does not say."""
    said: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return said


def optimise(network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Bring a network, in place, into the form in which it only predicts.

    Args:
        network: in evaluation mode, on its device.
        dtype: of convolutions and fully connected layers; other layers keep theirs.
    """
    for name, child in list(network.named_children()):
        network.register_module(name, _inferring(child, dtype))


def is_optimised(network: nn.Module) -> bool:
    """Whether `optimise` was here, at whatever speed: its layers can be neither trained nor exported."""
    return any(isinstance(module, FusedConv) for module in network.modules())


def _inferring(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The form of one module."""
    if isinstance(module, BasicBlock | Bottleneck) and all(folds(norm) for _, norm in pairs_of(module)):
        convolutions = [fused(convolution, norm, True, dtype) for convolution, norm in pairs_of(module)]
        return FusedBlock(convolutions, _inferring(module.shortcut, dtype))
    if type(module) is nn.Sequential:
        return nn.Sequential(*_merged(list(module), dtype))
    if plain(module):
        return fused(module, None, False, dtype)
    if type(module) in MULTIPLYING and pays(module):
        module.to(dtype)
    if dtype != torch.float32 and isinstance(module, (*MULTIPLYING, *PARTICULAR)):
        module.register_forward_pre_hook(_in_its_format)
    optimise(module, dtype)
    return module


def pays(layer: nn.Module) -> bool:
    """Whether a layer is faster in 16 bits: on a CPU small fully connected ones, as of language models, are slower."""
    weight = next(layer.parameters())
    return not isinstance(layer, nn.Linear) or weight.device.type != "cpu" or weight.numel() >= WORTHWHILE


def _in_its_format(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """A layer's input in the number format of its weights."""
    dtype = next(module.parameters()).dtype
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in given)


def _merged(layers: list[nn.Module], dtype: torch.dtype) -> Iterator[nn.Module]:
    """The layers of a chain; a norm and a ReLU behind a convolution become part of it, and the identity instead."""
    i = 0
    while i < len(layers):
        layer, after = layers[i], layers[i + 1 :]
        if not plain(layer):
            yield _inferring(layer, dtype)
            i += 1
            continue
        norm = next(iter(after), None)
        norm = norm if norm is not None and folds(norm) else None
        relu = isinstance(next(iter(after[norm is not None :]), None), nn.ReLU)
        yield fused(layer, norm, relu, dtype)
        merged = (norm is not None) + relu
        yield from (nn.Identity() for _ in range(merged))
        i += 1 + merged


def fused(layer: nn.Conv2d, norm: nn.Module | None, relu: bool, dtype: torch.dtype) -> FusedConv:
    """A convolution and what comes after it; large kernels stay in 32 bits: see `segue.nn.dense.recurrent`."""
    return FusedConv(layer, norm, relu, torch.float32 if max(layer.kernel_size) > 7 else dtype)


def pairs_of(block: BasicBlock | Bottleneck) -> list[tuple[nn.Conv2d, nn.Module]]:
    """The convolutions of a residual block, each with its norm."""
    pairs = [(block.conv1, block.norm1), (block.conv2, block.norm2)]
    return [*pairs, (block.conv3, block.norm3)] if isinstance(block, Bottleneck) else pairs


def folds(norm: nn.Module) -> bool:
    """Whether a norm is the same scale and shift for every picture."""
    if isinstance(norm, nn.BatchNorm2d):
        return norm.running_mean is not None and norm.affine
    return isinstance(norm, FrozenBatchNorm)


def plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether this is a convolution that `FusedConv` can be."""
    if type(module) is not nn.Conv2d:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)
