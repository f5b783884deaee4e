"""Panoptic quality and merging, against panopticapi's algorithms written plainly in numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.ops import canvas, ellipses, random_boxes
from benchmarks.timing import Case
from segue.data.panoptic_write import map_picture
from segue.metrics.panoptic import panoptic_sums
from segue.ops.panoptic import MergeLimits, merge_panoptic
from segue.structures import Categories, Category, Masks, Regions, Segments

CLASSES = Categories(tuple(Category(f"class_{k}", k + 1, isthing=k < 8) for k in range(12)))
COCO_PICTURE = (480, 640)
IDS = 2**24


def pictures(size: tuple[int, int], count: int) -> list[tuple[Tensor, Segments]]:
    """A truth and a prediction: the same ellipses over each other on stripes of stuff, slightly moved."""
    boxes = random_boxes(count, size)
    numbers = torch.randperm(IDS - 1, generator=torch.Generator().manual_seed(1))[: count + 4] + 1
    sides = []
    for shift in (0.0, 3.0):
        plane = numbers[torch.arange(size[0])[:, None] * 4 // size[0]].expand(size).int()
        plane[:8] = 0
        for number, mask in zip(numbers[4:], ellipses(boxes + shift, size), strict=True):
            plane = torch.where(mask, number.int(), plane)
        seen = torch.isin(numbers, plane.long())
        labels = torch.cat([8 + torch.arange(4), torch.arange(count) % 8])
        sides.append((plane.contiguous(), Segments(numbers[seen], labels[seen])))
    return sides


def quality(png: bool) -> Callable[[bool], Case]:
    """``png``: the other side works on PNG files, as panopticapi does: it writes the prediction's and reads both."""

    def make(quick: bool) -> Case:
        size, count = ((96, 128), 5) if quick else (COCO_PICTURE, 30)
        truth, found = pictures(size, count)
        stored = encoded(truth[0])

        def theirs() -> Tensor:
            planes = [decoded(stored), decoded(encoded(found[0]))] if png else [truth[0].numpy(), found[0].numpy()]
            return torch.from_numpy(plain_sums(planes[0], truth[1], planes[1], found[1], len(CLASSES)))

        return Case(
            f"{count} things and 4 stuff on {size[0]} × {size[1]}{', through PNG' if png else ''}",
            "plain",
            lambda: panoptic_sums(*found, *truth, len(CLASSES)),
            theirs,
        )

    return make


def encoded(plane: Tensor) -> bytes:
    buffer = BytesIO()
    map_picture(plane).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(png: bytes) -> NDArray[np.uint32]:
    rgb = np.array(Image.open(BytesIO(png)), dtype=np.uint32)
    return rgb[:, :, 0] + 256 * rgb[:, :, 1] + 65536 * rgb[:, :, 2]


def plain_sums(
    truth: NDArray[np.integer], annotated: Segments, predicted: NDArray[np.integer], found: Segments, classes: int
) -> NDArray[np.float64]:
    """(K, 4) as of `panoptic_sums`, without crowds: sort all pixels, then loop over the pairs that share some."""
    result = np.zeros((classes, 4))
    real, guess = (dict(zip(s.ids.tolist(), s.labels.tolist(), strict=True)) for s in (annotated, found))
    area = dict(zip(*(values.tolist() for values in np.unique(predicted, return_counts=True)), strict=True))
    size = dict(zip(*(values.tolist() for values in np.unique(truth, return_counts=True)), strict=True))
    keys = truth.astype(np.uint64) * np.uint64(IDS) + predicted.astype(np.uint64)
    pairs, counts = np.unique(keys, return_counts=True)
    shared = {divmod(int(pair), IDS): int(count) for pair, count in zip(pairs, counts, strict=True)}
    hit, taken = set(), set()
    for (t, p), both in shared.items():
        if t and p and real[t] == guess[p]:
            iou = both / (size[t] + area[p] - both - shared.get((0, p), 0))
            if iou > 0.5:
                result[real[t], :2] += iou, 1
                hit.add(t)
                taken.add(p)
    for p in guess.keys() - taken:
        result[guess[p], 2] += shared.get((0, p), 0) / area[p] <= 0.5
    for t in real.keys() - hit:
        result[real[t], 3] += 1
    return result


def merge(quick: bool) -> Case:
    size, count = (canvas(True), 6) if quick else (canvas(False), 100)
    dense = ellipses(random_boxes(count, size), size)
    masks = Masks.from_dense(dense)
    scores = torch.rand(count, generator=torch.Generator().manual_seed(1))
    regions = Regions(masks.boxes.float(), torch.arange(count) % 8, scores, masks=masks)
    semantic = (torch.arange(size[1]) * 12 // size[1]).expand(size).to(torch.int16)
    limits = MergeLimits(score=0.05)
    return Case(
        f"{count} masks on {size[0]} × {size[1]}",
        "plain",
        lambda: merge_panoptic(regions, semantic, CLASSES, limits)[0],
        partial(plain_merge, dense.numpy(), scores.numpy(), semantic.numpy(), limits),
    )


def plain_merge(
    masks: NDArray[np.bool_], scores: NDArray[np.float32], semantic: NDArray[np.int16], limits: MergeLimits
) -> Tensor:
    """The map of `merge_panoptic` from masks (N, H, W), each step over the whole picture."""
    panoptic = np.zeros(semantic.shape, np.int32)
    number = 0
    for i in np.argsort(-scores, kind="stable"):
        free = masks[i] & (panoptic == 0)
        area, left = masks[i].sum(), free.sum()
        if scores[i] >= limits.score and left and (area - left) / area <= limits.overlap:
            number += 1
            panoptic[free] = number
    for label, category in enumerate(CLASSES):
        free = (semantic == label) & (panoptic == 0)
        if not category.isthing and free.sum() >= limits.stuff_area:
            number += 1
            panoptic[free] = number
    return torch.from_numpy(panoptic)


CASES: dict[str, Callable[[bool], Case]] = {
    "panoptic_quality": quality(png=False),
    "panoptic_quality_png": quality(png=True),
    "panoptic_merge": merge,
}
"""By name: called with ``quick``, it makes the inputs and the two sides."""
