"""Pictures larger than memory likes: looked at tile by tile, and every object comes out once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from segue.data.geometry import Geometry
from segue.engine.predictor import Predictor
from segue.errors import UsageError
from segue.ops import box_iou, mask_iou, unite_masks, warp_masks
from segue.structures import Masks, Regions, Scene
from segue.tasks import RegionTask

SMALLEST = 64  # pixels, side of a tile
SAME = 0.5  # IoU inside the strip that two tiles share, from which two findings are one object


@dataclass(frozen=True)
class Tile:
    """A window ``x0, y0, x1, y1`` of the picture, in whole pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    def shared(self, other: Tile) -> Tile | None:
        """The window that both cover, or None."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return Tile(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def tiles_of(size: tuple[int, int], side: int) -> list[Tile]:
    """Tiles of ``side`` pixels that cover a picture of ``size`` (h, w) and overlap by a quarter or more."""
    return [
        Tile(x, y, min(x + side, size[1]), min(y + side, size[0]))
        for y in _starts(size[0], side)
        for x in _starts(size[1], side)
    ]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = -(-(length - side) // (side - side // 4)) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def check_side(side: int) -> None:
    """Raise `UsageError` for tiles too small to see anything in."""
    if side < SMALLEST:
        raise UsageError(f"tiles of {side} pixels are too small", where="--tile", cure=f"use {SMALLEST} or more")


def predict_tiled(predictor: Predictor, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
    """As `Predictor.predict` for one picture (3, H, W) uint8, with only a tile of ``side`` pixels in the network.

    Raises:
        UsageError: ``side`` is below 64 pixels.
    """
    check_side(side)
    size = (image.shape[1], image.shape[2])
    tiles = tiles_of(size, side)
    found = [_look(predictor, image, tile, size, threshold) for tile in tiles]
    if len(tiles) == 1:
        return Scene(size, predictor.categories, found[0], file=file)
    return Scene(size, predictor.categories, merge(found, tiles, size), file=file)


def _look(predictor: Predictor, image: Tensor, tile: Tile, size: tuple[int, int], threshold: float) -> Regions:
    """What a tile shows, in coordinates of the whole picture."""
    part = image[:, tile.y0 : tile.y1, tile.x0 : tile.x1]
    regions = predictor.scenes([(part, None)], threshold)[0].regions
    for task in predictor.tasks:
        value = regions.field(task.name)
        if value is not None and isinstance(task, RegionTask) and task.transform is not None:
            regions = regions.with_field(task.name, task.transform(value, _placed(tile, size)))
    return regions


def _placed(tile: Tile, size: tuple[int, int]) -> Geometry:
    """A tile's place in the picture, as a change of window."""
    part = (tile.y1 - tile.y0, tile.x1 - tile.x0)
    window = (-tile.x0, -tile.y0, size[1] - tile.x0, size[0] - tile.y0)
    return Geometry(part, False, False, False, part, window)


def merge(found: list[Regions], tiles: list[Tile], size: tuple[int, int]) -> Regions:
    """The findings of overlapping tiles, doubles and halves joined.

    Two findings are one object if they have one class and agree inside the strip that both tiles see. Of one object's
    findings the best that no tile's edge cuts stands; if all are cut, they are united.
    """
    from scipy.sparse import coo_matrix  # slow to import, and only large pictures need it
    from scipy.sparse.csgraph import connected_components

    together = Regions.cat(found)
    if len(together) == 0:
        return together
    first = torch.tensor([0, *[len(r) for r in found]]).cumsum(0).tolist()
    links = [torch.empty(0, 2, dtype=torch.int64)]
    for i, j in combinations(range(len(tiles)), 2):
        zone = tiles[i].shared(tiles[j])
        if zone is not None and len(found[i]) and len(found[j]):
            links.append(_same(found[i], found[j], zone) + torch.tensor([first[i], first[j]]))
    rows = torch.cat(links).numpy()
    n = len(together)
    graph = coo_matrix((torch.ones(len(rows)).numpy(), (rows[:, 0], rows[:, 1])), shape=(n, n))
    count, names = connected_components(graph, directed=False)
    cut = torch.cat([_cut(r, tile, size) for r, tile in zip(found, tiles, strict=True)])
    return _one_each(together, torch.from_numpy(names).long(), int(count), cut)


def _same(a: Regions, b: Regions, zone: Tile) -> Tensor:
    """(L, 2) index pairs of findings that are one object, judged inside the zone that both tiles see."""
    if a.masks is not None and b.masks is not None:
        overlap = mask_iou(_window(a.masks, zone), _window(b.masks, zone))
    else:
        low = torch.tensor([zone.x0, zone.y0] * 2)
        high = torch.tensor([zone.x1, zone.y1] * 2)
        overlap = box_iou(a.boxes.clamp(low, high), b.boxes.clamp(low, high))
    return ((overlap >= SAME) & (a.labels[:, None] == b.labels)).nonzero()


def _window(masks: Masks, zone: Tile) -> Masks:
    shift = torch.tensor([[1.0, 0.0, -zone.x0], [0.0, 1.0, -zone.y0]], dtype=torch.float64)
    return warp_masks(masks, shift, (zone.y1 - zone.y0, zone.x1 - zone.x0))


def _cut(regions: Regions, tile: Tile, size: tuple[int, int], margin: float = 1.5) -> Tensor:
    """(N,) bool: the box touches an edge of the tile that is no edge of the picture."""
    x0, y0, x1, y1 = regions.boxes.unbind(1)
    return (
        ((x0 < tile.x0 + margin) & (tile.x0 > 0))
        | ((y0 < tile.y0 + margin) & (tile.y0 > 0))
        | ((x1 > tile.x1 - margin) & (tile.x1 < size[1]))
        | ((y1 > tile.y1 - margin) & (tile.y1 < size[0]))
    )


def _one_each(regions: Regions, names: Tensor, count: int, cut: Tensor) -> Regions:
    """One region per name in 0..count-1, best first."""
    assert regions.scores is not None
    rank = regions.scores - 2.0 * cut  # whole ones before cut ones
    order = rank.argsort(descending=True, stable=True)
    order = order[names[order].argsort(stable=True)]  # name by name, the best first in each
    best = order[torch.searchsorted(names[order], torch.arange(count))]
    single = regions.select(best)
    halves = cut[best]  # every finding of these is cut
    if bool(halves.any()):
        single = _united(regions, single, names, best, halves)
    assert single.scores is not None
    return single.select(single.scores.argsort(descending=True, stable=True))


def _united(regions: Regions, single: Regions, names: Tensor, best: Tensor, halves: Tensor) -> Regions:
    """The regions ``single``, one per name, made whole where ``halves`` says so.

    Boxes and masks are those of all findings together; each keypoint is from the finding where it scores best.

    Args:
        regions: all N findings.
        single: the best finding of each of the M names.
        names: (N,) int64 from 0 to M - 1.
        best: (M,) int64, where ``single`` is among the findings.
        halves: (M,) bool.
    """
    count = len(single)
    boxes = torch.stack(
        [
            regions.boxes.new_zeros(count).scatter_reduce(0, names, regions.boxes[:, k], how, include_self=False)
            for k, how in enumerate(("amin", "amin", "amax", "amax"))
        ],
        dim=1,
    )
    whole = replace(single, boxes=torch.where(halves[:, None], boxes, single.boxes))
    if regions.keypoints is not None and single.keypoints is not None:
        points = best_points(regions.keypoints, names, count)
        whole = replace(whole, keypoints=torch.where(halves[:, None, None], points, single.keypoints))
    if regions.masks is not None:
        used = halves[names] | (best[names] == torch.arange(len(names)))
        masks = regions.masks.select(used.nonzero()[:, 0])
        whole = replace(whole, masks=unite_masks(masks, names[used], count))
    return whole


def best_points(points: Tensor, names: Tensor, count: int) -> Tensor:
    """Keypoints (N, K, 3) of findings named 0..count-1 (N,) -> (count, K, 3), each where its score is highest."""
    rows, scores = names[:, None].expand(points.shape[:2]), points[..., 2]
    highest = scores.new_zeros(count, points.shape[1]).scatter_reduce(0, rows, scores, "amax", include_self=False)
    number = torch.arange(len(points))[:, None].where(scores == highest[names], len(points))
    first = number.new_zeros(highest.shape).scatter_reduce(0, rows, number, "amin", include_self=False)
    return points.gather(0, first[..., None].expand(-1, -1, 3))
