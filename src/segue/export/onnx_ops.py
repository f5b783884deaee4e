"""The package's own operators, and one of torch, said in standard ONNX operators. Needs the ``export`` extra.

The exporter calls these functions with the values of the graph in place of tensors; what they do becomes nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18, script
from onnxscript.onnx_types import BOOL, FLOAT, INT64

import segue.ops  # noqa: F401  which registers the operators

op: Any = opset18  # its types are of tensors only, but numbers and lists become tensors, too


def nms_keep(boxes: FLOAT, scores: FLOAT, iou_threshold: float, groups: INT64, valid: BOOL) -> BOOL:
    """As `segue.ops.nms_keep`. Groups become the classes of NonMaxSuppression, and ranks the scores: so the order is
    ours where scores are equal."""
    usable = op.And(valid, op.Not(op.IsNaN(scores)))
    places = op.Squeeze(op.NonZero(usable), [0])  # (M,)
    count = op.Shape(places)
    _, order = op.TopK(op.Gather(scores, places), count)  # of equal ones the earlier first
    places = op.Gather(places, order)
    own = op.Gather(groups, places)
    distinct = op.Unique(own)[0]  # (G,)
    ranks = op.Cast(op.Range(op.Squeeze(count), 0, -1), to=FLOAT.dtype)  # M to 1, which float32 tells apart
    ranked = op.Where(op.Equal(op.Unsqueeze(distinct, [1]), op.Unsqueeze(own, [0])), ranks, 0.0)  # (G, M)
    candidates = op.Unsqueeze(op.Gather(boxes, places), [0])
    picked = op.NonMaxSuppression(candidates, op.Unsqueeze(ranked, [0]), count, iou_threshold, 0.5)  # (K, 3)
    kept = op.Gather(places, op.Gather(picked, 2, axis=1))
    none = op.And(usable, op.Not(usable))
    keep: BOOL = op.ScatterElements(none, kept, op.GreaterOrEqual(kept, 0))
    return keep


def multilevel_roi_align(
    features: Sequence[FLOAT],
    scales: Sequence[float],
    boxes: FLOAT,
    images: INT64,
    levels: INT64,
    output: int,
    sampling: int,
    aligned: bool,
) -> FLOAT:
    """As `segue.ops.multilevel_roi_align`: each level's boxes on their own, then back into their order."""
    mode = "half_pixel" if aligned else "output_half_pixel"
    places, parts = [], []
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        own = op.Squeeze(op.NonZero(op.Equal(levels, level)), [0])
        places.append(own)
        parts.append(
            op.RoiAlign(
                feature,
                op.Gather(boxes, own),
                op.Gather(images, own),
                coordinate_transformation_mode=mode,
                output_height=output,
                output_width=output,
                sampling_ratio=sampling,
                spatial_scale=scale,
            )
        )
    order = op.Concat(*places, axis=0)  # (R,): bin i is of box order[i]
    back = op.ScatterElements(order, order, op.Range(0, op.Squeeze(op.Shape(order)), 1))
    pooled: FLOAT = op.Gather(op.Concat(*parts, axis=0), back)
    return pooled


def stable_sort(values: FLOAT, stable: bool = True, dim: int = -1, descending: bool = False) -> tuple[FLOAT, INT64]:
    """As `torch.sort` with ``stable``, which the exporter does not know."""
    found: tuple[FLOAT, INT64] = op.TopK(values, op.Gather(op.Shape(values), [dim]), axis=dim, largest=descending)
    return found


@script(default_opset=opset18)  # one of those whose source is read, for its loop
def keypoint_peaks(logits: FLOAT, boxes: FLOAT) -> FLOAT:
    """As `segue.ops.keypoint_peaks`, one region after the other."""
    sides = op.Max(op.Slice(boxes, [2], [4], [1]) - op.Slice(boxes, [0], [2], [1]), 1.0)  # (N, 2) width, height
    pixels = op.Cast(op.Ceil(sides), to=7)
    count = op.Squeeze(op.Shape(logits, start=0, end=1))
    keypoints = op.Shape(logits, start=1, end=2)
    peaks = op.Expand(0.0, op.Concat([0], keypoints, [3], axis=0))  # (0, K, 3)
    for i in range(count):
        size = op.Gather(pixels, i)  # (2,) width, height
        width = op.Slice(size, [0], [1])
        shape = op.Concat([1], keypoints, op.Slice(size, [1], [2]), width, axis=0)
        large = op.Resize(op.Unsqueeze(op.Gather(logits, i), [0]), None, None, shape, mode="cubic")
        flat = op.Reshape(large, op.Concat(keypoints, [-1], axis=0))  # (K, H * W)
        place = op.ArgMax(flat, axis=1, keepdims=0)
        column = op.Cast(op.Mod(place, width), to=1)
        row = op.Cast(place / width, to=1)
        value = op.ReduceMax(flat, [1], keepdims=0)
        peak = op.Concat(op.Unsqueeze(column, [1]), op.Unsqueeze(row, [1]), op.Unsqueeze(value, [1]), axis=1)
        peaks = op.Concat(peaks, op.Unsqueeze(peak, [0]), axis=0)
    steps = op.Unsqueeze(sides / op.Cast(pixels, to=1), [1])  # (N, 1, 2)
    corners = op.Unsqueeze(op.Slice(boxes, [0], [2], [1]), [1])
    places = (op.Slice(peaks, [0], [2], [2]) + 0.5) * steps + corners
    return op.Concat(places, op.Slice(peaks, [2], [3], [2]), axis=2)  # type: ignore[no-any-return]


TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.segue.nms_keep.default: nms_keep,
    torch.ops.segue.multilevel_roi_align.default: multilevel_roi_align,
    torch.ops.aten.sort.stable: stable_sort,
    torch.ops.segue.keypoint_peaks.default: keypoint_peaks,
}
