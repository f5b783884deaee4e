"""Average precision of described regions (DenseCap, Johnson et al., CVPR 2016, section 4.3, and its released code)."""

from __future__ import annotations

from itertools import accumulate, repeat

import numpy as np
import torch
from torch import Tensor

from segue.errors import DataError
from segue.metrics.checks import check_predictions
from segue.metrics.meteor import Meteor
from segue.ops.boxes import box_iou
from segue.structures import Categories, Scene

IOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
METEOR_THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
ANY_SENTENCE = -1.0
MERGED = 0.7
OPTIONAL = ("synonym", "paraphrase")
RECALLS = torch.arange(101, dtype=torch.float64) / 100
PUBLISHED_RECALLS = torch.tensor(list(accumulate(repeat(0.01, 99), initial=0.0)), dtype=torch.float64)
"""The released code adds hundredths up, misses 1 by rounding, and so averages over 100 recalls."""


class CaptionAP:
    """The mean average precision of region descriptions, one picture at a time.

    `compute` gives ``captions/mAP``, the mean of `average_precisions` over 5 IoU and 6 METEOR thresholds;
    ``captions/detmAP``, the mean over the IoU thresholds whatever the sentences say; and ``captions/METEOR``, the mean
    over all detections of the METEOR against the sentences at their best-overlapping place, 0 where there is none.
    All in [0, 1]. ``captions/METEOR_has_synonym`` and its like are 1 where METEOR matches words so, else 0.

    Each line of an annotated region's text is a region of its own; regions that overlap by .7 are then merged, and
    their sentences are references for one mean box. Every detection, the surest first, takes the place with which it
    overlaps most, however little that is; a place can be taken once. Labels are not looked at. The released code says
    a pixel more for a box's sides, as its corners are the centres of pixels; our corners are the edges of pixels, and
    the same areas follow without that.

    Pictures whose truth has regions but no sentences at all are left out.

    Args:
        categories: not looked at.
        meteor: scores the sentences; METEOR without tables by default.
        published: do as the released code, also where that looks like a mistake: a detection that overlaps nothing
            takes the last place of the picture, and a recall of 1 is not looked at.
    """

    def __init__(self, categories: Categories, meteor: Meteor | None = None, published: bool = False) -> None:
        self.meteor, self.published = meteor or Meteor(), published
        self._records: list[Tensor] = []  # (N, 4) float64: score, IoU, whether the place was free, METEOR
        self._places = 0

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture.

        Raises:
            DataError: predictions without finite scores or boxes, or without sentences.
        """
        check_predictions(predicted)
        if truth.regions.captions is None and len(truth.regions):
            return
        found = predicted.regions
        if len(found) and found.captions is None:
            raise DataError(
                "regions without captions cannot be scored", where=predicted.file, cure="give all a caption"
            )
        places, references = merge_places(*sentence_boxes(truth))
        self._places += len(places)
        if found.scores is None or found.captions is None:
            return
        order = found.scores.argsort(descending=True, stable=True)
        overlap, place, free = assign(found.boxes[order], places, self.published)
        captions = [found.captions[i] for i in order.tolist()]
        pairs = zip(captions, (references[i] if i >= 0 else [] for i in place.tolist()), strict=True)
        meteors = torch.tensor(self.meteor.scores(pairs), dtype=torch.float64)
        scores = found.scores[order].double().cpu()
        self._records.append(torch.stack([scores, overlap.double().cpu(), free.double().cpu(), meteors], dim=1))

    def compute(self) -> dict[str, float]:
        """The numbers so far; nothing where there is nothing to find."""
        if not self._places:
            return {}
        table = self.average_precisions()
        meteors = self._pooled()[:, 3]
        return {
            "captions/mAP": float(table[:, 1:].mean()),
            "captions/METEOR": float(meteors.mean()) if len(meteors) else 0.0,
            "captions/detmAP": float(table[:, 0].mean()),
            **{f"captions/METEOR_has_{name}": float(name in self.meteor.matchers) for name in OPTIONAL},
        }

    def average_precisions(self) -> Tensor:
        """(5, 7) float64: by IoU threshold, and by METEOR threshold, of which the first is any sentence at all.

        A detection is right where its IoU reaches the one, its METEOR exceeds the other, and its place was free.
        """
        _, overlap, free, meteors = self._pooled().unbind(1)
        recalls = PUBLISHED_RECALLS if self.published else RECALLS
        rows = [
            [
                average_precision((overlap >= iou) & (free > 0) & (meteors > limit), self._places, recalls)
                for limit in (ANY_SENTENCE, *METEOR_THRESHOLDS)
            ]
            for iou in IOU_THRESHOLDS
        ]
        return torch.tensor(rows, dtype=torch.float64)

    def _pooled(self) -> Tensor:
        """The records of all pictures, the surest first."""
        records = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *self._records])
        return records[records[:, 0].argsort(descending=True, stable=True)]


def sentence_boxes(scene: Scene) -> tuple[Tensor, list[str]]:
    """A box (S, 4) and a sentence for each line of the regions' texts; blank lines are none."""
    lines = [[line for line in text.splitlines() if line.strip()] for text in scene.regions.captions or []]
    counts = torch.tensor([len(own) for own in lines], dtype=torch.int64, device=scene.regions.boxes.device)
    return scene.regions.boxes.repeat_interleave(counts, dim=0), [line for own in lines for line in own]


def merge_places(boxes: Tensor, sentences: list[str]) -> tuple[Tensor, list[list[str]]]:
    """Boxes (S, 4) that overlap by .7 become one: the mean box (G, 4) and the sentences of each group.

    The box with the most such neighbours, the first of equals, and those neighbours are a group; then again among the
    rest (``merge_boxes`` of the released ``box_utils.lua``).
    """
    near = (box_iou(boxes, boxes) >= MERGED).numpy(force=True)
    np.fill_diagonal(near, True)
    group = np.full(len(sentences), -1)
    count = 0
    while (top := near.sum(0)).any():
        members = near[top.argmax()].nonzero()[0]
        group[members] = count
        near[members], near[:, members] = False, False
        count += 1
    index = torch.from_numpy(group).to(boxes.device)
    sums = boxes.new_zeros(count, 4).index_add_(0, index, boxes)
    references: list[list[str]] = [[] for _ in range(count)]
    for own, sentence in zip(group.tolist(), sentences, strict=True):
        references[own].append(sentence)
    return sums / torch.bincount(index, minlength=count)[:, None], references


def assign(boxes: Tensor, places: Tensor, published: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """To which of G places each of N boxes goes, the surest first.

    Args:
        boxes: (N, 4) by falling score.
        places: (G, 4).
        published: boxes that overlap nothing take the last place: the released code looks it up at -1, which Torch7
            counts from the end.

    Returns:
        The IoU (N,), the place (N,) or -1 where nothing overlaps, and whether the box was the first there (N,) bool.
    """
    if not len(places) or not len(boxes):
        nowhere = torch.full((len(boxes),), -1, device=boxes.device)
        return boxes.new_zeros(len(boxes)), nowhere, torch.zeros_like(nowhere, dtype=torch.bool)
    overlap, place = box_iou(boxes, places).max(dim=1)
    place = torch.where(overlap > 0, place, -1)
    taken = place % len(places) if published else torch.where(place >= 0, place, len(places))
    ranks = torch.arange(len(boxes), device=boxes.device)
    first = torch.full((len(places) + 1,), len(boxes), device=boxes.device).scatter_reduce(0, taken, ranks, "amin")
    return overlap, place, (first[taken] == ranks) & (place >= 0)


def average_precision(right: Tensor, total: int, recalls: Tensor = RECALLS) -> float:
    """The mean, over recalls, of the best precision at that recall or a higher one.

    Args:
        right: (N,) bool, the surest first.
        total: how many there are to find, at least 1.
        recalls: (R,) float64, rising.
    """
    hits = right.double().cumsum(0)
    precision = hits / torch.arange(1, len(right) + 1, dtype=torch.float64)
    best = precision.flip(0).cummax(0).values.flip(0) if len(right) else precision
    reached = torch.searchsorted(hits / total, recalls)
    return float(torch.cat([best, best.new_zeros(1)])[reached].mean())
