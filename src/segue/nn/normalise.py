"""From decoded pixels to what a network expects: visible steps, not hidden in the network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import resize_bytes
from segue.nn.conventions import Conventions


def shown_size(size: tuple[int, int], resize: tuple[int, int] | None, conventions: Conventions) -> tuple[int, int]:
    """In which size (height, width) a network sees a picture of ``size``.

    The shorter side is ``resize[0]``, or less where the longer would exceed ``resize[1]``; None leaves all as it is.
    """
    if resize is None:
        return size
    new, old = min((resize[0], min(size)), (resize[1], max(size)), key=lambda pair: pair[0] / pair[1])
    if conventions.sides == "nearest":
        return max(1, math.floor(size[0] * (new / old) + 0.5)), max(1, math.floor(size[1] * (new / old) + 0.5))
    if conventions.sides == "scaled":  # torchvision makes 799 of some sides that it means to bring to 800
        return max(1, math.floor(size[0] * (new / old))), max(1, math.floor(size[1] * (new / old)))
    return max(1, size[0] * new // old), max(1, size[1] * new // old)


def resize_image(image: Tensor, size: tuple[int, int], conventions: Conventions) -> Tensor:
    """A picture (3, H, W) uint8 in another size (3, h, w), by the conventions: uint8, or float32 in [0, 255]."""
    if conventions.antialias:
        if tuple(image.shape[1:]) == size:
            return image
        return resize_bytes(image, size)
    return F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)[0]


def pad_images(images: Sequence[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Pictures (3, H_i, W_i) -> (B, 3, H, W) of their type, padded right and below to a multiple, and sizes (B, 2)."""
    sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.int64)
    h, w = (-(-int(side) // multiple) * multiple for side in sizes.amax(0))
    padded = [F.pad(image, (0, w - image.shape[2], 0, h - image.shape[1])) for image in images]
    return torch.stack(padded), sizes


def normalise(images: Tensor, sizes: Tensor, conventions: Conventions) -> Tensor:
    """(B, 3, H, W) RGB in [0, 255] -> float32 in the network's channel order, (x - mean) / std, the padding zero."""
    c = conventions
    x = images.flip(1) if c.bgr else images
    mean, std = (x.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (c.mean, c.std))
    x = (x.float() - mean) / std
    h, w = images.shape[-2:]
    rows = torch.arange(h, device=x.device) < sizes[:, :1].to(x.device)
    columns = torch.arange(w, device=x.device) < sizes[:, 1:].to(x.device)
    return x * (rows[:, None, :, None] & columns[:, None, None, :])
