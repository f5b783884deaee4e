"""The chamfer distance with normals, forward and backward, against SciPy's k-d trees and PyTorch3D's CPU operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import Case
from segue.ops.chamfer import chamfer
from segue.ops.mesh_graph import icosphere
from segue.ops.mesh_sampling import sample_surface
from segue.structures import Meshes

try:
    from pytorch3d import _C as pytorch3d
except ImportError:
    pytorch3d = None

Search = Callable[[Tensor, Tensor], Tensor]


def pairs(number: int, points: int) -> list[Tensor]:
    """Points and normals on what a network says and on what is true: (number, points, 3) each, twice."""
    vertices, faces = icosphere(4)
    chance = torch.Generator().manual_seed(1)
    sides = []
    for bumps in (0.02, 0.0):
        stretch = 0.5 + torch.rand(1, 1, 3, generator=chance) / 2 + 0.1 * torch.rand(number, 1, 3, generator=chance)
        shapes = (vertices + bumps * torch.randn(number, *vertices.shape, generator=chance)) * stretch
        sides += sample_surface(Meshes.pack(list(shapes), [faces] * number), points, chance)
    return sides


def case(against: str, search: Search) -> Callable[[bool], Case]:
    def make(quick: bool) -> Case:
        number, points = (2, 100) if quick else (16, 5000)
        a, a_normals, b, b_normals = pairs(number, points)

        def timed(measure: Callable[..., tuple[Tensor, Tensor]]) -> list[Tensor]:
            inputs = [each.clone().requires_grad_() for each in (a, b, a_normals, b_normals)]
            distance, normals = measure(*inputs)
            (distance.mean() + 0.1 * normals.mean()).backward()
            return [distance.detach(), normals.detach(), *(each.grad for each in inputs if each.grad is not None)]

        return Case(
            f"{number} pairs of {points:,} points with normals, and gradients",
            against,
            lambda: timed(chamfer),
            lambda: timed(lambda *inputs: plain_chamfer(search, *inputs)),
        )

    return make


def plain_chamfer(search: Search, a: Tensor, b: Tensor, a_normals: Tensor, b_normals: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) distance and (N,) of normals from the nearest points that ``search`` names."""
    distance, turned = torch.zeros(len(a)), torch.zeros(len(a))
    for here, there, normals, others in ((a, b, a_normals, b_normals), (b, a, b_normals, a_normals)):
        index = search(here.detach(), there.detach())[:, :, None].expand(-1, -1, 3)
        distance = distance + (here - there.gather(1, index)).square().sum(2).mean(1)
        turned = turned + (1 - (normals * others.gather(1, index)).sum(2).abs()).mean(1)
    return distance, turned


def trees(a: Tensor, b: Tensor) -> Tensor:
    """SciPy's trees as they come, with as many threads as torch has."""
    from scipy.spatial import cKDTree

    workers = torch.get_num_threads()
    found = [cKDTree(y.numpy()).query(x.numpy(), workers=workers)[1] for x, y in zip(a, b, strict=True)]
    return torch.stack([torch.from_numpy(index) for index in found])


def compiled(a: Tensor, b: Tensor) -> Tensor:
    """PyTorch3D's operator: one neighbour, by squared Euclidean distance, the version that it chooses itself."""
    lengths = [torch.full((len(x),), x.shape[1]) for x in (a, b)]
    index: Tensor = pytorch3d.knn_points_idx(a, b, *lengths, 2, 1, -1)[0]
    return index[:, :, 0]


CASES: dict[str, Callable[[bool], Case]] = {"chamfer": case("scipy", trees)}
"""By name: called with ``quick``, it makes the inputs and the two sides."""

if pytorch3d:
    CASES["chamfer_pytorch3d"] = case("PyTorch3D", compiled)
