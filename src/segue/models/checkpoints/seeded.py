"""Weights, pictures and inputs that a name and a seed determine, on every machine: for comparisons and fixtures."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

GAINS = {"bn3.weight": 0.2, "bbox_pred.weight": 0.1, "cls_score.weight": 0.5, "cls_logits.weight": 0.15}
"""By the end of a name: so that residual branches do not blow up, boxes stay in the picture, and scores differ."""


def seeded(name: str, shape: Sequence[int]) -> Tensor:
    """Uniform float32 numbers in [-1, 1), which follow from the name."""
    values = np.random.default_rng(zlib.crc32(name.encode())).random(tuple(shape), dtype=np.float32)
    return torch.from_numpy(2 * values - 1)


def seeded_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights by name and shape: convolutions that keep the scale, norms near one, biases near zero."""
    return {name: _weight(name, shape) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def _weight(name: str, shape: Sequence[int]) -> Tensor:
    values, gain = seeded(name, shape), next((g for end, g in GAINS.items() if name.endswith(end)), 1.0)
    if len(shape) > 1:
        return values * (gain * math.sqrt(6 / math.prod(shape[1:])))  # He et al. 2015, uniform
    if name.endswith("running_var"):
        return 1 + 0.5 * values
    if name.endswith("weight"):
        return (1 + 0.25 * values) * gain
    return 0.1 * values


def seeded_picture(name: str, size: tuple[int, int]) -> Tensor:
    """A picture (3, H, W) uint8 of smooth blobs and noise, which follows from the name."""
    coarse = seeded(name, (1, 3, 5, 7))
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True)[0]
    noise = seeded(f"{name} noise", (3, *size))
    return ((0.7 * smooth + 0.3 * noise) * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)


def seeded_boxes(name: str, count: int, size: tuple[int, int]) -> Tensor:
    """Boxes (count, 4) xyxy inside a picture of ``size`` (height, width), with sides from a twelfth to two thirds."""
    u = (seeded(name, (count, 4)) + 1) / 2
    h, w = size
    sides = torch.stack([w / 12 + u[:, 2] * w * 7 / 12, h / 12 + u[:, 3] * h * 7 / 12], 1)
    low = u[:, :2] * (torch.tensor([w, h]) - sides)
    return torch.cat([low, low + sides], 1)
