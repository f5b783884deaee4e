"""Meshes: the surface of each object in space (Mesh R-CNN, Gkioxari et al., ICCV 2019).

A picture does not tell how far an object is, or with which focal length it was taken: both are assumed where nothing
is known, and a predicted `Mesh` says by its camera and its span what was. `segue.ops.placing` puts it elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.geometry import Geometry
from segue.drawing import draw_meshes, mesh_part
from segue.metrics.meshes import MeshAP
from segue.nn.conventions import Conventions
from segue.nn.mesh_frames import extent_loss, framed, is_known, occupancy, unframed
from segue.nn.mesh_heads import ExtentHead, Refinement, VoxelHead
from segue.ops.chamfer import chamfer
from segue.ops.cubify import cubify, occupied_or_centre, without_specks
from segue.ops.mesh_graph import icosphere, surface_areas
from segue.ops.mesh_losses import edge_loss
from segue.ops.mesh_sampling import sample_surface
from segue.structures import Camera, Categories, Field, Mesh, Meshes, Regions
from segue.tasks.mesh_files import mesh_entries, mesh_files, parse_meshes
from segue.tasks.task import RegionTask, Sampled

EXTENT_SIDE, FEATURE_SIDE = 7, 14
"""RoIAlign for the extent and for the vertices."""

FARTHEST = 5.0
"""Objects that reach farther out of their box's frustum teach nothing: the box is a bad one (published constant)."""

SMALLEST = 1e-6
"""Surfaces with less area, in a frustum of side 2, are none: points, or lines but for rounding."""

LARGEST_EXTENT = math.log(1000 / 16)
"""Of a predicted logarithm (published constant)."""

DEEPEST = 1.8
"""An object is at most so deep, in parts of its distance: its near end is still before the camera."""


@dataclass(frozen=True)
class MeshSettings:
    """Recipe values of the mesh head. The defaults are those of Mesh R-CNN on Pix3D.

    Voxel-only: ``stages: 0``. Sphere-initialised: ``start: sphere``. Pixel2Mesh: ``start: sphere``, ``level: 2`` and
    ``divide: true``; in the frustum of its box, the sphere is an ellipsoid.

    Attributes:
        start: what the stages refine.
        voxels: a side of the voxel grid; even.
        voxel_channels: of the convolutions before the voxels.
        voxel_convolutions: their number.
        threshold: voxels with this probability or more are part of the object.
        specks: parts apart with a smaller share of an object's voxels than this are left out of what is predicted.
        empty: what is predicted where there is no such voxel: the middle half of the box, refined, or nothing.
        level: how often the faces of an icosahedron are divided to give the sphere.
        stages: of refinement.
        convolutions: on the graph, in each stage.
        channels: of a vertex.
        divide: divide each face into four between stages.
        hidden: channels of the layers that tell the extent.
        samples: points on each surface that are compared.
        objects: most objects of a training step whose surfaces are compared, drawn at random; 0 means all.
        distances: also learn how tall objects are in metres, which tells how far away they stand.
        focal: assumed focal length, in parts of the picture's longer side.
        distance: assumed distance in metres, where ``distances`` is false.
        voxel_weight: of the loss of the voxels.
        normal_weight: of the loss of directions.
        edge_weight: of the loss of lengths of edges.
    """

    start: Literal["voxels", "sphere"] = "voxels"
    voxels: int = 24
    voxel_channels: int = 256
    voxel_convolutions: int = 4
    threshold: float = 0.2
    specks: float = 0.0
    empty: Literal["centre", "nothing"] = "centre"
    level: int = 4
    stages: int = 3
    convolutions: int = 3
    channels: int = 128
    divide: bool = False
    hidden: int = 1024
    samples: int = 5000
    objects: int = 0
    distances: bool = False
    focal: float = 1.25
    distance: float = 1.0
    voxel_weight: float = 3.0
    normal_weight: float = 0.1
    edge_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.voxels < 2 or self.voxels % 2:
            raise ValueError("voxels must be an even number from 2")
        if self.start == "sphere" and not self.stages:
            raise ValueError("a sphere needs stages that refine it")
        if not 0 <= self.threshold <= 1:
            raise ValueError("threshold must be from 0 to 1")
        if not 0 <= self.specks <= 1:
            raise ValueError("specks must be from 0 to 1")
        if not 0 <= self.level <= 6:
            raise ValueError("level must be from 0 to 6")
        if min(self.convolutions, self.channels, self.hidden, self.samples, self.voxel_channels) < 1:
            raise ValueError("convolutions, channels, hidden, samples and voxel_channels must be at least 1")
        if min(self.focal, self.distance) <= 0:
            raise ValueError("focal and distance must be above 0")


class MeshHead(nn.Module):
    """Voxels, made into a mesh and refined; and how deep the object is."""

    def __init__(self, channels: int, categories: Categories, conventions: Conventions, settings: MeshSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.extent = ExtentHead(channels, EXTENT_SIDE, s.hidden, len(categories), 2 if s.distances else 1)
        self.refinement = Refinement(channels, s.channels, s.stages, s.convolutions, s.divide)
        self.pooled: tuple[int, ...] = (EXTENT_SIDE, FEATURE_SIDE)
        self.voxels: VoxelHead | None = None
        if s.start == "voxels":
            self.pooled += (s.voxels // 2,)
            self.voxels = VoxelHead(channels, s.voxel_channels, s.voxel_convolutions, s.voxels)

    def forward(self, rois: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(R, C, S, S) of each side in ``pooled`` -> extents (R, K, 1 or 2), features (R, C, 14, 14), and maybe voxels.

        The logits of the voxels are (R, V, V, V).
        """
        extents, features = self.extent(rois[0]), rois[1]
        return (extents, features) if self.voxels is None else (extents, features, self.voxels(rois[2]))

    def losses(self, raw: tuple[Tensor, ...], regions: Sampled, truth: Regions) -> dict[str, Tensor]:
        """Those of the extents and voxels, and distance, directions and edges of the meshes, summed over the stages."""
        extents, features, *voxels = raw
        rows = self._rows(regions, truth)
        if truth.meshes is None or not len(rows):
            return self._nothing(raw)
        meshes, boxes = [truth.meshes[i] for i in regions.matched[rows].tolist()], regions.boxes[rows]
        goals, filling = framed(meshes, boxes)
        losses = {"extents": extent_loss(extents[rows], regions.labels[rows], meshes, boxes)}
        if voxels:
            wanted = occupancy(goals, filling, self.settings.voxels)
            loss = F.binary_cross_entropy_with_logits(voxels[0][rows], wanted.to(voxels[0]))
            losses["voxels"] = loss * self.settings.voxel_weight
        if self.settings.stages:
            drawn = self._drawn(len(rows), rows.device)
            some, own = goals.select(drawn), rows[drawn]
            start = self._start([logits[own].detach().sigmoid() for logits in voxels], len(own), features.device)
            losses |= self._surface_losses(self.refinement(features[own], start), some)
        return losses

    def decode(self, raw: tuple[Tensor, ...], regions: Regions, size: tuple[int, int]) -> Field:
        """The mesh of each detection, seen by the assumed camera at the assumed distance."""
        extents, features, *voxels = raw
        s = self.settings
        inside = [without_specks(logits.sigmoid(), s.threshold, s.specks) for logits in voxels]
        shapes = self._start(inside, len(regions), features.device, s.empty == "centre")
        if self.settings.stages:
            shapes = self.refinement(features, shapes)[-1]
        camera = Camera(self.settings.focal * max(size), (size[1] / 2, size[0] / 2))
        own = extents[torch.arange(len(extents), device=extents.device), regions.labels]  # (N, 1 or 2)
        spans = self._spans(own, regions.boxes, camera)
        vertices = unframed(shapes, regions.boxes, camera, spans)
        found = shapes.with_vertices(vertices).unpack()
        return [
            Mesh(places.cpu(), faces.cpu(), camera, (near, far))
            for (places, faces), (near, far) in zip(found, spans.tolist(), strict=True)
        ]

    def tensors(self, raw: tuple[Tensor, ...], labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``extents`` (R, 1 or 2), and where the surface starts from them ``voxels`` (R, V, V, V), probabilities.

        Extents are the object's depth in heights of the object, and maybe its height in metres. Surfaces are left out:
        how many vertices one has depends on the voxels.
        """
        own = raw[0][torch.arange(labels.shape[0], device=labels.device), labels].clamp(max=LARGEST_EXTENT).exp()
        return {"extents": own} if self.voxels is None else {"extents": own, "voxels": raw[2].sigmoid()}

    def _rows(self, regions: Sampled, truth: Regions) -> Tensor:
        """The regions to learn from: their object has a surface and a camera, and does not reach far out of the box."""
        rows = regions.positive.nonzero()[:, 0]
        if not truth.meshes or not len(rows):
            return rows[:0]
        known = torch.tensor([is_known(mesh) for mesh in truth.meshes], device=rows.device)
        rows = rows[known[regions.matched[rows]]]
        if not len(rows):
            return rows
        goals, _ = framed([truth.meshes[i] for i in regions.matched[rows].tolist()], regions.boxes[rows])
        reach = goals.vertices.new_zeros(len(rows))
        reach = reach.scatter_reduce(0, goals.vertex_owner, goals.vertices.abs().amax(1), "amax")
        areas = surface_areas(goals)
        return rows[(reach <= FARTHEST) & (areas > SMALLEST) & areas.isfinite()]

    def _drawn(self, number: int, device: torch.device) -> Tensor:
        """Which of a number of objects have their surfaces compared."""
        if not self.settings.objects:
            return torch.arange(number, device=device)
        return torch.randperm(number, device=device)[: self.settings.objects]

    def _start(self, inside: list[Tensor], number: int, device: torch.device, filled: bool = True) -> Meshes:
        """What the stages refine, for each of a number of objects.

        That are the voxels with a high enough probability (one tensor); without such a voxel their middle, if
        ``filled``. Without the tensor it is a sphere.
        """
        if inside:
            [voxels], threshold = inside, self.settings.threshold
            return cubify(occupied_or_centre(voxels, threshold) if filled else voxels, threshold)
        vertices, faces = icosphere(self.settings.level)
        return Meshes.pack([vertices.to(device)] * number, [faces.to(device)] * number)

    def _surface_losses(self, stages: list[Meshes], goals: Meshes) -> dict[str, Tensor]:
        s = self.settings
        with torch.no_grad():
            points, normals = sample_surface(goals, s.samples)
        sums = points.new_zeros(3)
        for meshes in stages:
            own, own_normals = sample_surface(meshes, s.samples)
            distance, direction = chamfer(own, points, own_normals, normals)
            sums = sums + torch.stack([distance.mean(), direction.mean(), edge_loss(meshes).mean()])
        return {"chamfer": sums[0], "normals": sums[1] * s.normal_weight, "edges": sums[2] * s.edge_weight}

    def _nothing(self, raw: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Zeros, from which every weight still gets a gradient, as data-parallel training needs."""
        zero = torch.stack([part.sum() for part in (*raw, *self.refinement.parameters())]).sum() * 0
        names = ["extents", *(["voxels"] if self.voxels is not None else [])]
        return dict.fromkeys(names + (["chamfer", "normals", "edges"] if self.settings.stages else []), zero)

    def _spans(self, extents: Tensor, boxes: Tensor, camera: Camera) -> Tensor:
        """Predicted numbers (N, 1 or 2) and boxes -> nearest and farthest depth (N, 2)."""
        sizes = extents.clamp(max=LARGEST_EXTENT).exp()
        heights = (boxes[:, 3] - boxes[:, 1]).clamp(min=1)
        depth = torch.full_like(heights, self.settings.distance)
        if self.settings.distances:
            depth = camera.focal * sizes[:, 1] / heights
        thick = (sizes[:, 0] * heights / camera.focal).clamp(max=DEEPEST) * depth
        return torch.stack([depth - thick / 2, depth + thick / 2], 1)


def transform(meshes: Field, geometry: Geometry) -> list[Mesh]:
    """The meshes as the camera sees them that takes the changed picture.

    Where the picture is rescaled by different factors in x and y, the shape takes up the difference.
    """
    assert isinstance(meshes, list)
    matrix = geometry.matrix()
    scale = float(matrix[:, :2].det().abs().sqrt())
    linear = (matrix[:, :2] / scale).float()
    return [_moved(mesh, linear, scale, matrix, geometry.mirrored) for mesh in meshes]


def _moved(mesh: Mesh, linear: Tensor, scale: float, matrix: Tensor, mirrored: bool) -> Mesh:
    def turned(points: Tensor) -> Tensor:
        return torch.cat([points[:, :2] @ linear.T, points[:, 2:]], 1)

    camera = mesh.camera
    if camera is not None:
        x, y = (matrix @ matrix.new_tensor([*camera.centre, 1.0])).tolist()
        camera = Camera(camera.focal * scale, (x, y))
    faces = mesh.faces.flip(1) if mirrored else mesh.faces
    filling = None if mesh.filling is None else turned(mesh.filling)
    return Mesh(turned(mesh.vertices), faces, camera, mesh.span, filling)


def unknown(example: Field, number: int) -> list[Mesh]:
    """Meshes without faces."""
    return [Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))] * number


MESHES = RegionTask(
    name="meshes",
    settings=MeshSettings,
    head=MeshHead,
    parse=parse_meshes,
    transform=transform,
    metrics=(MeshAP,),
    draw=draw_meshes,
    to_json=mesh_entries,
    files=mesh_files,
    part=mesh_part,
    unknown=unknown,
)
