"""From R-CNN to Faster R-CNN: what is computed once, and what for each region."""

from __future__ import annotations

from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from segue.data.images import to_pil
from segue.drawing import contact_sheet, draw_boxes, object_colors, region_labels
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, pixels, toybox
from segue.models.analysis import multiply_adds
from segue.nn.rpn import Proposals
from segue.structures.categories import distinct_color

CROP = 128
"""Pixels a side to which R-CNN would warp each region here; AlexNet took 227."""
SHOWN = 60


def region_stages() -> Page:
    """The page."""
    network, (x, sizes) = toybox().network, toybox().inputs([pixels(STREET)])
    head = cast(Any, network.heads["boxes"])
    with torch.no_grad():
        levels = network.trunk(x)
        proposals = network.rpn.propose(network.rpn(levels, (x.shape[2], x.shape[3])), sizes)
        rois = pooled(levels, proposals)
        _, detections = network.find(x, sizes)
    count, anchors = int(proposals.valid.sum()), sum(level.shape[2] * level.shape[3] for level in levels) * 3
    once, of_crop = multiply_adds(network.trunk, x), multiply_adds(network.trunk, torch.zeros(1, 3, CROP, CROP))
    rpn = multiply_adds(lambda: network.rpn(levels, (x.shape[2], x.shape[3])))
    box = multiply_adds(head, rois)
    slow, fast, faster = count * of_crop + box, once + box, once + rpn + box
    return Page(
        title="Object detection: R-CNN, Fast R-CNN, Faster R-CNN",
        question="Where are the objects, if we can classify a region?",
        answer="R-CNN cuts out each proposed region, warps it and runs a whole network on it. Fast R-CNN runs the "
        "trunk once and crops from its features, so that only a small head runs for each region. Faster R-CNN also has "
        "the proposals come from a small network on the same features. The stages below are those of the bundled "
        "network, counted as it ran; R-CNN's cost is that of its trunk on a crop, times the proposals.",
        figures=(Figure(stages(proposals), "Proposals, best first, and what the box head leaves of them."),),
        numbers=(
            Number("anchors", anchors),
            Number("proposals after suppression of doubles", count),
            Number("detections with a score of one half", int((detections.scores[detections.valid] >= 0.5).sum())),
            Number("million multiply-adds of the trunk on the picture", once / 1e6),
            Number("of the proposal network", rpn / 1e6),
            Number(f"of the box head for {count} regions", box / 1e6),
            Number(f"R-CNN: the trunk on {count} crops of {CROP}x{CROP}, and the head, million", slow / 1e6),
            Number("Fast R-CNN: the trunk once, and the head, million", fast / 1e6),
            Number("Faster R-CNN: and the proposals, too, million", faster / 1e6),
            Number("times as many in R-CNN as in Faster R-CNN", slow / faster),
        ),
        module="segue.models.region_network",
        test="tests/models/test_region_network.py::test_detections_are_padded_sorted_and_inside_each_picture",
        try_it=TryIt(
            "segue data make toybox --train 1 --val 1 --seed 7 --out scenes && "
            "segue predict scenes/images/val --model toybox --tasks boxes --threshold 0.05 --out found",
            "At a threshold of 0.05 the overlay shows what the box head was unsure of. Raise it to 0.9.",
        ),
    )


def pooled(levels: list[Tensor], proposals: Proposals) -> Tensor:
    """What the box head reads of the proposals of one picture."""
    boxes = proposals.boxes[0][proposals.valid[0]]
    rois: Tensor = toybox().network.pool(levels, boxes, torch.zeros(len(boxes), dtype=torch.int64), 7)
    return rois


def stages(proposals: Proposals) -> Image.Image:
    """The picture with proposals, and with detections."""
    boxes = proposals.boxes[0][:SHOWN]
    image, large = enlarged(STREET, found(STREET))
    scale = image.width / to_pil(pixels(STREET)).width
    proposed = draw_boxes(image, boxes * scale, [distinct_color(i) for i in range(len(boxes))], width=1)
    detected = draw_boxes(image, large.regions.boxes, object_colors(large), region_labels(large))
    return contact_sheet([proposed, detected], 2, [f"the {len(boxes)} best proposals", "detections"])
