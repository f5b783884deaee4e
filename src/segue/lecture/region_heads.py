"""The general idea: one trunk, a head for each task."""

from __future__ import annotations

from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from segue.drawing import contact_sheet, draw_confidence
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, blown_up, found, pixels, sample, toybox
from segue.models.analysis import multiply_adds
from segue.tasks import RegionHead


def region_heads() -> Page:
    """The page."""
    network, (x, sizes) = toybox().network, toybox().inputs([pixels(STREET)])
    with torch.no_grad():
        levels = network.trunk(x)
    boxes = found(STREET).regions.boxes
    owners = torch.zeros(len(boxes), dtype=torch.int64)
    trunk = multiply_adds(network.trunk, x)
    find = multiply_adds(lambda: network.find(x, sizes))
    heads: list[Number] = []
    spent = 0
    for name, module in network.heads.items():
        head = cast(RegionHead, module)
        rois = network.pool(levels, boxes, owners, head.pooled)
        count = multiply_adds(module, rois)
        spent += count if name != network.selector else 0
        heads.append(Number(f"`{name}`: reads {shape(rois)} of a region; million multiply-adds", count / 1e6))
    return Page(
        title="The general idea: add per-region heads",
        question="Boxes, masks, keypoints: what comes next?",
        answer="Anything that can be said of a region. A head is a small network that reads the features of one "
        "cropped by RoIAlign to the size that it wants, with a loss and a way to read its output. The trunk looks at "
        "the picture once, whatever the number of heads. In Segue a head is one file; it can come from another "
        "package, which names it as an entry point, and a recipe switches it on by its name.",
        figures=(Figure(crops(levels, boxes), "Three regions in the picture, and in the features that heads read."),),
        numbers=(
            Number("regions in this picture", len(boxes)),
            Number("million multiply-adds of the trunk, once", trunk / 1e6),
            Number("of finding the regions, trunk and box head included", find / 1e6),
            *heads,
            Number("all further heads together over finding the regions", spent / find),
        ),
        module="segue.tasks.task",
        test="tests/engine/test_acceptance.py::test_a_task_from_outside",
        try_it=TryIt(
            "segue data make toybox --train 1 --val 1 --seed 7 --out scenes && "
            "segue predict scenes/images/val --model toybox --tasks boxes,keypoints,captions --out found",
            "Take any of the heads in --tasks: what is left out is not computed.",
        ),
    )


def shape(rois: Any) -> str:
    """Channels and sides of what a head reads of a region, of one size or of several."""
    parts = rois if isinstance(rois, tuple) else (rois,)
    return " and ".join("x".join(str(n) for n in part.shape[1:]) for part in parts)


def crops(levels: list[Tensor], boxes: Tensor) -> Image.Image:
    """A row for each of three regions: the pixels, and the mean magnitude of its features in 7, 14 and 28 bins."""
    network, whole = toybox().network, Image.fromarray(sample(STREET).image)
    pictures = []
    for box in boxes[:3]:
        pictures.append(whole.resize((224, 224), Image.Resampling.BICUBIC, box=box.tolist()))
        for side in (7, 14, 28):
            rois: Tensor = network.pool(levels, box[None], torch.zeros(1, dtype=torch.int64), side)
            plane = rois[0].abs().mean(0)
            pictures.append(blown_up(draw_confidence(plane / plane.max()), 224))
    return contact_sheet(pictures, 4, ["the region", "7 x 7", "14 x 14", "28 x 28"] * 3)
