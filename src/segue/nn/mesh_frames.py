"""Meshes and the frustums of the boxes in which Mesh R-CNN sees them (Gkioxari et al., ICCV 2019, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.frustum import from_frustum, to_frustum
from segue.ops.voxelise import voxelise, voxels_of_points
from segue.structures import Camera, Mesh, Meshes


def is_known(mesh: Mesh) -> bool:
    """Whether there is something to learn from: faces before a camera."""
    return mesh.camera is not None and len(mesh.faces) > 0 and mesh.depths[0] > 0


def framed(meshes: list[Mesh], boxes: Tensor) -> tuple[Meshes, list[Tensor | None]]:
    """Known meshes and points inside them in the coordinates of their boxes' (N, 4) frustums; see `to_frustum`."""
    device = boxes.device
    packed = Meshes.pack([m.vertices.to(device) for m in meshes], [m.faces.to(device) for m in meshes])
    cameras = [mesh.camera for mesh in meshes if mesh.camera is not None]
    focal = boxes.new_tensor([camera.focal for camera in cameras])
    centres = boxes.new_tensor([camera.centre for camera in cameras])
    depths = boxes.new_tensor([mesh.depths for mesh in meshes])

    def place(points: Tensor, owner: Tensor) -> Tensor:
        return to_frustum(points, boxes[owner], focal[owner], centres[owner], depths[owner])

    filling: list[Tensor | None] = [
        None if m.filling is None else place(m.filling.to(device), torch.full((len(m.filling),), i, device=device))
        for i, m in enumerate(meshes)
    ]
    return packed.with_vertices(place(packed.vertices, packed.vertex_owner)), filling


def unframed(shapes: Meshes, boxes: Tensor, camera: Camera, spans: Tensor) -> Tensor:
    """Vertices (V, 3) of shapes in the frustums of boxes (N, 4) and depths (N, 2) -> in camera coordinates.

    What would lie near the frustums' vanishing plane, or behind it, is pulled before it.
    """
    owner = shapes.vertex_owner
    vanishing = (spans.sum(1) / (spans[:, 1] - spans[:, 0]).clamp(min=1e-6))[owner]
    places = torch.cat([shapes.vertices[:, :2], shapes.vertices[:, 2:].minimum(0.8 * vanishing[:, None])], 1)
    focal = places.new_full((len(places),), camera.focal)
    centres = places.new_tensor(camera.centre).expand(len(places), 2)
    return from_frustum(places, boxes[owner], focal, centres, spans[owner])


def occupancy(goals: Meshes, filling: list[Tensor | None], side: int) -> Tensor:
    """(N, side, side, side) bool, the voxels inside each object: those of its filling, where it has one."""
    inside = voxelise(goals, side)
    filled = [i for i, points in enumerate(filling) if points is not None]
    if filled:
        points = [points for points in filling if points is not None]
        owner = torch.arange(len(filled), device=inside.device).repeat_interleave(
            torch.tensor([len(own) for own in points], device=inside.device)
        )
        inside[filled] = voxels_of_points(torch.cat(points), owner, len(filled), side)
    return inside


def extent_loss(extents: Tensor, labels: Tensor, meshes: list[Mesh], boxes: Tensor) -> Tensor:
    """Smooth L1 of the logarithms of depth extent / distance * focal length / box height; likewise of height in metres.

    Args:
        extents: (N, K, 1 or 2) for each class.
        labels: (N,) the true ones.
        meshes: N known ones.
        boxes: (N, 4).
    """
    own = extents[torch.arange(len(extents), device=extents.device), labels]
    near, far = boxes.new_tensor([mesh.depths for mesh in meshes]).unbind(1)
    focal = boxes.new_tensor([mesh.camera.focal for mesh in meshes if mesh.camera is not None])
    heights, centre = (boxes[:, 3] - boxes[:, 1]).clamp(min=1), (near + far) / 2
    thick = (far - near).clamp(min=1e-4) / centre * focal / heights
    goals = torch.stack([thick, heights * centre / focal], 1)[:, : own.shape[1]].log()
    return F.smooth_l1_loss(own, goals, reduction="none").sum(1).mean()
