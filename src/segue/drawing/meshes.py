"""Meshes as shaded surfaces: over their picture, where their camera saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segue.drawing.colors import mix, object_colors
from segue.ops.mesh_raster import rasterise
from segue.structures import Camera, Mesh, Meshes, Scene
from segue.structures.categories import Color

CLAY: Color = (226, 226, 222)
TINT = 0.45
"""Share of the object's own colour in its surface."""
AMBIENT = 0.3
"""Light that comes from everywhere; the rest comes from the camera."""
CREASE = 0.85
"""Cosine of the angle between a face and the surface around its corner from which on the edge is drawn sharp."""
OPACITY = 0.92
FINE = 1_000_000
"""Pixels up to which meshes are drawn at twice their size and shrunk, so that edges are smooth."""


def draw_meshes(image: Image.Image, scene: Scene) -> Image.Image:
    """A copy of an RGB picture with a scene's meshes over it, nearer ones over farther ones.

    Meshes without a camera are left out, as are faces that reach behind the camera.

    Args:
        image: of the scene's size.
        scene: with or without meshes.
    """
    pairs = zip(scene.regions.meshes or [], object_colors(scene), strict=False)
    seen = [(mesh, color) for mesh, color in pairs if mesh.camera is not None]
    under = image.convert("RGB")
    window = _window([mesh for mesh, _ in seen], scene.size)
    if window is None:
        return under
    x0, y0, x1, y1 = window
    paint = shaded([mesh for mesh, _ in seen], [color for _, color in seen], window)  # (h, w, 4)
    canvas = np.array(under)
    below = torch.from_numpy(canvas[y0:y1, x0:x1]).float()
    above = below + OPACITY * (paint[:, :, :3] - paint[:, :, 3:] * below)
    canvas[y0:y1, x0:x1] = above.round().clamp(0, 255).to(torch.uint8).numpy()
    return Image.fromarray(canvas)


def shaded(meshes: Sequence[Mesh], colors: Sequence[Color], window: tuple[int, int, int, int]) -> Tensor:
    """Lit surfaces on nothing, as the cameras of the meshes see them.

    Args:
        meshes: N, each with its camera.
        colors: N RGB colours.
        window: x0, y0, x1, y1 of the part of the picture to paint, in whole pixels.

    Returns:
        (y1 - y0, x1 - x0, 4) as of `lit`.
    """
    places = [projected(mesh.vertices.detach().cpu(), _camera(mesh)) for mesh in meshes]
    return lit(Surfaces.of(meshes, colors), torch.cat(places), torch.zeros(3), window)


@dataclass(frozen=True)
class Surfaces:
    """Meshes as far as they look the same from everywhere.

    Attributes:
        meshes: N, with vertices (V, 3) and faces (F, 3).
        corners: (F, 3, 6) at the corners of each face: the normal, of `corner_normals`, and the vertex.
        tints: (F, 3) RGB colours in full light.
    """

    meshes: Meshes
    corners: Tensor
    tints: Tensor

    @classmethod
    def of(cls, meshes: Sequence[Mesh], colors: Sequence[Color]) -> Surfaces:
        """Of N meshes, wherever they are, and N RGB colours."""
        packed = Meshes.pack([mesh.vertices.detach().cpu() for mesh in meshes], [mesh.faces.cpu() for mesh in meshes])
        vertices, faces = packed.vertices, packed.faces
        tints = vertices.new_tensor([mix(CLAY, color, TINT) for color in colors])
        corners = torch.cat([corner_normals(vertices, faces), vertices[faces]], dim=2)
        return cls(packed, corners, tints[packed.face_owner])


def lit(surfaces: Surfaces, places: Tensor, eye: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """Surfaces in the light of a lamp at the camera: Lambert's law; a back is lit as a front.

    Args:
        surfaces: V vertices.
        places: (V, 3) of `projected`.
        eye: (3,) where the camera stands among the vertices.
        window: x0, y0, x1, y1 of the part of the picture to paint, in whole pixels.

    Returns:
        (y1 - y0, x1 - x0, 4): red, green and blue in [0, 255] times the covered share of the pixel, and that share.
    """
    x0, y0, x1, y1 = window
    w, h = x1 - x0, y1 - y0
    scale = 2 if w * h <= FINE else 1
    offset, stretch = places.new_tensor([x0, y0, 0]), places.new_tensor([scale, scale, 1])
    seen = rasterise(surfaces.meshes.with_vertices((places - offset) * stretch), (scale * h, scale * w))
    corners = surfaces.corners.index_select(0, seen.face)  # (P, 3, 6), P hits of h * w * scale ** 2
    hits = (corners * seen.weights[:, :, None]).sum(dim=1)
    cosine = F.cosine_similarity(hits[:, :3], hits[:, 3:] - eye, dim=1).abs()[:, None]
    light = AMBIENT + (1 - AMBIENT) * cosine
    paint = torch.cat([surfaces.tints.index_select(0, seen.face) * light, torch.ones_like(light)], dim=1)
    pixel = seen.pixel // (scale * w) // scale * w + seen.pixel % (scale * w) // scale
    return places.new_zeros(h * w, 4).index_add_(0, pixel, paint / scale**2).view(h, w, 4)


def projected(points: Tensor, camera: Camera) -> Tensor:
    """(V, 3) where a camera sees points (V, 3): x and y in pixels, and the depth.

    What is not in front of the camera has no place; x and y are then without meaning.
    """
    places = camera.focal * points[:, :2] / points[:, 2:] + points.new_tensor(camera.centre)
    return torch.cat([places, points[:, 2:]], dim=1)


def corner_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """(F, 3, 3) unit normals at the corners of faces: smooth over the surface, but not over a sharp edge.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
    """
    corners = vertices[faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    across = torch.where(across.isfinite(), across, 0.0)  # its length is twice the area
    sums = torch.zeros_like(vertices).index_add_(0, faces.flatten(), across.repeat_interleave(3, dim=0))
    smooth, flat = F.normalize(sums, dim=1, eps=1e-30)[faces], F.normalize(across, dim=1, eps=1e-30)[:, None]
    agree = (smooth * flat).sum(dim=2, keepdim=True) > CREASE
    return torch.where(agree, smooth, flat)


def _camera(mesh: Mesh) -> Camera:
    if mesh.camera is None:
        raise ValueError("the mesh has no camera")
    return mesh.camera


def _window(meshes: Sequence[Mesh], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of a picture (height, width) that meshes may cover; None where they cover nothing."""
    seen = [projected(mesh.vertices.detach().cpu(), _camera(mesh)) for mesh in meshes]
    places = torch.cat(seen) if seen else torch.zeros(0, 3)
    places = places[(places[:, 2] > 0) & places.isfinite().all(dim=1)]
    if not len(places):
        return None
    low, high = places[:, :2].amin(dim=0).floor().tolist(), places[:, :2].amax(dim=0).ceil().tolist()
    x0, y0 = (int(min(max(value, 0), side)) for value, side in zip(low, size[::-1], strict=True))
    x1, y1 = (int(min(max(value, 0), side)) for value, side in zip(high, size[::-1], strict=True))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
