"""Which box answers for which object, and which boxes are trained on: batched, with fixed sizes."""

from __future__ import annotations

import torch
from torch import Tensor

BELOW, BETWEEN = -1, -2  # values of `match` where no object is answered for


def match(overlaps: Tensor, valid: Tensor, low: float, high: float, keep_best: bool, ignored: float = 0.0) -> Tensor:
    """Give every box an object, or none (Faster R-CNN, section 3.1.2).

    Args:
        overlaps: (B, G, A) IoU of G objects with A boxes.
        valid: (B, G) bool, the object slots that are filled.
        low: below it a box is background.
        high: from it on a box answers for its best object.
        keep_best: the best box of every object answers for its own best object even below ``high``.
        ignored: below it a box is neither background nor answers for anything (Mesh R-CNN: where few objects of a
            picture are annotated, what is far from them may be another).

    Returns:
        (B, A) int64: the object's slot, `BELOW` or `BETWEEN`.
    """
    b, g, a = overlaps.shape
    if g == 0:
        return torch.full((b, a), BETWEEN if ignored > 0 else BELOW, dtype=torch.int64, device=overlaps.device)
    overlaps = overlaps.masked_fill(~valid[:, :, None], -1.0)
    best, matched = overlaps.max(1)  # (B, A)
    answer = matched.where(best >= high, torch.full_like(matched, BETWEEN))
    answer = answer.masked_fill(best < low, BELOW).masked_fill(best.clamp(min=0) < ignored, BETWEEN)
    if keep_best:
        peak = overlaps.amax(2, keepdim=True)  # (B, G, 1)
        is_peak = ((overlaps == peak) & (peak > 0)).any(1)
        answer = torch.where(is_peak, matched, answer)
    return answer


def sample(matched: Tensor, valid: Tensor, count: int, positives: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw ``count`` boxes per image at random, at most ``positives`` of them with an object, the rest background.

    Args:
        matched: (B, A) of `match`.
        valid: (B, A) bool, boxes that may be drawn.
        count: slots per image.
        positives: most slots with an object.

    Returns:
        (B, S) int64 indices, positives first; (B, S) bool positive; (B, S) bool filled; S = min(count, A).
    """
    count = min(count, matched.shape[1])
    positives = min(positives, count)
    order = torch.rand(matched.shape, device=matched.device)
    chosen, chosen_ok = _draw(order, valid & (matched >= 0), positives)
    others, others_ok = _draw(order, valid & (matched == BELOW), count)
    room = count - chosen_ok.sum(1, keepdim=True)
    others_ok &= torch.arange(count, device=order.device) < room
    index, filled = torch.cat([chosen, others], 1), torch.cat([chosen_ok, others_ok], 1)  # (B, positives + count)
    slots = torch.sort((~filled).to(torch.uint8), dim=1, stable=True).indices[:, :count]
    positive = torch.cat([chosen_ok, torch.zeros_like(others_ok)], 1)
    return index.gather(1, slots), positive.gather(1, slots), filled.gather(1, slots)


def _draw(order: Tensor, allowed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, count) indices of the allowed entries with the largest random order, and whether each is allowed."""
    values, index = order.masked_fill(~allowed, -1.0).topk(count, dim=1)
    return index, values >= 0


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, ...) at (B, S) -> (B, S, ...)."""
    return values[torch.arange(values.shape[0], device=values.device)[:, None], index]
