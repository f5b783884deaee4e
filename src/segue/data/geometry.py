"""One geometric change of a picture, applied alike to pixels, boxes, masks and whatever tasks add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import resize_bytes
from segue.ops.masks import warp_masks
from segue.structures import Masks

Resizing = Callable[[Tensor, tuple[int, int]], Tensor]
"""Brings a picture (3, H, W) uint8 to another size (height, width)."""


@dataclass(frozen=True)
class Geometry:
    """Transpose, then mirror, then rescale, then cut a window out (which may reach over the edge: padding).

    Attributes:
        source: (height, width) of the picture before.
        transpose: exchange x and y. With the mirrors this gives all quarter turns.
        mirror_x: mirror left and right.
        mirror_y: mirror top and bottom.
        resized: (height, width) after the rescaling.
        window: x0, y0, x1, y1 of the part to keep, in pixels of the rescaled picture.
    """

    source: tuple[int, int]
    transpose: bool
    mirror_x: bool
    mirror_y: bool
    resized: tuple[int, int]
    window: tuple[int, int, int, int]

    @classmethod
    def resize(cls, source: tuple[int, int], resized: tuple[int, int]) -> Geometry:
        """Only a rescaling."""
        return cls(source, False, False, False, resized, (0, 0, resized[1], resized[0]))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture after."""
        x0, y0, x1, y1 = self.window
        return y1 - y0, x1 - x0

    @property
    def turned(self) -> tuple[int, int]:
        """(height, width) after the transposition."""
        h, w = self.source
        return (w, h) if self.transpose else (h, w)

    @property
    def mirrored(self) -> bool:
        """Whether left and right change roles, as in a looking glass (an odd number of reflections)."""
        return self.transpose ^ self.mirror_x ^ self.mirror_y

    def matrix(self) -> Tensor:
        """(2, 3) float64: maps (x, y, 1) of the old picture to x, y of the new one."""
        (h, w), (rh, rw) = self.turned, self.resized
        m = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]] if self.transpose else [[1.0, 0, 0], [0, 1.0, 0]])
        m = m.double()
        for axis, (flip, old, new) in enumerate(((self.mirror_x, w, rw), (self.mirror_y, h, rh))):
            if flip:
                m[axis] = -m[axis]
                m[axis, 2] += old
            m[axis] *= new / old
            m[axis, 2] -= self.window[axis]
        return m

    def points(self, xy: Tensor) -> Tensor:
        """(..., 2) points, x then y."""
        m = self.matrix().to(xy)
        return xy @ m[:, :2].T + m[:, 2]

    def boxes(self, boxes: Tensor) -> Tensor:
        """(N, 4) xyxy boxes, not clipped."""
        corners = self.points(boxes.reshape(-1, 2, 2))
        return torch.cat([corners.amin(1), corners.amax(1)], dim=1)

    def masks(self, masks: Masks) -> Masks:
        """Masks, cut off at the new picture's edge."""
        return warp_masks(masks, self.matrix(), self.size)

    def image(self, image: Tensor, resize: Resizing = resize_bytes) -> Tensor:
        """(3, H, W) uint8 -> (3, h, w) of the type that ``resize`` gives; zeros outside."""
        image = self._turned(image)
        if tuple(image.shape[1:]) != self.resized:
            image = resize(image, self.resized)
        return self._windowed(image, 0)

    def label_map(self, labels: Tensor, outside: int = -1) -> Tensor:
        """(H, W) integers -> (h, w), each the value of the nearest old pixel; ``outside`` beyond the old picture."""
        labels = self._turned(labels[None])
        if tuple(labels.shape[1:]) != self.resized:
            labels = F.interpolate(labels[None].float(), self.resized, mode="nearest-exact")[0].to(labels.dtype)
        return self._windowed(labels, outside)[0]

    def _turned(self, planes: Tensor) -> Tensor:
        planes = planes.transpose(1, 2) if self.transpose else planes
        flips = [axis for axis, flip in ((2, self.mirror_x), (1, self.mirror_y)) if flip]
        return planes.flip(flips) if flips else planes

    def _windowed(self, planes: Tensor, outside: int) -> Tensor:
        x0, y0, x1, y1 = self.window
        h, w = self.resized
        inside = planes[:, max(0, y0) : min(h, y1), max(0, x0) : min(w, x1)]
        edges = [max(0, -x0), max(0, x1 - w), max(0, -y0), max(0, y1 - h)]
        return F.pad(inside, edges, value=outside).contiguous()
