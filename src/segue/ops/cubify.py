"""Occupied voxels as meshes of cubes (Mesh R-CNN, Gkioxari et al., ICCV 2019, section 3.2.1)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from segue.structures.meshes import Meshes

Align = Literal["topleft", "corner", "center"]

# What is added to lattice places, and how many voxels are taken off the side that spans -1 to 1: see `cubify`.
_SHIFT_AND_MARGIN: dict[Align, tuple[float, int]] = {"topleft": (0.0, 1), "corner": (0.0, 0), "center": (-0.5, 1)}

# Corner zyx of a cube is number 4z + 2y + x. The six sides look to -z, +z, -y, +y, -x and +x; corners go around
# counter-clockwise from outside. The diagonal from the first to the third cuts a side where the published code does.
_SIDES = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (6, 7, 3, 2), (4, 6, 2, 0), (3, 7, 5, 1))


@torch.no_grad()
def cubify(occupancy: Tensor, threshold: float = 0.2, align: Align = "topleft") -> Meshes:
    """A cube of 12 triangles for each occupied voxel, without the sides between two of them; no gradient.

    Cubes share the vertices of the lattice between voxels, so each mesh is watertight: every edge is run through as
    often in one direction as in the other. Two cubes that touch in one edge or corner only share it, too.

    In [-1, 1]^3 lattice point i of an axis with V voxels lies at 2i / (V - 1) - 1 ("topleft", as published: voxel i
    starts where pixel i of a map with V pixels is read with aligned corners, and the last voxel lies outside), at
    2i / V - 1 ("corner": the grid fills the cube), or at (2i - 1) / (V - 1) - 1 ("center": pixels are read at the
    centres of voxels). One voxel starts at -1 and ends at 1 in the first two.

    Args:
        occupancy: (N, D, H, W) probabilities; the axes are those of z, y and x.
        threshold: voxels with at least this probability are occupied.
        align: where the lattice lies.

    Returns:
        N meshes in float32, counter-clockwise from outside. One without an occupied voxel has no vertices and no
        faces (see `occupied_or_centre`).
    """
    occupied = occupancy >= threshold
    n, (d, h, w) = len(occupied), occupied.shape[1:]
    sides = _exposed_sides(occupied).nonzero()  # (Q, 5): mesh, side, z, y, x
    corner = torch.tensor(_SIDES, device=occupied.device)[sides[:, 1]]  # (Q, 4)
    z, y, x = (sides[:, 2 + axis, None] + (corner >> (2 - axis) & 1) for axis in range(3))
    place = ((sides[:, :1] * (d + 1) + z) * (h + 1) + y) * (w + 1) + x  # (Q, 4) on the lattices of all meshes

    used = torch.zeros(n, d + 1, h + 1, w + 1, dtype=torch.bool, device=occupied.device)
    used.view(-1)[place] = True
    number = used.view(-1).cumsum(0) - 1
    faces = number[place][:, [0, 1, 2, 0, 2, 3]].view(-1, 3)
    vertices = _lattice_points(used.nonzero()[:, 1:], (d, h, w), align)
    return Meshes(vertices, faces, used.flatten(1).sum(1), 2 * sides[:, 0].bincount(minlength=n))


def occupied_or_centre(occupancy: Tensor, threshold: float = 0.2) -> Tensor:
    """The probabilities (N, D, H, W), with ones in the middle of grids in which no voxel reaches ``threshold``.

    The middle is half of each side, from V // 4 on: what the published code for ShapeNet refines instead of nothing.
    That for Pix3D has no such rule: there an empty grid stays a mesh without faces, of weight 0 in the chamfer loss.
    """
    empty = ~(occupancy >= threshold).flatten(1).any(dim=1)
    middle = torch.zeros_like(occupancy[:1], dtype=torch.bool)
    middle[:, *(slice(side // 4, side // 4 + max(side // 2, 1)) for side in occupancy.shape[1:])] = True
    return occupancy.masked_fill(empty[:, None, None, None] & middle, 1)


def without_specks(occupancy: Tensor, threshold: float, share: float) -> Tensor:
    """The probabilities (N, D, H, W), with zeros in parts of less than ``share`` of their grid's occupied voxels.

    Voxels that touch, if only in a corner, are of one part. Counted on the CPU; no gradient.
    """
    if not share:
        return occupancy
    touching = np.zeros((3, 3, 3, 3), dtype=bool)
    touching[1] = True  # not from one grid to the next
    parts, count = ndimage.label((occupancy.detach() >= threshold).cpu().numpy(), touching)
    part = torch.from_numpy(parts).long()
    sizes = torch.bincount(part.flatten(), minlength=count + 1)
    least = share * (part > 0).flatten(1).sum(1)
    speck = (part > 0) & (sizes[part] < least[:, None, None, None])
    return occupancy.masked_fill(speck.to(occupancy.device), 0)


def _exposed_sides(occupied: Tensor) -> Tensor:
    """Occupied voxels (N, D, H, W) bool -> (N, 6, D, H, W) bool, which of their sides have no occupied neighbour."""
    beyond = F.pad(occupied, (1,) * 6)
    own, low, high = slice(1, -1), slice(None, -2), slice(2, None)
    windows = (
        *((end, own, own) for end in (low, high)),
        *((own, end, own) for end in (low, high)),
        *((own, own, end) for end in (low, high)),
    )
    neighbours = torch.stack([beyond[:, *window] for window in windows], dim=1)
    return occupied[:, None] & ~neighbours


def _lattice_points(zyx: Tensor, size: tuple[int, int, int], align: Align) -> Tensor:
    """(V, 3) int64 places on the lattice, z first -> (V, 3) float32 coordinates, x first."""
    shift, margin = _SHIFT_AND_MARGIN[align]
    spans = torch.tensor([max(side - margin, 1) for side in size], device=zyx.device)
    return ((zyx.float() + shift) * 2 / spans - 1).flip(1)
