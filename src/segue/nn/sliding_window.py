"""A classifier of patches at every pixel of a picture: literally, and two ways to the same scores without repetition.

Neighbouring patches share nearly all their pixels, so a network of convolutions without padding does the same work for
each again. Applied to the whole picture it does it once, but only answers at every s-th pixel, s being the product of
its strides. The pixels between come from s x s shifted inputs (Pinheiro & Collobert 2014, section 3.2), or from taking
the strides away and spreading the later kernels out instead (the "hole algorithm"; Long et al. 2015, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.errors import UsageError

ELEMENTWISE = (nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Dropout, nn.Dropout2d, nn.Identity)


class Field(NamedTuple):
    """What a network looks at.

    Attributes:
        size: side in pixels of the square that one output sees.
        stride: pixels from one output's square to the next one's.
    """

    size: int
    stride: int


class SlidingWindow(nn.Module):
    """Cuts out the patch around every pixel and classifies it: the slow way, as a reference.

    Args:
        classifier: patches (N, C, P, P) -> scores (N, K) or (N, K, 1, 1).
        patch: P, in pixels. With an even P the pixel to the lower right of the patch's centre gets the scores.
        chunk: patches at a time, which bounds the memory.
    """

    def __init__(self, classifier: nn.Module, patch: int, chunk: int = 256) -> None:
        super().__init__()
        self.classifier, self.patch, self.chunk = classifier, patch, chunk

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H, W); patches that reach over the edge see zeros there."""
        padded = surround(images, Field(self.patch, 1))
        windows = padded.unfold(2, self.patch, 1).unfold(3, self.patch, 1)  # (B, C, H, W, P, P), a view
        windows = windows.permute(0, 2, 3, 1, 4, 5)
        b, h, w = windows.shape[:3]
        at = torch.arange(b * h * w, device=images.device)
        chunks = (at[i : i + self.chunk] for i in range(0, len(at), self.chunk))
        scores = [self.classifier(windows[i // (h * w), i // w % h, i % w]).flatten(1) for i in chunks]
        return torch.cat(scores).view(b, h, w, -1).permute(0, 3, 1, 2)


def surround(images: Tensor, field: Field) -> Tensor:
    """Zeros around pictures, so that a network without padding gives one output for each cell of ``stride`` pixels.

    The middle of cell i is between two pixels where the stride is even; the output sees the square around the second,
    ``i * stride + stride // 2``, which is the pixel whose label the loss takes. The square of an even size has its
    middle between pixels, too, and again that pixel is the second. With a stride of 1, pixels are the cells.

    Args:
        images: (B, C, H, W), H and W multiples of the stride.
        field: of the network.

    Returns:
        (B, C, H + size - stride, W + size - stride).
    """
    before = field.size // 2 - field.stride // 2
    after = field.size - field.stride - before
    return F.pad(images, (before, after, before, after))


def shift_and_stitch(module: Callable[[Tensor], Tensor], images: Tensor, field: Field) -> Tensor:
    """The output at every position, from stride x stride shifted inputs whose outputs are interleaved.

    Args:
        module: a network without padding, (B, C, h, w) -> (B, K, (h - size) // stride + 1, (w - size) // stride + 1).
        images: (B, C, H, W), at least ``field.size`` on each side.
        field: of the module.

    Returns:
        (B, K, H - size + 1, W - size + 1).
    """
    s = field.stride
    h, w = (side - field.size + 1 for side in images.shape[2:])
    padded = F.pad(images, (0, -w % s, 0, -h % s))  # then every shift has equally many outputs
    rows, columns = (side - s + 1 for side in padded.shape[2:])
    shifted = [module(padded[..., dy : dy + rows, dx : dx + columns]) for dy, dx in product(range(s), range(s))]
    return F.pixel_shuffle(torch.stack(shifted, 2).flatten(1, 2), s)[..., :h, :w]


def receptive_field(network: nn.Sequential) -> Field:
    """What an output of the network sees; raises `UsageError` as `dilate` does."""
    size, stride = 1, 1
    for module in network:
        kernel, step, dilation = _geometry(module)
        size += (kernel - 1) * dilation * stride
        stride *= step
    return Field(size, stride)


def dilate(network: nn.Sequential) -> nn.Sequential:
    """The same function at every position: (B, C, H, W) -> (B, K, H - size + 1, W - size + 1).

    Each stride becomes 1, and the kernels after it are dilated by the product of the strides so far. The new network
    shares the weights of the old one.

    Raises:
        UsageError: a module is neither a convolution or max pooling without padding nor elementwise.
    """
    modules: list[nn.Module] = []
    stride = 1
    for module in network:
        _, step, dilation = _geometry(module)
        twin = copy(module)
        if isinstance(twin, nn.Conv2d):
            twin.stride, twin.dilation = (1, 1), (dilation * stride,) * 2
        elif isinstance(twin, nn.MaxPool2d):
            twin.stride, twin.dilation = 1, dilation * stride
        modules.append(twin)
        stride *= step
    return nn.Sequential(*modules)


def as_convolution(linear: nn.Linear, size: int) -> nn.Conv2d:
    """A layer on flattened (C, size, size) maps as the convolution that gives the same numbers, with copied weights.

    Args:
        linear: C * size * size inputs.
        size: side of the maps.
    """
    channels = linear.in_features // size**2
    convolution = nn.Conv2d(channels, linear.out_features, size, bias=linear.bias is not None)
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.view_as(convolution.weight))
        if convolution.bias is not None:
            convolution.bias.copy_(linear.bias)
    return convolution


def _geometry(module: nn.Module) -> tuple[int, int, int]:
    """Kernel, stride and dilation of a module that keeps to the pixels that there are."""
    if isinstance(module, ELEMENTWISE):
        return 1, 1, 1
    if isinstance(module, nn.Conv2d | nn.MaxPool2d) and module.padding in (0, (0, 0), "valid"):
        kernel, stride, dilation = map(_side, (module.kernel_size, module.stride, module.dilation))
        if not getattr(module, "ceil_mode", False):
            return kernel, stride, dilation
    raise UsageError(
        f"{module} does not give a patch the same scores wherever it lies",
        cure="use convolutions and max pooling without padding, and elementwise functions",
    )


def _side(value: int | tuple[int, ...]) -> int:
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) > 1:
        raise UsageError(f"{value} is not square", cure="use square kernels and equal strides")
    return sides.pop()
