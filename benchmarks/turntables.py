"""The turntable of meshes, against drawing each of its pictures as if it were the only one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import Case
from segue.drawing import turntable
from segue.drawing.colors import mix
from segue.drawing.meshes import AMBIENT, CLAY, TINT, corner_normals
from segue.drawing.turntable import DISTANCE, MARGIN, PAPER, turning
from segue.ops.mesh_graph import icosphere
from segue.structures import Mesh
from segue.structures.categories import Color

SMOOTH = 2  # pixels of the drawing along the side of one of the picture
PAIRS = 1 << 16  # of a triangle and a pixel at once


def objects(count: int, level: int) -> list[Mesh]:
    """Bumpy spheres on a ring."""
    vertices, faces = icosphere(level)
    chance = torch.Generator().manual_seed(1)
    angles = torch.arange(count) * (2 * math.pi / count)
    middles = torch.stack([angles.cos(), 0.2 * (3 * angles).sin(), angles.sin()], dim=1)
    bumps = 1 + 0.03 * torch.randn(count, len(vertices), 1, generator=chance)
    return [Mesh(0.3 * vertices * bumpy + middle, faces) for bumpy, middle in zip(bumps, middles, strict=True)]


def case(quick: bool) -> Case:
    meshes, size, frames = (objects(2, 2), 48, 2) if quick else (objects(8, 4), 240, 24)
    colors = [(40 + 25 * number, 90, 220 - 25 * number) for number in range(len(meshes))]
    faces = sum(len(mesh.faces) for mesh in meshes)
    return Case(
        f"{len(meshes)} meshes, together {faces:,} faces, {frames} pictures of {size} × {size}",
        "plain",
        lambda: pixels(turntable(meshes, colors, size, frames)),
        lambda: pixels(plain_turntable(meshes, colors, size, frames)),
        grey_levels,
    )


def pixels(pictures: Sequence[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])


def grey_levels(ours: Tensor, theirs: Tensor) -> str:
    apart = (ours.int() - theirs.int()).abs().amax(dim=3)
    return f"{int((apart > 2).sum())} of {apart.numel():,} pixels differ by more than 2 of 255"


def plain_turntable(meshes: Sequence[Mesh], colors: Sequence[Color], size: int, frames: int) -> list[Image.Image]:
    """The pictures of `turntable`: in each the meshes are turned, lit and put into a depth buffer anew."""
    points = torch.cat([mesh.vertices for mesh in meshes])
    counts = torch.tensor([len(mesh.vertices) for mesh in meshes])
    first = (counts.cumsum(0) - counts).tolist()
    faces = torch.cat([mesh.faces + start for mesh, start in zip(meshes, first, strict=True)])
    owner = torch.arange(len(meshes)).repeat_interleave(torch.tensor([len(mesh.faces) for mesh in meshes]))
    tints = torch.tensor([mix(CLAY, color, TINT) for color in colors])[owner]
    middle = (points.amin(dim=0) + points.amax(dim=0)) / 2
    points = (points - middle) / (points - middle).norm(dim=1).max()
    focal = (0.5 - MARGIN) * size * math.sqrt(DISTANCE**2 - 1)
    ahead = torch.tensor([0.0, 0.0, DISTANCE])
    turned = (points @ turning(2 * math.pi * frame / frames).T + ahead for frame in range(frames))
    return [plain_picture(vertices, faces, tints, focal, size) for vertices in turned]


def plain_picture(vertices: Tensor, faces: Tensor, tints: Tensor, focal: float, size: int) -> Image.Image:
    """One picture of vertices (V, 3) and faces (F, 3) in tints (F, 3)."""
    side = SMOOTH * size
    places = SMOOTH * (focal * vertices[:, :2] / vertices[:, 2:] + size / 2)
    face, weights = plain_raster(torch.cat([places, vertices[:, 2:]], dim=1).double()[faces], side)
    hit = face >= 0
    face, weights = face[hit], weights[hit][:, :, None].float()
    normals = F.normalize((corner_normals(vertices, faces)[face] * weights).sum(dim=1), dim=1)
    views = F.normalize((vertices[faces[face]] * weights).sum(dim=1), dim=1)
    light = AMBIENT + (1 - AMBIENT) * (normals * views).sum(dim=1, keepdim=True).abs()
    paint = torch.zeros(side, side, 4)
    paint[hit] = torch.cat([tints[face] * light, torch.ones_like(light)], dim=1)
    paint = F.avg_pool2d(paint.permute(2, 0, 1), SMOOTH).permute(1, 2, 0)
    color = paint[:, :, :3] + PAPER * (1 - paint[:, :, 3:])
    return Image.fromarray(color.round().clamp(0, 255).to(torch.uint8).numpy())


def plain_raster(corners: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Nearest face (side, side), -1 for none, and the shares of its corners (side, side, 3), of faces (F, 3, 3).

    Every pixel of a face's bounding box is tried.
    """
    low = (corners[:, :, :2].amin(dim=1) - 0.5).ceil().long()
    extent = (corners[:, :, :2].amax(dim=1) + 0.5).floor().long() - low
    ends = extent.prod(dim=1).cumsum(0)
    face, nearest = torch.full((side * side,), -1), torch.full((side * side,), torch.inf, dtype=torch.float64)
    shares = torch.zeros(side * side, 3, dtype=torch.float64)
    for part in torch.arange(len(corners)).split((ends // PAIRS).bincount().tolist()):
        counts = extent[part].prod(dim=1)
        owner = part.repeat_interleave(counts)
        place = torch.arange(len(owner)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        x, y = low[owner, 0] + place % extent[owner, 0], low[owner, 1] + place // extent[owner, 0]
        (ax, ay), (bx, by), (cx, cy) = (corners[owner, k, :2].T - torch.stack([x, y]) - 0.5 for k in range(3))
        areas = torch.stack([bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay], dim=1)
        inside = ((areas >= 0).all(dim=1) | (areas <= 0).all(dim=1)) & (areas != 0).any(dim=1)
        owner, pixel, areas = owner[inside], (y * side + x)[inside], areas[inside]
        flat = areas / areas.sum(dim=1, keepdim=True) / corners[owner, :, 2]
        depth = 1 / flat.sum(dim=1)
        nearest.scatter_reduce_(0, pixel, depth, "amin")
        best = depth == nearest[pixel]
        face[pixel[best]], shares[pixel[best]] = owner[best], (flat * depth[:, None])[best]
    return face.view(side, side), shares.view(side, side, 3)


CASES: dict[str, Callable[[bool], Case]] = {"turntable": case}
"""By name: called with ``quick``, it makes the meshes and the two sides."""
