"""The average precision of described regions, against the released code's loops written plainly in Python."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.ops import random_boxes
from benchmarks.timing import Case
from segue.metrics.captions import IOU_THRESHOLDS, METEOR_THRESHOLDS, CaptionAP
from segue.metrics.meteor import Meteor
from segue.structures import Categories, Regions, Scene

CLASSES = Categories.from_names(["thing"])
SIZE = (540, 720)
Box = list[float]
Pair = tuple[Scene, Scene]


def pictures(count: int, regions: int) -> list[Pair]:
    """Predictions and truths: half as many annotated boxes, each found twice, with sentences of the same words."""
    dice = random.Random(1)
    return [picture(dice, regions, number) for number in range(count)]


def picture(dice: random.Random, regions: int, number: int) -> Pair:
    chance = torch.Generator().manual_seed(number)
    boxes = random_boxes(regions // 2, SIZE, seed=number)
    found = boxes.repeat(2, 1)
    found += torch.randn(found.shape, generator=chance) * 0.1 * (found[:, 2:] - found[:, :2]).repeat(1, 2)
    scores = torch.rand(len(found), generator=chance)
    truth = Regions(boxes, torch.zeros(len(boxes), dtype=torch.int64), captions=[sentence(dice) for _ in boxes])
    labels = torch.zeros(len(found), dtype=torch.int64)
    predicted = Regions(found, labels, scores, captions=[sentence(dice) for _ in found])
    return Scene(SIZE, CLASSES, predicted), Scene(SIZE, CLASSES, truth)


def sentence(dice: random.Random) -> str:
    """Five to a dozen words; 720,000 different ones."""
    thing = f"{dice.choice(SIZES)} {dice.choice(COLORS)} {dice.choice(NOUNS)}"
    return f"{thing} {dice.choice(PLACES)} a {dice.choice(COLORS)} {dice.choice(NOUNS)}"


SIZES = ("a small", "a large", "the", "one shiny", "a very old")
COLORS = ("red", "blue", "green", "white", "black", "brown", "yellow", "gray", "wooden", "striped")
NOUNS = ("man", "woman", "cars", "dog", "dogs", "table", "shirt", "trees", "window", "sign", "bowl", "grass")
PLACES = ("on", "next to", "is standing behind", "in front of", "with", "left of", "above", "under", "near", "by")


def metric(quick: bool) -> Case:
    count, regions = (2, 10) if quick else (20, 100)
    pairs = pictures(count, regions)
    return Case(f"{count} pictures, {regions} regions", "plain", lambda: ours(pairs), lambda: plain(pairs))


def ours(pairs: list[Pair]) -> Tensor:
    scores = CaptionAP(CLASSES)
    for pair in pairs:
        scores.update(*pair)
    return scores.average_precisions()


def plain(pairs: list[Pair]) -> Tensor:
    """The table of `CaptionAP.average_precisions` with a loop wherever the released Lua has one."""
    records: list[tuple[float, float, bool, float]] = []
    total, meteor = 0, Meteor()
    for predicted, truth in pairs:
        assert predicted.regions.scores is not None
        assert predicted.regions.captions is not None
        merged = plain_merge(truth.regions.boxes.tolist(), truth.regions.captions or [])
        total += len(merged)
        rows = zip(
            predicted.regions.scores.tolist(), predicted.regions.boxes.tolist(), predicted.regions.captions, strict=True
        )
        used = [False] * len(merged)
        for score, box, caption in sorted(rows, key=lambda row: -row[0]):
            overlap, best = 0.0, -1
            for j, (place, _) in enumerate(merged):
                if (iou := plain_iou(box, place)) > overlap:
                    overlap, best = iou, j
            free = best >= 0 and not used[best]
            if best >= 0:
                used[best] = True
            records.append((score, overlap, free, meteor.score(caption, merged[best][1]) if best >= 0 else 0.0))
    records.sort(key=lambda record: -record[0])
    limits = (-1.0, *METEOR_THRESHOLDS)
    return torch.tensor([[plain_ap(records, iou, limit, total) for limit in limits] for iou in IOU_THRESHOLDS])


def plain_iou(a: Box, b: Box) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def plain_merge(boxes: list[Box], sentences: list[str]) -> list[tuple[Box, list[str]]]:
    near = [[i == j or plain_iou(a, b) >= 0.7 for j, b in enumerate(boxes)] for i, a in enumerate(boxes)]
    merged = []
    while any(map(any, near)):
        top = max(range(len(near)), key=lambda i: sum(near[i]))
        group = [j for j, together in enumerate(near[top]) if together]
        mean = [sum(boxes[j][side] for j in group) / len(group) for side in range(4)]
        merged.append((mean, [sentences[j] for j in group]))
        for i in range(len(near)):
            for j in range(len(near)):
                near[i][j] = near[i][j] and i not in group and j not in group
    return merged


def plain_ap(records: list[tuple[float, float, bool, float]], iou: float, limit: float, total: int) -> float:
    recalls, precisions, hits = [], [], 0
    for seen, (_, overlap, free, meteor) in enumerate(records, 1):
        hits += overlap >= iou and free and meteor > limit
        recalls.append(hits / total)
        precisions.append(hits / seen)
    best = [max((p for p, r in zip(precisions, recalls, strict=True) if r >= k / 100), default=0.0) for k in range(101)]
    return sum(best) / 101


CASES: dict[str, Callable[[bool], Case]] = {"captions_map": metric}
"""By name: called with ``quick``, it makes the inputs and the two sides."""
