"""How far two surfaces are apart: chamfer distance, agreement of normals, F1 (Mesh R-CNN, ICCV 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.ops.mesh_graph import surface_areas
from segue.ops.mesh_sampling import sample_surface
from segue.structures import Mesh, Meshes

SAMPLES = 10_000  # points on either surface
SEED = 0


@dataclass(frozen=True)
class Measure:
    """The size at which two surfaces are compared, and how near is near.

    Attributes:
        thresholds: distances below which a point counts as found, one for each F1.
        factor: both surfaces are enlarged so many times,
        edge: or so that the longest edge of the true one's bounding box has this length.
    """

    thresholds: tuple[float, ...]
    factor: float = 1.0
    edge: float | None = None

    def scale(self, truth: Mesh) -> float:
        """How many times to enlarge."""
        if self.edge is None:
            return self.factor
        return self.edge / float((truth.vertices.amax(0) - truth.vertices.amin(0)).max())


MESH_RCNN = Measure((0.1, 0.3, 0.5), edge=10.0)
"""Of the tables of Mesh R-CNN, its second one on ShapeNet among them."""

PIXEL2MESH = Measure((0.01, 0.014142), factor=0.57)
"""Of Pixel2Mesh, whose tau and 2 tau are squares of these distances; Mesh R-CNN's first table on ShapeNet."""


class Surface(NamedTuple):
    """Points (P, 3) on a surface and its unit normals (P, 3) there."""

    points: Tensor
    normals: Tensor


@dataclass(frozen=True)
class ShapeScores:
    """How alike two surfaces are.

    Attributes:
        chamfer: squared distance from a point to the other surface, the mean over one plus the mean over the other;
            NaN where the predicted one is none.
        normals: absolute cosine between the normals there, the mean over both; likewise.
        f1: harmonic mean of precision and recall in [0, 1], for each threshold; 0 where the predicted one is none.
    """

    chamfer: float
    normals: float
    f1: tuple[float, ...]


def point_scores(predicted: Surface, truth: Surface, thresholds: Sequence[float]) -> ShapeScores:
    """Compare points (P, 3) with points (Q, 3); a point is found where the other surface is nearer than a threshold."""
    away, cosine = _nearest(predicted, truth)
    missed, cosine_back = _nearest(truth, predicted)
    chamfer = away.square().mean() + missed.square().mean()
    f1 = (_harmonic(float((away < t).double().mean()), float((missed < t).double().mean())) for t in thresholds)
    return ShapeScores(float(chamfer), float((cosine.mean() + cosine_back.mean()) / 2), tuple(f1))


def shape_scores(predicted: Mesh, truth: Mesh, measure: Measure = MESH_RCNN, samples: int = SAMPLES) -> ShapeScores:
    """Compare two meshes by points spread evenly over their surfaces, the same ones each time.

    Args:
        predicted: anything; without a surface it scores 0.
        truth: a mesh with a surface (`has_surface`).
        measure: the scale and the thresholds.
        samples: points on each.
    """
    if not has_surface(predicted):
        return ShapeScores(nan, nan, (0.0,) * len(measure.thresholds))
    return point_scores(*sample_pair(predicted, truth, measure.scale(truth), samples), measure.thresholds)


def sample_pair(predicted: Mesh, truth: Mesh, scale: float, samples: int) -> tuple[Surface, Surface]:
    """Points on two meshes, enlarged; each is sampled for itself, so that equal meshes do not get equal points."""
    both = (predicted, truth)
    packed = Meshes.pack([scale * mesh.vertices.double().cpu() for mesh in both], [mesh.faces.cpu() for mesh in both])
    points, normals = sample_surface(packed, samples, torch.Generator().manual_seed(SEED))
    return Surface(points[0], normals[0]), Surface(points[1], normals[1])


def score_pairs(
    pairs: Sequence[tuple[Mesh, Mesh]], measure: Measure = MESH_RCNN, samples: int = SAMPLES
) -> list[ShapeScores]:
    """`shape_scores` of pairs of prediction and truth, on as many threads as torch uses."""
    predicted, truth = [a for a, _ in pairs], [b for _, b in pairs]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(shape_scores, predicted, truth, repeat(measure), repeat(samples)))


def has_surface(mesh: Mesh) -> bool:
    """Whether a mesh has any area, and only finite vertices."""
    if not bool(mesh.vertices.isfinite().all()):
        return False
    return 0 < float(surface_areas(Meshes.pack([mesh.vertices.double()], [mesh.faces]))) < inf


def _nearest(surface: Surface, other: Surface) -> tuple[Tensor, Tensor]:
    """(P,) distance of each point to the nearest one of the other surface, and the absolute cosine of their normals."""
    from scipy.spatial import KDTree  # half a second, which predicting need not wait for

    tree = KDTree(other.points.numpy(), balanced_tree=False)
    distance, index = (torch.from_numpy(column) for column in tree.query(surface.points.numpy()))
    return distance, F.cosine_similarity(surface.normals, other.normals[index], dim=1).abs()


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
