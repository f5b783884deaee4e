"""A detector's stages on inputs that follow from names: what implementations must agree on, small enough to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segue.models.checkpoints.seeded import seeded, seeded_boxes, seeded_picture
from segue.models.checkpoints.stages import Stages

KEPT = 400
"""Numbers that are kept of a large output."""

PADDED, SHOWN, PICTURE = (128, 160), (120, 150), (84, 105)
"""Sizes (height, width) of what the network computes on, of the picture in it, and of the picture itself."""

PIXELS = (64, 96)


@torch.no_grad()
def detector_trial(stages: Stages, tasks: Sequence[str]) -> dict[str, Tensor]:
    """Outputs by stage, of inputs that do not depend on other stages."""
    levels = seeded_levels()
    boxes = seeded_boxes("boxes", 6, SHOWN)
    rois = seeded("rois", (6, 256, 7, 7))
    raw = stages.box_scores(rois)
    scores = stages.proposal_scores(levels)
    many = seeded_boxes("many boxes", 40, SHOWN)
    found = stages.detections(seeded_raw(raw[0].shape[1], raw[1].shape[1]), many, SHOWN)
    kept: dict[str, Tensor] = {
        "shown": thinned(stages.shown(seeded_picture("tall", (61, 17))).pixels),
        **{f"pyramid {i}": thinned(x) for i, x in enumerate(stages.pyramid(seeded("pixels", (1, 3, *PIXELS))))},
        "proposal logits": thinned(scores[0]),
        "proposal deltas": thinned(scores[1]),
        "proposals": stages.proposals(seeded_proposals(levels), levels, PADDED, SHOWN)[:50],
        "regions": thinned(stages.regions(levels, boxes, 7)),
        "box logits": thinned(raw[0]),
        "box deltas": thinned(raw[1]),
        "boxes": found.boxes[:50],
        "scores": found.scores[:50],
        "labels": found.labels[:50],
    }
    fine = seeded("fine rois", (6, 256, 14, 14))
    if "masks" in tasks:
        logits = 4 * seeded("mask logits", (6, 80, 28, 28))
        kept["mask logits"] = thinned(stages.mask_logits(fine))
        kept["masks"] = stages.masks(logits, torch.arange(6) * 13, boxes * 0.7, PICTURE).flatten(1).sum(1)
    if "keypoints" in tasks:
        logits = stages.keypoint_logits(fine)
        kept["keypoint logits"] = thinned(logits)
        kept["keypoints"] = stages.keypoints(10 * seeded("maps", (6, 17, 56, 56)), boxes, SHOWN, PICTURE)
    return kept


@torch.no_grad()
def semantic_trial(network: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Scores of a network (1, 3, H, W) -> (1, K, H, W)."""
    return {"scores": thinned(network(seeded("pixels", (1, 3, *PIXELS))))}


def seeded_levels() -> list[Tensor]:
    """Pyramid maps (1, 256, h, w) of a picture of `PADDED` size."""
    sides = [(PADDED[0] // s, PADDED[1] // s) for s in (4, 8, 16, 32)]
    sides.append(((sides[3][0] + 1) // 2, (sides[3][1] + 1) // 2))
    return [seeded(f"level {i}", (1, 256, *side)) for i, side in enumerate(sides)]


def seeded_proposals(levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (1, A) and deltas (1, A, 4) of the three anchors of every cell."""
    count = sum(3 * level.shape[2] * level.shape[3] for level in levels)
    return 5 * seeded("proposal logits", (1, count)), 0.5 * seeded("proposal deltas", (1, count, 4))


def seeded_raw(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Class logits (40, rows), of which a few are high in each row, and deltas (40, classes, 4)."""
    return 8 * seeded("class logits", (40, rows)), seeded("box deltas", (40, classes, 4))


def thinned(values: Tensor) -> Tensor:
    """At most about `KEPT` of the values, evenly."""
    flat = values.flatten()
    return flat[:: max(1, len(flat) // KEPT)].clone()
