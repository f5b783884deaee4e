"""Greedy non-maximum suppression: of boxes that overlap too much, the best stays.

How many rounds it takes depends on the boxes, so it is an operator, ``segue::nms_keep``, that torch.compile and
torch.export do not look into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from segue.ops.boxes import box_area

BLOCK = 256  # boxes at a time on a CPU: their overlap matrix stays in the cache
BLOCK_ON_DEVICE = 2048  # elsewhere the number of kernel launches counts
SMALLEST = 1e-30  # area


@torch.no_grad()
def nms_keep(
    boxes: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    """Which boxes greedy NMS keeps, as (N,) bool.

    By falling score, a box stays unless one that stays, of the same group, overlaps it by more than the threshold.
    Among equal scores the earlier box comes first. Works in blocks: each is compared with the boxes kept so far, and
    inside it the greedy rule is iterated to its fixed point.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); a NaN makes its box invalid.
        iou_threshold: boxes with exactly this IoU both stay.
        groups: (N,) int64, such as classes or images; boxes of different groups never meet. None is one group.
        valid: (N,) bool; an invalid box is not kept and suppresses nothing. None means that all are.
    """
    if groups is None:
        groups = torch.zeros_like(scores, dtype=torch.int64)
    if valid is None:
        valid = torch.ones_like(scores, dtype=torch.bool)
    keep: Tensor = (_operator if torch.compiler.is_compiling() else _keep)(boxes, scores, iou_threshold, groups, valid)
    return keep


def _keep(boxes: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor, valid: Tensor) -> Tensor:
    usable = valid & ~scores.isnan()
    index = usable.nonzero()[:, 0]
    order = index[scores[index].argsort(descending=True, stable=True)]
    order = order[groups[order].argsort(stable=True)]  # group by group, the best first in each
    kept = _greedy(boxes[order], groups[order], iou_threshold)
    keep = torch.zeros_like(usable)
    keep[order[kept]] = True
    return keep


_operator = torch.library.custom_op("segue::nms_keep", _keep, mutates_args=())


@_operator.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor, valid: Tensor) -> Tensor:
    return torch.empty_like(valid)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS of boxes (N, 4) with scores (N,) -> indices (K,) int64 of those kept, by falling score."""
    return _ranked(nms_keep(boxes, scores, iou_threshold), scores)


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """As `nms`, within each group (N,) int64 (a class, a level, an image) on its own."""
    return _ranked(nms_keep(boxes, scores, iou_threshold, groups), scores)


def _ranked(keep: Tensor, scores: Tensor) -> Tensor:
    index = keep.nonzero()[:, 0]
    return index[scores[index].argsort(descending=True, stable=True)]


def _greedy(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Places (K,) of the boxes that stay, of boxes (N, 4) sorted by group (N,), the best first in each."""
    block = BLOCK if boxes.device.type == "cpu" else BLOCK_ON_DEVICE
    areas = box_area(boxes).clamp(min=SMALLEST)  # an overlap of 0 / 0 would not be a number
    columns = torch.cat([boxes, areas[:, None]], dim=1).T.contiguous()  # (5, N)
    upper = torch.ones(block, block, device=boxes.device).triu_(1)
    counts = torch.unique_consecutive(groups, return_counts=True)[1].tolist()
    kept, places, count, first = torch.empty_like(columns), torch.empty_like(groups), 0, 0
    for start, end, mixed, fresh in _blocks(counts, block):
        first = count if fresh else first  # only what stays of the same group is a rival
        alive = torch.arange(start, end, device=boxes.device)
        for rivals in torch.split(kept[:, first:count], 2 * block, dim=1) if count > first else ():
            alive = alive[~(_overlaps(rivals, columns[:, alive]).amax(0) > threshold)]
        some = columns[:, alive]
        conflict = _overlaps(some, some).gt_(threshold).mul_(upper[: len(alive), : len(alive)])
        if mixed:
            conflict *= groups[alive][:, None] == groups[alive]
        stays = _fixed_point(conflict).nonzero()[:, 0]
        end = count + len(stays)
        kept[:, count:end], places[count:end] = some[:, stays], alive[stays]
        count = end
    return places[:count]


def _blocks(counts: Sequence[int], block: int) -> Iterator[tuple[int, int, bool, bool]]:
    """Cut groups of so many boxes into blocks: start, end, whether it has several groups, whether its groups are new.

    A group that is larger than a block has its own; small ones share one.
    """
    start = end = groups = 0
    for count in counts:
        if groups and end - start + count > block:
            yield start, end, groups > 1, True
            start, groups = end, 0
        end, groups = end + count, groups + 1
        if count > block:
            for at in range(start, end, block):
                yield at, min(at + block, end), False, at == start
            start, groups = end, 0
    if groups:
        yield start, end, groups > 1, True


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) IoU of boxes as columns x0, y0, x1, y1, area (5, A) and (5, B); areas are not 0."""
    (ax0, ay0, ax1, ay1, area), (bx0, by0, bx1, by1, other) = a[:, :, None].unbind(), b.unbind()
    width = torch.minimum(ax1, bx1).sub_(torch.maximum(ax0, bx0)).clamp_(min=0)
    height = torch.minimum(ay1, by1).sub_(torch.maximum(ay0, by0)).clamp_(min=0)
    shared = width.mul_(height)
    return shared.div_((area + other).sub_(shared))


def _fixed_point(conflict: Tensor) -> Tensor:
    """(M,) bool: the greedy choice, where ``conflict[i, j]`` is 1 where i, if it stays, removes j > i, else 0.

    Every round settles at least one more box for good, in practice a whole layer of the chain of conflicts.
    """
    keep = torch.ones(len(conflict), dtype=torch.bool, device=conflict.device)
    while True:
        settled = keep.to(conflict.dtype) @ conflict == 0
        if torch.equal(settled, keep):
            return keep
        keep = settled
