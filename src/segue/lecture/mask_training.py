"""Mask R-CNN, and what its mask head learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from segue.data.images import to_pil
from segue.drawing import Example, contact_sheet, draw_boxes, draw_masks, object_colors, region_labels, target_sheet
from segue.drawing.targets import MASK_CELLS
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, pixels, toybox, truth
from segue.ops import box_iou, clip_boxes, mask_iou, mask_targets, paste_masks
from segue.structures import Masks, Scene

LARGE = 24
"""Pixels of the shorter side of the objects that are shown."""
JITTER = 0.06
"""Standard deviation of a proposal's edges, of its sides."""


def mask_training() -> Page:
    """The page."""
    scene = large_objects(truth(STREET))
    masks, proposals = scene.regions.masks, near(scene)
    assert isinstance(masks, Masks)
    targets = mask_targets(masks, torch.arange(len(masks)), proposals, MASK_CELLS, binary=True)
    own = mask_targets(masks, torch.arange(len(masks)), scene.regions.boxes, MASK_CELLS, binary=True)
    back = paste_masks(own, scene.regions.boxes, scene.size, at_centres=True)
    head = cast(Any, toybox().network.heads["masks"])
    logits = head(torch.zeros(1, toybox().network.trunk.channels, 14, 14))
    overlaps = box_iou(proposals, scene.regions.boxes).diagonal()
    example = Example(
        to_pil(pixels(STREET)), replace(scene, regions=scene.regions.with_field("keypoints", None)), proposals
    )
    return Page(
        title="Instance segmentation: Mask R-CNN",
        question="Once the objects are detected, which pixels belong to each?",
        answer="Faster R-CNN finds the boxes; one more head reads the features of each region and tells a mask of 28 x "
        "28 for each class. What it should say is cut from the annotation: the mask of the object, seen through the "
        "proposal, in 28 x 28 cells. The same object has another target for each proposal. In use, the mask of the "
        "detected class is stretched over its box.",
        figures=(
            Figure(
                target_sheet([example], 2),
                "Training targets as on the slides: the picture with a proposal, what is in it, and its target.",
            ),
            Figure(results(), "What the bundled network finds in a picture that it was not trained on."),
        ),
        numbers=(
            Number("target of a region", f"{targets.shape[1]} x {targets.shape[2]}", "28 x 28"),
            Number("output of the mask head: classes x 28 x 28", " x ".join(str(n) for n in logits.shape[1:])),
            Number("classes that are things", sum(category.isthing for category in scene.categories)),
            Number("IoU of the proposals with their objects", overlaps),
            Number("share of each target that is on", targets.mean((1, 2))),
            Number(
                "IoU of the masks with themselves, once through 28 x 28 and back",
                mask_iou(back, masks).diagonal(),
            ),
        ),
        module="segue.tasks.masks",
        test="tests/ops/test_mask_targets.py::test_equals_roi_align_on_dense_masks",
        try_it=TryIt(
            'python -c "import torch; from segue.ops import mask_targets; from segue.structures import Masks; '
            "m = torch.zeros(1, 32, 32, dtype=torch.bool); m[0, 8:24, 8:24] = True; "
            'print(mask_targets(Masks.from_dense(m), torch.tensor([0]), torch.tensor([[4.0, 8, 20, 24]]), 8, True))"',
            "The region begins 4 pixels left of the square: 2 of 8 columns are off. Move the region and see.",
        ),
    )


def large_objects(scene: Scene) -> Scene:
    """With the objects of which there is something to see."""
    boxes = scene.regions.boxes
    return replace(scene, regions=scene.regions.select((boxes[:, 2:] - boxes[:, :2]).amin(1) >= LARGE))


def near(scene: Scene) -> Tensor:
    """(N, 4) regions near the boxes of the objects, as proposals are."""
    boxes, chance = scene.regions.boxes, torch.Generator().manual_seed(0)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return clip_boxes(boxes + JITTER * sides * torch.randn(boxes.shape, generator=chance), scene.size)


def results() -> Image.Image:
    """Boxes and masks."""
    image, large = enlarged(STREET, found(STREET))
    masks, colors = large.regions.masks, object_colors(large)
    assert masks is not None
    boxes = draw_boxes(image, large.regions.boxes, colors, region_labels(large))
    both = draw_boxes(draw_masks(image, masks, colors), large.regions.boxes, colors, region_labels(large))
    return contact_sheet([boxes, both], 2, ["Faster R-CNN: boxes", "Mask R-CNN: and masks"])
