"""What pictures go through before the scale-invariant network of Farabet et al. (2013): colours, scales, contrast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

YUV = (  # rows Y, U, V of ITU-R BT.601, columns R, G, B
    (0.299, 0.587, 0.114),
    (-0.14713, -0.28886, 0.436),
    (0.615, -0.51499, -0.10001),
)


def rgb_to_yuv(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same shape: brightness, blue and red against brightness. Linear, so no scale is assumed."""
    return torch.einsum("yc,bchw->byhw", images.new_tensor(YUV), images)


def halve(images: Tensor) -> Tensor:
    """(B, C, H, W), even sides -> (B, C, H / 2, W / 2), weighted 1 3 3 1 around each new cell's centre.

    Three averages of two neighbours one after the other. Away from the edges it is the transpose of `double`, over 4.
    """
    x = F.pad(images, (1, 1, 1, 1), mode="replicate")
    x = F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)
    return F.avg_pool2d(x, 2)


def double(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), bilinear between the cells' centres."""
    return F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """What each scale adds to the next coarser one (Burt & Adelson 1983), finest first; the last is what remains.

    The picture is again ``bands[0] + double(bands[1] + double(bands[2]))``.

    Args:
        images: (B, C, H, W), sides multiples of ``2 ** (levels - 1)``.
        levels: how many bands.

    Returns:
        (B, C, H / 2^i, W / 2^i), one per level.
    """
    bands = []
    for _ in range(levels - 1):
        coarse = halve(images)
        bands.append(images - double(coarse))
        images = coarse
    return [*bands, images]


def local_normalise(images: Tensor, window: int, floor: float = 0.01) -> Tensor:
    """Each value less the mean of the window around it, over the standard deviation there; channel by channel.

    At the edges the window is what of it lies in the picture.

    Args:
        images: (B, C, H, W) float32.
        window: odd side in cells.
        floor: least standard deviation, so that the noise of flat places stays small.
    """
    mean = _box_mean(images, window)
    variance = _box_mean(images**2, window) - mean**2
    return (images - mean) / variance.clamp(min=floor**2).sqrt()


def _box_mean(images: Tensor, window: int) -> Tensor:
    """Means over windows, down and then across."""
    half = window // 2
    x = F.avg_pool2d(images, (window, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(x, (1, window), 1, (0, half), count_include_pad=False)
