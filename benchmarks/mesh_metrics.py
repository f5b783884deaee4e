"""Shape scores of meshes, against the matrix of all distances."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import Case
from segue.metrics.shapes import MESH_RCNN, SAMPLES, Surface, sample_pair, score_pairs
from segue.structures import Mesh

BLOCK = 1000  # rows of the matrix at once


def tube(radius: float, sides: int) -> Mesh:
    """An open tube of length 2 around the z axis, of 2 * sides ** 2 triangles."""
    turn = torch.linspace(0, 2 * math.pi, sides + 1)
    ring = torch.stack([radius * turn.cos(), radius * turn.sin()], dim=1).expand(sides + 1, -1, -1)
    height = torch.linspace(-1, 1, sides + 1)[:, None, None].expand(-1, sides + 1, 1)
    corner = (torch.arange(sides)[:, None] * (sides + 1) + torch.arange(sides)).flatten()
    right, up = corner + 1, corner + sides + 1
    faces = torch.cat([torch.stack([corner, right, up], 1), torch.stack([right, up + 1, up], 1)])
    return Mesh(torch.cat([ring, height], dim=2).reshape(-1, 3), faces)


def shapes(quick: bool) -> Case:
    count, samples, sides = (2, 300, 8) if quick else (20, SAMPLES, 32)
    pairs = [(tube(0.5 + 0.01 * number, sides), tube(0.5, sides)) for number in range(count)]
    return Case(
        f"{count} objects, {samples:,} points on each surface",
        "plain",
        lambda: table([(s.chamfer, s.normals, *s.f1) for s in score_pairs(pairs, samples=samples)]),
        lambda: table([plain(*sample_pair(a, b, MESH_RCNN.scale(b), samples)) for a, b in pairs]),
    )


def table(rows: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows)


def plain(predicted: Surface, truth: Surface) -> tuple[float, ...]:
    """Chamfer distance, normals and F1 of each threshold, from the distances of all pairs of points."""
    (away, cosine), (missed, cosine_back) = plain_nearest(predicted, truth), plain_nearest(truth, predicted)
    f1 = []
    for threshold in MESH_RCNN.thresholds:
        precision, recall = ((side < threshold).double().mean() for side in (away, missed))
        f1.append(float(2 * precision * recall / (precision + recall).clamp(min=1e-12)))
    chamfer = away.square().mean() + missed.square().mean()
    return float(chamfer), float(torch.stack([cosine, cosine_back]).mean()), *f1


def plain_nearest(surface: Surface, other: Surface) -> tuple[Tensor, Tensor]:
    parts = []
    for points, normals in zip(surface.points.split(BLOCK), surface.normals.split(BLOCK), strict=True):
        distance, index = torch.cdist(points, other.points).min(1)
        parts.append(torch.stack([distance, (normals * other.normals[index]).sum(1).abs()]))
    distance, cosine = torch.cat(parts, dim=1)
    return distance, cosine


CASES: dict[str, Callable[[bool], Case]] = {"mesh_shapes": shapes}
"""By name: called with ``quick``, it makes the inputs and the two sides."""
