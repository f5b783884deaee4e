"""Nearest points and the chamfer distance of point sets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from segue.errors import DataError

LEAF = 32  # points in a leaf of the tree, where it is quickest
MOST_PAIRS = 1 << 24  # compared at a time without a tree: 200 MB of differences


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The point of ``b`` that is nearest to each point of ``a``, exactly.

    The distance is that of the two coordinates as they are, so it loses nothing far from the origin, and its gradient
    flows to both points; the choice has none.

    Args:
        a: (N, P, 3).
        b: (N, Q, 3), Q at least 1 if P is.

    Returns:
        (N, P) squared distances, not a number where coordinates are not; and (N, P) int64 indices into the Q points, of
        several that are equally near any one.

    Raises:
        DataError: there are points in ``a``, but none in ``b``.
    """
    if a.numel() and not b.numel():
        raise DataError("no point is nearest among none", cure="give each set at least one point")
    index = torch.zeros(a.shape[:2], dtype=torch.int64, device=a.device)
    if a.numel():
        index = (_search_trees if a.device.type == "cpu" else _search_blocks)(a.detach(), b.detach())
    return (a - pick(b, index)).square().sum(dim=2), index


def chamfer(
    a: Tensor, b: Tensor, a_normals: Tensor | None = None, b_normals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How far point sets on two surfaces are apart, and how different their normals (Mesh R-CNN, section 3.2).

    Args:
        a: (N, P, 3).
        b: (N, Q, 3).
        a_normals: (N, P, 3), unit.
        b_normals: (N, Q, 3), unit.

    Returns:
        (N,) mean squared distance from a point to the nearest one of the other set, the one way plus the other; and
        (N,) mean of ``1 - |cos|`` between the normals there, the one way plus the other, 0 if none are given.

    Raises:
        DataError: one set has points and the other has none.
    """
    there, b_index = nearest(a, b)
    back, a_index = nearest(b, a)
    distance = there.mean(dim=1) + back.mean(dim=1)
    if a_normals is None or b_normals is None:
        return distance, torch.zeros_like(distance)
    return distance, _turned(a_normals, pick(b_normals, b_index)) + _turned(b_normals, pick(a_normals, a_index))


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Of (N, Q, C) the rows (N, P) -> (N, P, C)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))


def _turned(normals: Tensor, others: Tensor) -> Tensor:
    """(N,) mean of ``1 - |cos|`` between unit vectors (N, P, 3)."""
    return 1 - (normals * others).sum(dim=2).abs().mean(dim=1)


def _search_trees(a: Tensor, b: Tensor) -> Tensor:
    """Indices of `nearest` on the CPU by SciPy's k-d trees, which compute in float64; a thread takes a mesh at a time.

    At 5,000 points a hundred times faster than `_search_blocks`. What is not finite is searched for as if it was 0, for
    the tree takes finite numbers only.
    """
    from scipy.spatial import cKDTree  # half a second, which predicting need not wait for

    def search(queries: Tensor, points: Tensor) -> Tensor:
        tree = cKDTree(points.numpy(), leafsize=LEAF, balanced_tree=False)
        return torch.from_numpy(tree.query(queries.numpy())[1])

    a, b = (points.double().nan_to_num(0, 0, 0) for points in (a, b))
    threads = min(torch.get_num_threads(), len(a))
    if threads == 1:  # for few points, starting a thread takes longer than they do
        return torch.stack(list(map(search, a, b)))
    with ThreadPoolExecutor(threads) as pool:
        return torch.stack(list(pool.map(search, a, b)))


def _search_blocks(a: Tensor, b: Tensor) -> Tensor:
    """Indices of `nearest` by comparing every pair, some queries at a time to bound the memory."""
    rows = max(MOST_PAIRS // (b.shape[0] * b.shape[1]), 1)
    parts = torch.split(a, rows, dim=1)
    return torch.cat([(part[:, :, None] - b[:, None]).square().sum(dim=3).argmin(dim=2) for part in parts], dim=1)
