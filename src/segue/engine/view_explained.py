"""The way of one region in a recording: what `segue.engine.explain` found, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segue.drawing.recording import QUALITY, rerun
from segue.drawing.recording_layout import explained_layout
from segue.drawing.text import clean
from segue.engine.explain import Explanation, Reading

PROPOSAL, CHOSEN, FOUND, SAMPLE = (150, 160, 180), (255, 170, 40), (255, 64, 84), (90, 240, 160)
"""Colours of proposals, of the one that became the region, of the region, and of RoIAlign's samples."""


def log_explanation(stream: Any, explanation: Explanation, image: Tensor) -> None:
    """Everything below ``explain``, numbered in the order in which the network does it.

    ``1_proposals`` and ``3_samples/TASK`` show the picture (3, H, W) uint8, ``2_levels/N`` and ``4_pooled/TASK`` heat
    maps, ``5_heads`` class scores as bars and in words, the mask and a heat map for each keypoint.
    """
    rr, e = rerun(), explanation
    box = e.scene.regions.boxes[e.number]
    picture = rr.Image(image.permute(1, 2, 0).numpy(force=True)).compress(QUALITY)
    stream.log("explain/1_proposals", picture)
    log_boxes(stream, "explain/1_proposals/all", e.proposals, PROPOSAL)
    log_boxes(stream, "explain/1_proposals/chosen", e.proposals[e.proposal][None], CHOSEN, "proposal")
    log_boxes(stream, "explain/1_proposals/region", box[None], FOUND, clean(e.category.name))
    for number, level in enumerate(e.levels):
        stream.log(f"explain/2_levels/{number}", heat(rr, level))
    for reading in e.readings:
        path = name_of(reading)
        stream.log(f"explain/3_samples/{path}", picture)
        log_boxes(stream, f"explain/3_samples/{path}/box", reading.box[None], CHOSEN, f"level {reading.level}")
        points = rr.Points2D(reading.points.numpy(), colors=SAMPLE, radii=0.4)
        stream.log(f"explain/3_samples/{path}/points", points)
        stream.log(f"explain/4_pooled/{path}", heat(rr, reading.features.abs().mean(0)))
    stream.log("explain/5_heads/classes", rr.BarChart(e.classes.numpy()))
    if e.mask is not None:
        stream.log("explain/5_heads/mask", heat(rr, e.mask))
    if e.keypoints is not None:
        for name, own in zip(e.category.keypoints, e.keypoints, strict=True):
            stream.log(f"explain/5_heads/{path_of(name)}", heat(rr, own))
    outputs = ["mask"] * (e.mask is not None) + [path_of(name) for name in e.category.keypoints] * (
        e.keypoints is not None
    )
    stream.send_blueprint(explained_layout(len(e.levels), [name_of(reading) for reading in e.readings], outputs))
    stream.log("explain/told", rr.TextDocument("\n".join(told(e)), media_type="text/plain"))


def name_of(reading: Reading) -> str:
    """The task and the bins per axis, such as ``masks_14``."""
    return f"{reading.task}_{reading.features.shape[-1]}"


def path_of(keypoint: str) -> str:
    """A keypoint's name as the last part of an entity path."""
    return "keypoint_" + "".join(c if c.isalnum() else "_" for c in keypoint)


def log_boxes(stream: Any, path: str, boxes: Tensor, color: tuple[int, int, int], label: str | None = None) -> None:
    """Boxes (N, 4) in one colour."""
    rr = rerun()
    labels = None if label is None else [label] * len(boxes)
    array = boxes.numpy(force=True)
    stream.log(path, rr.Boxes2D(array=array, array_format=rr.Box2DFormat.XYXY, colors=color, labels=labels))


def heat(rr: Any, values: Tensor) -> Any:
    """A map (H, W) as an image by colours, from its lowest to its highest value."""
    plane: NDArray[Any] = values.numpy(force=True).astype(np.float32)
    return rr.DepthImage(plane, colormap="viridis", depth_range=(float(plane.min()), float(plane.max())))


def told(e: Explanation) -> list[str]:
    """The steps in words."""
    best = e.classes.argsort(descending=True)[:5].tolist()
    scores = ", ".join(f"{clean(e.class_names[i])} {float(e.classes[i]):.3f}" for i in best)
    x0, y0, x1, y1 = (round(v, 1) for v in e.scene.regions.boxes[e.number].tolist())
    lines = [
        f"1. {len(e.proposals)} proposals; number {e.proposal + 1} by score becomes the region",
        *(
            f"2-4. {r.task} reads {r.features.shape[-1]}x{r.features.shape[-1]} bins of {r.features.shape[0]} features "
            f"from level {r.level} (stride {e.strides[r.level]}), by {len(r.points)} samples"
            for r in e.readings
        ),
        f"5. {scores}; box {x0} {y0} {x1} {y1}",
    ]
    captions = e.scene.regions.captions
    return lines + ([f"   {clean(captions[e.number], 200)}"] if captions else [])
