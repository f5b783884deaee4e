"""Random changes of training pictures: drawn first, then applied alike to pixels and regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.data.geometry import Geometry, Resizing
from segue.data.images import resize_bytes
from segue.errors import UsageError
from segue.ops.masks import mask_boxes
from segue.structures import Field, Masks, Regions

SHARED = ("boxes", "labels", "scores", "crowd", "areas")
"""Fields that no task transforms."""

GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


Sizing = Callable[[tuple[int, int], tuple[int, int] | None], tuple[int, int]]
"""A picture's size (height, width) and a recipe's ``resize`` -> its size in the network."""


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training picture. The default only mirrors; 0 switches a change off.

    Attributes:
        crop: side in pixels of a random square that is cut out; smaller pictures are padded with black.
        resize: shorter side, and most that the longer side may have (Mask R-CNN, section 3.1); None keeps the size.
        scale: range of a random scale, log-uniform, on top of ``resize``.
        mirror: mirror left and right in half of all cases.
        mirror_vertical: mirror top and bottom in half of all cases.
        quarter_turns: turn by 0, 90, 180 or 270 degrees.
        brightness: all values times a factor in 1 - b to 1 + b.
        contrast: distance from the mean times a factor in 1 - c to 1 + c.
        gamma: values in [0, 1] to the power of exp(-g) to exp(g).
        saturation: distance from gray times a factor in 1 - s to 1 + s.
        gray: probability that colours are taken away.
        invert: probability that light and dark are exchanged.
        blur: largest standard deviation of a Gaussian blur, in pixels.
        noise: largest standard deviation of Gaussian noise, in gray levels of 255.
    """

    crop: int | None = None
    resize: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    mirror_vertical: bool = False
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    saturation: float = 0.0
    gray: float = 0.0
    invert: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        sides = [side for side in (self.crop, *(self.resize or ())) if side is not None]
        if any(side < 1 for side in sides) or (self.resize and self.resize[0] > self.resize[1]):
            raise ValueError("crop and resize must be from 1, and the shorter side not above the longer")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError("scale must go from a number above 0 to one not below it")
        if not all(
            0 <= share <= 1 for share in (self.brightness, self.contrast, self.saturation, self.gray, self.invert)
        ):
            raise ValueError("brightness, contrast, saturation, gray and invert must be from 0 to 1")
        if not all(0 <= strength < math.inf for strength in (self.gamma, self.blur, self.noise)):
            raise ValueError("gamma, blur and noise must be from 0")


def resized_size(size: tuple[int, int], resize: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) with the shorter side ``resize[0]``, or less where the longer would exceed ``resize[1]``."""
    if resize is None:
        return size
    scale = min(resize[0] / min(size), resize[1] / max(size))
    return _scaled(size, scale)


def plain_geometry(size: tuple[int, int], augmentation: Augmentation) -> Geometry:
    """The part without chance: only ``resize``."""
    return Geometry.resize(size, resized_size(size, augmentation.resize))


def random_geometry(
    size: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator, resized: Sizing = resized_size
) -> Geometry:
    """A random change of a picture of ``size`` (height, width); the same for the same state of ``rng``."""
    turns = int(rng.integers(4)) if augmentation.quarter_turns else 0
    mirror_x = turns in (1, 2)  # a quarter turn is a transposition with one mirror, a half turn is both mirrors
    mirror_y = turns in (2, 3)
    mirror_x ^= augmentation.mirror and bool(rng.random() < 0.5)
    mirror_y ^= augmentation.mirror_vertical and bool(rng.random() < 0.5)
    transpose = turns in (1, 3)
    turned = (size[1], size[0]) if transpose else size
    low, high = augmentation.scale
    scale = math.exp(rng.uniform(math.log(low), math.log(high))) if low < high else low
    scaled = _scaled(resized(turned, augmentation.resize), scale)
    window = _window(scaled, augmentation.crop, rng)
    return Geometry(size, transpose, mirror_x, mirror_y, scaled, window)


def apply_geometry(
    image: Tensor,
    regions: Regions,
    geometry: Geometry,
    transforms: Mapping[str, Callable[[Field, Geometry], Field] | None],
    minimum_size: float = 2.0,
    resize: Resizing = resize_bytes,
) -> tuple[Tensor, Regions]:
    """Change a picture and its regions.

    Boxes are cut at the new picture's edge; a cut box becomes the tight box of what is left of its mask. Regions
    thinner than ``minimum_size`` pixels, or without a pixel in their mask, are dropped. ``areas`` are dropped, too.

    Args:
        image: (3, H, W) uint8.
        regions: N regions in its pixels.
        geometry: the change.
        transforms: by field, what the change does to it; None leaves it as it is.
        minimum_size: in pixels of the new picture.
        resize: how pixels are brought to another size.

    Raises:
        UsageError: a field without an entry in ``transforms``.
    """
    moved = geometry.boxes(regions.boxes)
    (h, w) = geometry.size
    boxes = moved.clamp(min=0).minimum(moved.new_tensor([w, h, w, h]))
    keep = _wide(boxes, minimum_size)
    cut = (moved != boxes).any(1)[keep]
    regions = regions.select(keep).with_field("boxes", boxes[keep]).with_field("areas", None)
    for name, value in regions.fields().items():
        if name in SHARED:
            continue
        if name not in transforms:
            raise UsageError(f"nothing says how {name!r} change with the picture", cure="add a transform, or None")
        transform = transforms[name]
        regions = regions if transform is None else regions.with_field(name, transform(value, geometry))
    return geometry.image(image, resize), _tightened(regions, cut, minimum_size)


def jitter_intensity(image: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """(3, H, W) in [0, 255] -> uint8 with random colours, blur and noise; the same for the same state of ``rng``."""
    a = augmentation
    x = image.float() / 255
    if a.gray and rng.random() < a.gray:
        x = _gray(x).expand_as(x)
    if a.saturation:
        x = torch.lerp(_gray(x), x, _factor(a.saturation, rng)).clamp(0, 1)
    if a.brightness:
        x = (x * _factor(a.brightness, rng)).clamp(0, 1)
    if a.contrast:
        x = torch.lerp(x.mean(), x, _factor(a.contrast, rng)).clamp(0, 1)
    if a.gamma:
        x = x ** math.exp(rng.uniform(-a.gamma, a.gamma))
    if a.invert and rng.random() < a.invert:
        x = 1 - x
    if a.blur:
        x = gaussian_blur(x, rng.uniform(0, a.blur))
    if a.noise:
        strength = rng.uniform(0, a.noise) / 255
        x = x + torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)) * strength
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """(C, H, W) float -> the same, blurred with standard deviation ``sigma`` in pixels; the edge is repeated."""
    radius = math.ceil(3 * sigma)
    if not radius:
        return image
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], [radius] * 4, mode="replicate")  # (C, 1, H + 2r, W + 2r)
    return F.conv2d(F.conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _window(size: tuple[int, int], crop: int | None, rng: np.random.Generator) -> tuple[int, int, int, int]:
    if crop is None:
        return 0, 0, size[1], size[0]
    y0, x0 = (int(rng.integers(max(0, side - crop) + 1)) for side in size)
    return x0, y0, x0 + crop, y0 + crop


def _tightened(regions: Regions, cut: Tensor, minimum_size: float) -> Regions:
    if not isinstance(regions.masks, Masks):
        return regions
    boxes = torch.where(cut[:, None], mask_boxes(regions.masks).to(regions.boxes), regions.boxes)
    keep = _wide(boxes, minimum_size) & (regions.masks.area > 0)
    return regions.with_field("boxes", boxes).select(keep)


def _wide(boxes: Tensor, minimum_size: float) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).amin(1) >= minimum_size if len(boxes) else boxes.new_zeros(0).bool()


def _factor(strength: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(1 - strength, 1 + strength))


def _gray(image: Tensor) -> Tensor:
    """(3, H, W) -> (1, H, W)."""
    return (image * image.new_tensor(GRAY)[:, None, None]).sum(0, keepdim=True)
