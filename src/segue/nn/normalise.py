"""From decoded pixels to what a network expects: a visible step, not hidden in the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.nn.conventions import Conventions


def pad_images(images: Sequence[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Pictures (3, H_i, W_i) uint8 -> (B, 3, H, W) uint8 padded right and below to a multiple, and sizes (B, 2)."""
    sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.int64)
    h, w = (-(-int(side) // multiple) * multiple for side in sizes.amax(0))
    padded = [F.pad(image, (0, w - image.shape[2], 0, h - image.shape[1])) for image in images]
    return torch.stack(padded), sizes


def normalise(images: Tensor, sizes: Tensor, conventions: Conventions) -> Tensor:
    """(B, 3, H, W) uint8 RGB -> float32 in the network's channel order, (x - mean) / std, the padding zero."""
    c = conventions
    x = images.flip(1) if c.bgr else images
    mean, std = (x.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (c.mean, c.std))
    x = (x.float() - mean) / std
    h, w = images.shape[-2:]
    rows = torch.arange(h, device=x.device) < sizes[:, :1].to(x.device)
    columns = torch.arange(w, device=x.device) < sizes[:, 1:].to(x.device)
    return x * (rows[:, None, :, None] & columns[:, None, None, :])
