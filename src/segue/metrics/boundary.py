"""How well the borders of classes are found: the boundary F1 of semantic segmentation.

Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

TOLERANCE = 0.0075
"""How far apart two boundaries may lie and still match, as a share of the picture's diagonal (Csurka et al.)."""


def boundary_f1(predicted: Tensor, truth: Tensor, classes: int, tolerance: float | None = None) -> float | None:
    """Mean boundary F1 of one picture over the classes that have a boundary in truth or prediction.

    A boundary pixel of a class has a neighbour to the side, above or below of another class (`class_edges`). Precision
    is the share of predicted boundary pixels of the class with a true one of the same class at most ``tolerance``
    away, recall the share of true ones with a predicted one; F1 is their harmonic mean, 0 where one side has none.
    Neither pixels without truth nor the picture's rim bound anything. Both maps are on the CPU.

    Args:
        predicted: (H, W) int64 class indices, -1 for no class, which bounds others but has no boundary of its own.
        truth: (H, W) int64 class indices, -1 where unknown.
        classes: how many there are.
        tolerance: Euclidean distance in pixels; None takes ``TOLERANCE`` of the diagonal.

    Returns:
        A number in [0, 1]; None where no class has a boundary.
    """
    known = truth >= 0
    tolerance = TOLERANCE * math.hypot(*truth.shape) if tolerance is None else tolerance
    found, real = _edge_points(predicted, known), _edge_points(truth, known)
    precision = _matched_share(found, real, classes, tolerance)
    recall = _matched_share(real, found, classes, tolerance)
    present = np.unique(np.append(found[:, 2], real[:, 2]))
    if not len(present):
        return None
    both = precision + recall
    f1 = 2 * precision * recall / np.where(both > 0, both, 1.0)
    return float(f1[present].mean())


def class_edges(labels: Tensor, known: Tensor) -> Tensor:
    """(H, W) bool: known pixels with a known neighbour to the side, above or below of another class.

    Args:
        labels: (H, W) integers.
        known: (H, W) bool.
    """
    edges = known.new_zeros(known.shape)
    for lines, value, sure in ((edges, labels, known), (edges.T, labels.T, known.T)):
        differ = (value[1:] != value[:-1]) & sure[1:] & sure[:-1]
        lines[1:] |= differ
        lines[:-1] |= differ
    return edges


def _edge_points(labels: Tensor, known: Tensor) -> NDArray[np.int64]:
    """(P, 3) rows y, x, class of the boundary pixels."""
    edges = class_edges(labels, known) & (labels >= 0)
    y, x = edges.nonzero(as_tuple=True)
    return np.stack([y.numpy(), x.numpy(), labels[edges].numpy()], axis=1)


def _matched_share(
    points: NDArray[np.int64], others: NDArray[np.int64], classes: int, tolerance: float
) -> NDArray[Any]:
    """(K,) for each class the share of ``points`` with one of ``others`` of their class in reach; 0 where none is."""
    from scipy.spatial import KDTree  # slow to import, and predicting does without

    apart = np.array([1.0, 1.0, 2 * tolerance + 1])  # classes as a third coordinate, out of each other's reach
    reach = tolerance + 1e-9  # the query gives what is nearer than that, and infinity for the rest
    distance, _ = KDTree(others * apart).query(points * apart, distance_upper_bound=reach)
    total = np.bincount(points[:, 2], minlength=classes)
    return np.bincount(points[np.isfinite(distance), 2], minlength=classes) / np.maximum(total, 1)
