"""Where along the line of sight an object stands: what a picture does not tell, and an evaluation takes as given."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from segue.structures import Camera, Mesh

THICKEST = 0.99
"""Half of an extent in parts of the depth of the middle: a span begins before the camera, whatever a network says."""

VANISHING = 0.2
"""Of the mean of 1 / z at both ends of a span: no vertex has less, as 1 / z = 0 is nowhere, and less is behind one."""


def placed(mesh: Mesh, camera: Camera, depth: float) -> Mesh:
    """A predicted mesh as the same network would have said it for another camera and another depth of the object.

    Each vertex stays at its pixel and at its share of the way through the span, linear in 1 / z. The extent of the span
    over the depth of its middle, times the focal length, stays, too: that is what a picture tells of an object's extent
    (Mesh R-CNN, Gkioxari et al., ICCV 2019, appendix).

    Args:
        mesh: one without a span is as measured, one without a camera has no pixels: both come back as they are.
        camera: the other camera.
        depth: of the middle of the new span, in metres, above 0.
    """
    if mesh.span is None or mesh.camera is None:
        return mesh
    old = torch.tensor(mesh.span, dtype=torch.float64)
    share = (old[1] - old[0]) / old.sum() * mesh.camera.focal / camera.focal
    new = depth * (1 + share.clamp(max=THICKEST) * torch.tensor([-1, 1]))
    parts = [mesh.vertices] if mesh.filling is None else [mesh.vertices, mesh.filling]
    vertices, *filling = (_moved(part.double().cpu(), mesh.camera, camera, old, new).to(part) for part in parts)
    span = float(new[0]), float(new[1])
    return replace(mesh, vertices=vertices, camera=camera, span=span, filling=filling[0] if filling else None)


def _moved(points: Tensor, seen_by: Camera, camera: Camera, old: Tensor, new: Tensor) -> Tensor:
    """Points (P, 3) of a frustum between two depths (2,) at the same pixels of another camera's, likewise."""
    near, far = 1 / old
    new_near, new_far = 1 / new
    slope = torch.where(far == near, 0, (new_far - new_near) / (far - near))
    inverse = new_near + slope * (1 / points[:, 2:] - near)
    z = 1 / inverse.maximum(VANISHING * (new_near + new_far) / 2)
    shift = points.new_tensor(seen_by.centre) - points.new_tensor(camera.centre)
    pixels = seen_by.focal * points[:, :2] / points[:, 2:] + shift  # from the new principal point
    return torch.cat([pixels * z / camera.focal, z], dim=1)
