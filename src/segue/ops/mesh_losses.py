"""What keeps a predicted mesh regular."""

from __future__ import annotations

from torch import Tensor

from segue.ops.mesh_graph import neighbour_sum, neighbours, unique_edges
from segue.structures import Meshes


def edge_loss(meshes: Meshes) -> Tensor:
    """(N,) mean squared length of each mesh's edges (Mesh R-CNN, ICCV 2019, section 3.2); 0 without edges."""
    edges = unique_edges(meshes.faces)
    ends = meshes.vertices[edges]  # (E, 2, 3)
    lengths = (ends[:, 0] - ends[:, 1]).square().sum(dim=1)
    return _means(lengths, meshes.vertex_owner[edges[:, 0]], len(meshes))


def laplacian_loss(meshes: Meshes) -> Tensor:
    """(N,) mean distance of a vertex from the mean of its neighbours: the uniform Laplacian's length.

    0 for a mesh without edges; vertices without edges do not count (Nealen et al., Laplacian Mesh Optimization, 2006).
    """
    edges = unique_edges(meshes.faces)
    degrees = edges.flatten().bincount(minlength=len(meshes.vertices))
    joined = degrees > 0
    means = neighbour_sum(meshes.vertices, neighbours(edges, len(degrees)))[joined] / degrees[joined, None]
    return _means((means - meshes.vertices[joined]).norm(dim=1), meshes.vertex_owner[joined], len(meshes))


def _means(values: Tensor, owner: Tensor, number: int) -> Tensor:
    """(K,) values of meshes (K,) -> (number,) the mean of each mesh's; 0 where it has none."""
    sums = values.new_zeros(number).index_add(0, owner, values)
    return sums / owner.bincount(minlength=number).clamp(min=1)
