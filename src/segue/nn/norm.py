"""Normalisation layers by name: trained or frozen batch norm, group norm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

NormKind = Literal["batch", "frozen", "group"]


class FrozenBatchNorm(nn.Module):
    """Batch norm with constant statistics and affine parameters: ``x * scale + shift`` per channel.

    Detection batches are too small for batch statistics, so pretrained ones are kept as they are (Mask R-CNN,
    section 3.1, after ResNet). The four buffers have the names that public checkpoints use.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


def normed(convolution: nn.Conv2d, norm: NormKind | None, eps: float = 1e-5) -> nn.Module:
    """A convolution followed by a norm of that kind, or alone where it has none."""
    return convolution if norm is None else nn.Sequential(convolution, make_norm(norm, convolution.out_channels, eps))


def initialise_convolutions(module: nn.Module) -> None:
    """He's normal initial weights, by the fan out, for every convolution in a module; zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def make_norm(kind: NormKind, channels: int, frozen_eps: float = 1e-5) -> nn.Module:
    """A normalisation layer for ``channels``; group norm has 32 groups, or fewer where the channels do not divide."""
    if kind == "frozen":
        return FrozenBatchNorm(channels, frozen_eps)
    if kind == "group":
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    return nn.BatchNorm2d(channels)
