"""Anchors, and which of them answer for an object."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from segue.data.images import to_pil
from segue.drawing import contact_sheet, draw_boxes
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import LARGER, STREET, pixels, toybox, truth
from segue.nn.matching import BELOW, BETWEEN, match
from segue.ops import box_iou, cell_anchors, decode_boxes, encode_boxes
from segue.structures.categories import distinct_color

SIZES, RATIOS = (128.0, 256.0, 512.0), (0.5, 1.0, 2.0)
"""Of Faster R-CNN, section 3.3."""


def anchors() -> Page:
    """The page."""
    nine = cell_anchors(SIZES, RATIOS, rounded=False)
    sides = nine[:, 2:] - nine[:, :2]
    grid, boxes = grid_of_toybox(), truth(STREET).regions.boxes
    settings = toybox().network.rpn.settings
    overlaps = box_iou(boxes, grid)
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    matched = match(overlaps[None], valid, settings.negative, settings.positive, keep_best=True)[0]
    owners = matched[matched >= 0]
    deltas = encode_boxes(boxes[owners], grid[matched >= 0], (1.0, 1.0, 1.0, 1.0))
    back = decode_boxes(deltas, grid[matched >= 0], (1.0, 1.0, 1.0, 1.0))
    return Page(
        title="The proposal network and its anchors",
        question="How can a convolution propose boxes of all sizes and shapes?",
        answer="At each place of the feature map stand anchors: boxes of a few sizes and ratios. For each of them the "
        "network tells whether an object is there, and how the anchor is to be moved and stretched. An anchor that "
        f"overlaps an object by {settings.positive:g} or more answers for it, as does the best one of each object; one "
        f"below {settings.negative:g} is background; those between teach nothing.",
        figures=(
            Figure(
                contact_sheet([nine_anchors(nine), positives(grid, matched)], 2, ["nine anchors", "that answer"]),
                "Left: the nine anchors of Faster R-CNN at one place. Right: all anchors of the bundled network that "
                "answer for an object, in a colour for each object.",
            ),
        ),
        numbers=(
            Number("anchors at one place", len(nine), 9),
            Number("their heights over widths", ", ".join(f"{r:.1f}" for r in (sides[:, 1] / sides[:, 0]).tolist())),
            Number("roots of their areas", ", ".join(f"{r:.0f}" for r in sides.prod(1).sqrt().tolist())),
            Number("anchors of the bundled network on 256x256", len(grid)),
            Number("that answer for an object", int((matched >= 0).sum())),
            Number("that are background", int((matched == BELOW).sum())),
            Number("that teach nothing", int((matched == BETWEEN).sum())),
            Number("objects, and those with an anchor", f"{len(boxes)}, {len(set(owners.tolist()))}"),
            Number(
                "boxes from anchors and true offsets: largest error in pixels",
                float((back - boxes[owners]).abs().max()),
            ),
        ),
        module="segue.ops.anchors",
        test="tests/ops/test_anchors.py::test_areas_and_ratios",
        try_it=TryIt(
            'python -c "from segue.ops import cell_anchors; print(cell_anchors([64], [0.25, 1, 4], rounded=False))"',
            "Ratios of 1 to 4: the areas stay 64 x 64.",
        ),
    )


def grid_of_toybox() -> Tensor:
    """(A, 4) anchors of the bundled network on its own size of pictures."""
    rpn, side = toybox().network.rpn, 256
    grids = [(side // stride, side // stride) for stride in rpn.strides]
    return torch.cat(rpn.anchors(grids, (side, side), torch.device("cpu")))


def nine_anchors(boxes: Tensor) -> Image.Image:
    """On a sheet of paper."""
    paper = Image.new("RGB", (512, 512), (250, 250, 250))
    moved = boxes * (480 / float((boxes[:, 2:] - boxes[:, :2]).max())) + 256
    return draw_boxes(paper, moved, [distinct_color(i // 3) for i in (0, 3, 6, 1, 4, 7, 2, 5, 8)], width=3)


def positives(grid: Tensor, matched: Tensor) -> Image.Image:
    """On the picture."""
    image = to_pil(pixels(STREET))
    image = image.resize((LARGER * image.width, LARGER * image.height), Image.Resampling.LANCZOS)
    own = matched >= 0
    return draw_boxes(image, grid[own] * LARGER, [distinct_color(i) for i in matched[own].tolist()], width=2)
