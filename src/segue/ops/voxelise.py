"""Which voxels lie inside of meshes, or hold points: the targets of Mesh R-CNN's voxel branch.

Voxel i of an axis with V voxels reaches from 2i / (V - 1) - 1 to 2(i + 1) / (V - 1) - 1, like its cube in `cubify`. So
the first starts at -1, and the last starts at 1 and lies outside of [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from segue.ops.ragged import chunks, ragged
from segue.structures.meshes import Meshes

MOST_CROSSINGS = 1 << 21  # columns that triangles are tried on at a time, to bound the memory

Size = int | tuple[int, int, int]


@torch.no_grad()
def voxelise(meshes: Meshes, size: Size) -> Tensor:
    """The voxels whose centres lie inside of closed meshes, that is, where the winding number is not 0; no gradient.

    A line along z through the centres of each column of voxels enters and leaves the mesh; the balance so far is the
    winding number. Hence overlapping closed parts unite if they are oriented alike, and it does not matter how. Behind
    a hole a column stays full to the end.

    Which triangle a line meets is decided on rows, the way polygons are filled, and an edge is cut in the same way for
    both of its triangles: a line through an edge or a vertex meets the surface once, too.

    Args:
        meshes: N, vertices x, y, z in [-1, 1]^3; what reaches over that is cut off. A face with a vertex that is not
            finite is a hole.
        size: voxels D, H, W along z, y and x, or one number for all.

    Returns:
        (N, D, H, W) bool.
    """
    d, h, w = _sides(size)
    places = _lattice_places(meshes.vertices, (d, h, w)) - 0.5  # centres are at integers
    corners, owner = places[meshes.faces], meshes.face_owner  # (F, 3, 3)
    tried = _columns_tried(corners, (h, w))
    kept = ((tried > 0) & corners.isfinite().flatten(1).all(dim=1)).nonzero()[:, 0]
    balance = torch.zeros(len(meshes), d + 1, h, w, dtype=torch.int32, device=corners.device)
    for part in chunks(tried[kept], MOST_CROSSINGS):
        face = kept[part]
        triangle, column, depth, sign = _crossings(corners[face], (h, w))
        first = depth.ceil().clamp(0, d).long()  # the first centre behind the surface
        place = (owner[face][triangle] * (d + 1) + first) * h * w + column
        balance.view(-1).index_add_(0, place, sign)
    return balance[:, :d].cumsum(dim=1, dtype=torch.int32) != 0


def voxels_of_points(points: Tensor, owner: Tensor, number: int, size: Size) -> Tensor:
    """The voxels that hold a point: index ``long((v + 1)(V - 1) / 2)`` on each axis, as published.

    Points further out than the grid count nowhere, but those within a voxel before its start are taken for the first
    voxel, since ``long`` rounds to 0. (The published code does this before it turns x and y around to the order of the
    picture, and thereby targets lie one voxel off from what `cubify` makes of them; here they do not.)

    Args:
        points: (P, 3) x, y, z.
        owner: (P,) int64, the grid of each point.
        number: grids, N.
        size: voxels D, H, W, or one number for all.

    Returns:
        (N, D, H, W) bool.
    """
    sides = _sides(size)
    places = _lattice_places(points, sides).flip(1)  # z, y, x
    inside = ((places > -1) & (places < places.new_tensor(sides))).all(dim=1)
    z, y, x = places[inside].long().unbind(1)
    grid = torch.zeros(number, *sides, dtype=torch.bool, device=points.device)
    grid[owner[inside], z, y, x] = True
    return grid


def _sides(size: Size) -> tuple[int, int, int]:
    return (size, size, size) if isinstance(size, int) else size


def _lattice_places(points: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Coordinates (P, 3) x, y, z -> places on the lattice of `cubify`, where voxel i reaches from i to i + 1."""
    spans = points.new_tensor([max(side - 1, 1) for side in reversed(size)])
    return (points + 1) * spans / 2


def _columns_tried(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Triangles (F, 3, 3) -> (F,) int64 columns of voxels in their bounding boxes."""
    sides = corners.new_tensor([size[1], size[0]])
    flat = corners[..., :2]
    low, high = (torch.minimum(end.ceil().clamp(min=0), sides).long() for end in (flat.amin(1), flat.amax(1)))
    return (high - low).prod(dim=1)


def _crossings(corners: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the lines through the centres of columns meet triangles (F, 3, 3).

    Returns:
        For each meeting, (K,): the triangle, the column (row * W + column), the depth and, int32, the sign: whether
        the line passes the triangle from one side or from the other.
    """
    h, w = size
    order = corners[..., 1].argsort(dim=1)
    low, middle, high = corners.gather(1, order[..., None].expand(-1, -1, 3)).unbind(1)  # by y
    turn = torch.where((order[:, 1] - order[:, 0]) % 3 == 1, 1, -1)  # sorting kept the triangle's sense, or turned it

    start, end = (y.ceil().clamp(0, h).long() for y in (low[:, 1], high[:, 1]))
    triangle, step = ragged(end - start)
    row = start[triangle] + step
    low, middle, high = low[triangle], middle[triangle], high[triangle]
    long = _cut(low, high, row)  # the edge that all rows cross
    upper = (row < middle[:, 1])[:, None]
    short = _cut(torch.where(upper, low, middle), torch.where(upper, middle, high), row)
    swap = long[:, :1] > short[:, :1]
    left, right = torch.where(swap, short, long), torch.where(swap, long, short)

    start, end = (cut[:, 0].ceil().clamp(0, w).long() for cut in (left, right))
    span, step = ragged(end - start)
    x = start[span] + step
    left, right = left[span], right[span]
    share = ((x - left[:, 0]) / (right[:, 0] - left[:, 0])).clamp(0, 1)
    depth = left[:, 1] + share * (right[:, 1] - left[:, 1])
    sign = torch.where(swap[:, 0], -1, 1) * turn[triangle]
    return triangle[span], row[span] * w + x, depth, sign[span].int()


def _cut(upper: Tensor, lower: Tensor, row: Tensor) -> Tensor:
    """x and z (R, 2) where edges from (R, 3) to (R, 3), the smaller y first, cross the rows (R,).

    Both triangles at an edge must get the same floats: no fused multiply-add, which rounds otherwise in some lanes.
    """
    share = (row - upper[:, 1]) / (lower[:, 1] - upper[:, 1])
    start, end = upper[:, 0::2], lower[:, 0::2]
    return start + share[:, None] * (end - start)
