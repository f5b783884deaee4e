"""Points spread evenly over surfaces."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.errors import DataError
from segue.ops.mesh_graph import unit
from segue.structures import Meshes


def sample_surface(meshes: Meshes, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Random points on N meshes, equally likely everywhere on a surface (Mesh R-CNN, ICCV 2019, section 3.2).

    A face is drawn by its area, then in it the point (1 - sqrt(u)) a + sqrt(u) (1 - v) b + sqrt(u) v c. Gradients flow
    from points and normals to the corners of that face, not to the choice.

    Args:
        meshes: N meshes, each with some area.
        count: points on each.
        generator: of the device of the meshes; torch's own without one.

    Returns:
        points (N, count, 3), and unit normals (N, count, 3) of the faces that they are on.

    Raises:
        DataError: a mesh has no faces, no area, or vertices that are not finite.
    """
    chosen = meshes.faces[_draw_faces(meshes, count, generator)]  # (N, count, 3)
    a, b, c = meshes.vertices[chosen].unbind(2)  # (N, count, 3) each
    chance = torch.rand(2, *a.shape[:2], 1, generator=generator, device=a.device, dtype=a.dtype)
    root, v = chance[0].sqrt(), chance[1]
    points = (1 - root) * a + root * (1 - v) * b + root * v * c
    return points, unit(torch.linalg.cross(b - a, c - a))


@torch.no_grad()
def _draw_faces(meshes: Meshes, count: int, generator: torch.Generator | None) -> Tensor:
    """(N, count) int64 faces, drawn by area, all at once: mesh n's areas fill the line from about n to n + 1.

    In float64, since float32 cannot tell a million faces apart.
    """
    a, b, c = meshes.vertices.double()[meshes.faces].unbind(1)
    areas = torch.linalg.cross(b - a, c - a).norm(dim=1)
    totals = areas.new_zeros(len(meshes)).index_add_(0, meshes.face_owner, areas)
    _check(totals)
    line = (areas / totals[meshes.face_owner]).cumsum(0)
    ends = line[meshes.face_counts.cumsum(0) - 1][:, None]  # (N, 1)
    starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    share = torch.rand(len(meshes), count, generator=generator, dtype=torch.float64, device=areas.device)
    places = starts + share * (ends - starts)
    inside = places.minimum(ends.nextafter(starts))  # rounding may carry a place to the end: the next mesh's first face
    return torch.searchsorted(line, inside, right=True)  # right: skips faces without area


def _check(totals: Tensor) -> None:
    """Raise `DataError` where one of the areas (N,) is none."""
    good = (totals > 0) & totals.isfinite()
    if not bool(good.all()):
        number = int((~good).nonzero()[0, 0])
        cure = "leave it out, or give it faces with an area and finite vertices"
        raise DataError(f"mesh {number} of {len(totals)} has no area to draw points from", cure=cure)
