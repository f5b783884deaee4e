"""Triangle meshes in front of a camera: one object's, and a packed batch of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segue.errors import DataError


@dataclass(frozen=True)
class Camera:
    """A pinhole: a point (x, y, z) in camera coordinates is seen at ``focal * (x, y) / z + centre``.

    Camera coordinates are x to the right, y down, z ahead, as those of pixels are; pixel centres lie at halves.

    Attributes:
        focal: in pixels.
        centre: x and y of the principal point in pixels.
    """

    focal: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class Mesh:
    """The surface of one object; faces are counter-clockwise from outside where x goes right, y up and z towards one.

    Attributes:
        vertices: (V, 3) float32 in camera coordinates.
        faces: (F, 3) int64 indices into them.
        camera: what saw it; None where nobody knows.
        span: nearest and farthest depth of the frustum in which it was predicted: the first is the assumption about
            where the object stands, which the picture does not tell, plus and minus half of its extent. None where the
            vertices are as measured.
        filling: (P, 3) float32 points all through the inside, where a data set brings them (as voxels); else None, and
            the inside follows from the faces.
    """

    vertices: Tensor
    faces: Tensor
    camera: Camera | None = None
    span: tuple[float, float] | None = None
    filling: Tensor | None = None

    def __post_init__(self) -> None:
        for name, values, kind in (("vertices", self.vertices, torch.float32), ("faces", self.faces, torch.int64)):
            if values.ndim != 2 or values.shape[1] != 3 or values.dtype != kind:
                raise DataError(f"{name} must be (N, 3) {kind}, not {tuple(values.shape)} {values.dtype}")
        if self.faces.numel() and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < len(self.vertices):
            raise DataError(f"faces name vertices outside of the {len(self.vertices)} that there are")

    @property
    def depths(self) -> tuple[float, float]:
        """Nearest and farthest depth: the span, or of the vertices."""
        if self.span is not None:
            return self.span
        z = self.vertices[:, 2]
        return (float(z.min()), float(z.max())) if len(z) else (0.0, 0.0)

    def moved(self, vertices: Tensor) -> Mesh:
        """The same faces with other vertices (V, 3)."""
        return replace(self, vertices=vertices)


@dataclass(frozen=True)
class Meshes:
    """N meshes of different sizes in one row: vertices and faces packed one mesh after the other.

    Attributes:
        vertices: (V, 3) of all.
        faces: (F, 3) int64 indices into ``vertices``, that is, of the whole row.
        vertex_counts: (N,) int64.
        face_counts: (N,) int64.
    """

    vertices: Tensor
    faces: Tensor
    vertex_counts: Tensor
    face_counts: Tensor

    def __len__(self) -> int:
        return len(self.vertex_counts)

    @classmethod
    def pack(cls, vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> Meshes:
        """Meshes from lists of (V_i, 3) vertices and (F_i, 3) faces that index them."""
        device = vertices[0].device if vertices else torch.device("cpu")
        counts = torch.tensor([len(v) for v in vertices], dtype=torch.int64, device=device)
        face_counts = torch.tensor([len(f) for f in faces], dtype=torch.int64, device=device)
        first = (counts.cumsum(0) - counts).repeat_interleave(face_counts)
        packed = torch.cat(list(vertices)) if vertices else torch.zeros(0, 3)
        indices = torch.cat(list(faces)) if faces else torch.zeros(0, 3, dtype=torch.int64)
        return cls(packed, indices + first[:, None], counts, face_counts)

    @property
    def vertex_owner(self) -> Tensor:
        """(V,) int64, the mesh of each vertex."""
        return torch.arange(len(self), device=self.vertices.device).repeat_interleave(self.vertex_counts)

    @property
    def face_owner(self) -> Tensor:
        """(F,) int64, the mesh of each face."""
        return torch.arange(len(self), device=self.vertices.device).repeat_interleave(self.face_counts)

    def with_vertices(self, vertices: Tensor) -> Meshes:
        """The same faces with other vertices (V, 3)."""
        return replace(self, vertices=vertices)

    def select(self, index: Tensor) -> Meshes:
        """The meshes at ``index`` (M,) int64."""
        parts = self.unpack()
        vertices, faces = zip(*[parts[i] for i in index.tolist()], strict=True) if len(index) else ((), ())
        return Meshes.pack(vertices, faces)

    def unpack(self) -> list[tuple[Tensor, Tensor]]:
        """Each mesh's (V_i, 3) vertices and (F_i, 3) faces, which index them."""
        first = self.vertex_counts.cumsum(0) - self.vertex_counts
        vertices = torch.split(self.vertices, self.vertex_counts.tolist())
        own = self.faces - first.repeat_interleave(self.face_counts)[:, None]
        faces = torch.split(own, self.face_counts.tolist())
        return list(zip(vertices, faces, strict=True))
