"""A pinhole camera above the ground of Toybox."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from segue.data.toybox.arrays import Floats


@dataclass(frozen=True)
class Camera:
    """World: x to the right, y ahead, z up. Camera: x to the right, y down, z ahead. Metres and pixels.

    Pixel centres lie at halves: the pixel in row i and column j covers [j, j + 1) x [i, i + 1).

    Attributes:
        size: (height, width) of the picture.
        focal: in pixels.
        height: m above the ground, over the world's origin.
        pitch: radians that it looks down.
        near: m; what is nearer is cut off.
    """

    size: tuple[int, int]
    focal: float
    height: float
    pitch: float
    near: float = 0.1

    @property
    def centre(self) -> tuple[float, float]:
        """x and y of the principal point."""
        return self.size[1] / 2, self.size[0] / 2

    @property
    def matrix(self) -> Floats:
        """(3, 3) K, which maps camera coordinates to pixels: (x, y, 1) ~ K @ point."""
        x, y = self.centre
        return np.array([[self.focal, 0, x], [0, self.focal, y], [0, 0, 1.0]])

    @property
    def rotation(self) -> Floats:
        """(3, 3), takes directions of the world to those of the camera."""
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        return np.array([[1.0, 0, 0], [0, -s, -c], [0, c, -s]])

    def finer(self, factor: int) -> Camera:
        """The same view with more pixels."""
        h, w = self.size
        return replace(self, size=(h * factor, w * factor), focal=self.focal * factor)

    def to_camera(self, world: Floats) -> Floats:
        """Camera coordinates (..., 3) of places in the world (..., 3)."""
        points: Floats = (world - np.array([0, 0, self.height])) @ self.rotation.T
        return points

    def project(self, points: Floats) -> Floats:
        """Pixels (..., 2) where camera coordinates (..., 3) before the camera appear."""
        xy: Floats = points[..., :2] / points[..., 2:] * self.focal + np.array(self.centre)
        return xy

    def rays(self) -> tuple[Floats, Floats]:
        """What the rays through the pixel centres have in common, for a step of 1 along the camera's z.

        Returns:
            (W,) world x of the ray in each column; (H, 2) world y and z of the ray in each row.
        """
        h, w = self.size
        x = (np.arange(w, dtype=np.float64) + 0.5 - self.centre[0]) / self.focal
        down = (np.arange(h, dtype=np.float64) + 0.5 - self.centre[1]) / self.focal
        return x, np.stack([np.zeros(h), down, np.ones(h)], axis=1) @ self.rotation[:, 1:]

    def ground_at(self, pixel: ArrayLike) -> Floats:
        """World x and y (..., 2) of the ground seen at pixels (..., 2) below the horizon."""
        xy = (np.asarray(pixel, np.float64) - np.array(self.centre)) / self.focal
        ray = np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], axis=-1) @ self.rotation
        ground: Floats = ray[..., :2] * (-self.height / ray[..., 2:])
        return ground
