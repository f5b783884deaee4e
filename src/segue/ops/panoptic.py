"""Instances and the classes of pixels into one panoptic map, and counting such maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.errors import DataError
from segue.structures import Categories, Masks, Regions, Segments

BLOCK = 1 << 15
"""Pixels that are compared together: what comes of them stays in the processor's cache."""


@dataclass(frozen=True)
class MergeLimits:
    """What an instance or a class needs to become a segment.

    Attributes:
        score: an instance has at least this score.
        overlap: better instances cover at most this share of an instance.
        stuff_area: pixels that a stuff class has at least after the instances took theirs; 64 x 64 for COCO's pictures.
    """

    score: float = 0.5
    overlap: float = 0.5
    stuff_area: int = 4096


def merge_panoptic(
    regions: Regions,
    semantic: Tensor,
    categories: Categories,
    limits: MergeLimits,
    confidence: Tensor | None = None,
) -> tuple[Tensor, Segments]:
    """One segment for each pixel at most (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 7).

    Instances take their pixels, best score first; each leaves to the better ones what they have, and is dropped where
    that is too much. Stuff classes share what is left. Pixels of a thing class that no instance takes stay 0, as do
    those of classes that have too few.

    Args:
        regions: N instances with masks on the canvas of ``semantic`` and scores.
        semantic: (H, W) category indices, -1 for none; "any thing", which some heads predict, is to be made -1, too.
        categories: of both; tells things from stuff.
        limits: what becomes a segment.
        confidence: (H, W) float, probability of the label in ``semantic``; its mean over a stuff segment is the score.

    Returns:
        (H, W) int32 map of segments 1 to M, 0 for none, and the M segments: things, best first, then stuff in the
        order of the categories. The score of stuff without ``confidence`` is 1.

    Raises:
        DataError: regions without masks or scores, maps of different sizes, or labels outside the categories.
    """
    masks, scores = _checked(regions, semantic, len(categories))
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= limits.score]
    canvas = torch.zeros(semantic.shape, dtype=torch.int32, device=semantic.device)
    kept = _paint_things(canvas, masks, order, limits.overlap)
    is_stuff = torch.tensor([not category.isthing for category in categories], device=semantic.device)
    stuff, means = _paint_stuff(canvas, semantic, is_stuff, limits.stuff_area, len(kept) + 1, confidence)
    labels = torch.cat([regions.labels[kept], stuff])
    ids = torch.arange(1, len(labels) + 1, device=labels.device)
    return canvas, Segments(ids, labels, scores=torch.cat([scores[kept].float(), means]))


def map_runs(*maps: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Runs of pixels that are equal in all of some maps (H, W) on the CPU, row by row; a run may go on in the next row.

    A map has a hundred times fewer runs than pixels, so counting runs is quick.

    Returns:
        (R,) int64 lengths of the runs, and for each map its (R,) int64 values there.
    """
    flat = [np.ravel(plane.numpy()) for plane in maps]  # numpy compares and gathers faster than torch here
    count = len(flat[0])
    starts = np.concatenate([[0], *(_changes(flat, at, min(at + BLOCK, count)) for at in range(1, count, BLOCK))])
    lengths = np.diff(starts, append=count)
    return torch.from_numpy(lengths), [torch.from_numpy(values[starts]).long() for values in flat]


def _changes(maps: Sequence[NDArray[Any]], start: int, stop: int) -> NDArray[np.int64]:
    """The places from ``start`` to ``stop`` at which any of some flat maps has another value than right before."""
    changes = np.zeros(stop - start, bool)
    for values in maps:
        changes |= values[start:stop] != values[start - 1 : stop - 1]
    return np.flatnonzero(changes) + start


def segment_areas(panoptic: Tensor, segments: Segments) -> Tensor:
    """(N,) int64 pixels of each segment in a map (H, W) on the CPU.

    Raises:
        DataError: a number in the map is none of the segments, or a segment has no pixel.
    """
    lengths, (ids,) = map_runs(panoptic)
    areas = torch.zeros(len(segments) + 1, dtype=torch.int64)
    areas.index_add_(0, segments.places(ids) + 1, lengths)
    check_areas(areas[1:], segments)
    return areas[1:]


def check_areas(areas: Tensor, segments: Segments) -> None:
    """Raise `DataError` where one of the areas (N,) is 0."""
    if not bool(areas.all()):
        empty = int(segments.ids[areas == 0][0])
        raise DataError(f"segment {empty} has no pixel in the panoptic map", cure="leave it out of the segments")


def segment_boxes(panoptic: Tensor, segments: Segments) -> Tensor:
    """Tight boxes (N, 4) int64 ``x0, y0, x1, y1`` of the segments in a map (H, W) on the CPU, x1 and y1 exclusive.

    Zeros for a segment without pixels; raises `DataError` for numbers that are none of the segments.
    """
    h, w = panoptic.shape
    lengths, (ids, y) = map_runs(panoptic, torch.arange(h)[:, None].expand(h, w))  # no run goes on below
    x1 = lengths.cumsum(0) - w * y
    place = segments.places(ids)
    used = place >= 0
    index, zeros = place[used, None].expand(-1, 2), torch.zeros(len(segments), 2, dtype=torch.int64)
    low, high = (torch.stack(corner, dim=1)[used] for corner in ((x1 - lengths, y), (x1, y + 1)))
    smallest = zeros.scatter_reduce(0, index, low, "amin", include_self=False)
    return torch.cat([smallest, zeros.scatter_reduce(0, index, high, "amax", include_self=False)], dim=1)


def _checked(regions: Regions, semantic: Tensor, classes: int) -> tuple[Masks, Tensor]:
    """Masks and scores of the regions."""
    size = (semantic.shape[0], semantic.shape[1])
    if int(semantic.max()) >= classes:
        raise DataError(f"class {int(semantic.max())} of a pixel is none of {classes}", cure="use -1 for no class")
    if not len(regions):
        return Masks.from_dense(torch.zeros(0, *size, device=semantic.device)), regions.boxes.new_zeros(0)
    if regions.masks is None or regions.scores is None:
        raise DataError("instances without masks or scores cannot be merged", cure="give each a mask and a score")
    if regions.masks.size != size:
        raise DataError(f"masks are on a {regions.masks.size} canvas, the classes on {size}", cure="paste at one size")
    return regions.masks, regions.scores


def _paint_things(canvas: Tensor, masks: Masks, order: Tensor, overlap: float) -> Tensor:
    """Give free pixels of ``canvas`` (H, W) to masks in this order; (M,) int64 those that got any, numbered from 1 on.

    What an instance gets depends on all before it, hence the loop; each step touches the instance's window only.
    """
    kept: list[int] = []
    windows, starts = masks.boxes.tolist(), masks.offsets.tolist()
    for number in order.tolist():
        x0, y0, x1, y1 = windows[number]
        window = canvas[y0:y1, x0:x1]
        mask = masks.bits[starts[number] : starts[number] + window.numel()].view_as(window)
        free = mask & (window == 0)
        area, left = int(mask.count_nonzero()), int(free.count_nonzero())
        if left and (area - left) / area <= overlap:
            kept.append(number)
            window.masked_fill_(free, len(kept))
    return torch.tensor(kept, dtype=torch.int64, device=canvas.device)


def _paint_stuff(
    canvas: Tensor, semantic: Tensor, is_stuff: Tensor, area: int, first: int, confidence: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Give free pixels of ``canvas`` to stuff classes, numbered from ``first``; the (S,) classes and their scores."""
    free = (canvas == 0) & (semantic >= 0)
    labels = semantic[free].long()
    pixels = labels.bincount(minlength=len(is_stuff))
    kept = (is_stuff & (pixels >= max(area, 1))).nonzero()[:, 0]
    ids = torch.zeros_like(pixels, dtype=canvas.dtype)
    ids[kept] = torch.arange(first, first + len(kept), dtype=canvas.dtype, device=canvas.device)
    canvas.masked_scatter_(free, ids.index_select(0, labels))
    if confidence is None:
        return kept, torch.ones(len(kept), device=canvas.device)
    sums = labels.bincount(confidence[free].double(), minlength=len(is_stuff))
    return kept, (sums[kept] / pixels[kept]).float()
