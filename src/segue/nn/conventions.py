"""The two published dialects of Faster and Mask R-CNN: the same network, with different constants.

Public weights only give their published results under the constants that they were trained with. Sources:
torchvision ``models/detection`` (faster_rcnn.py, rpn.py, roi_heads.py, _utils.py, anchor_utils.py) and detectron2
``config/defaults.py``, ``configs/Base-RCNN-FPN.yaml``, ``modeling`` (rpn.py, box_regression.py, poolers.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

ConventionName = Literal[
    "segue", "torchvision", "torchvision_legacy", "torchvision_semantic", "detectron2", "detectron2_x101", "meshrcnn"
]


@dataclass(frozen=True)
class Conventions:
    """Everything in which the dialects differ.

    Attributes:
        roi_aligned: RoIAlign subtracts half a pixel (``aligned=True``, "version 2").
        roi_sampling: samples per bin and axis; 0 takes ``ceil(size of the bin)``, adaptively.
        level_eps_inside: the guard of the level assignment stands inside the logarithm (1e-8) or outside (1e-6).
        round_anchors: anchor corners around the origin are rounded to integers.
        anchors_span_grid: the anchors' stride is the padded picture's side divided by the cells of the map, in whole
            pixels; else the level's own.
        stride_in_1x1: the bottleneck block strides in its first 1x1 convolution (MSRA), not in its 3x3.
        frozen_norm_eps: epsilon of frozen batch norms.
        rpn_beta: where smooth L1 turns from square to linear in the RPN; 0 is plain L1.
        rpn_per_sampled: RPN losses are divided by the samples actually drawn, not by images * batch size.
        box_beta: as ``rpn_beta``, for the box head.
        background_first: class 0 is the background in the box classifier and other heads have a row for it; else the
            background is the last class and other heads have no row for it.
        binary_mask_targets: mask targets are cut at one half, from an aligned crop; else soft, from an unaligned one.
        paste_at_centres: masks are pasted by sampling at pixel centres; else by the integer-box rule of Detectron.
        keypoint_reading: a keypoint is at the peak of its enlarged map, and scores that value (logit) or its share of
            the map's softmax (peak); or it is the mean place of the best window, and scores its share (window).
        keypoint_shift: what the network's keypoints lack of ours: half a pixel where it counts pixels by their index.
        antialias: pictures are brought to the network's size in bytes, with a filter where they shrink; else in
            floats, plainly bilinear.
        sides: how a picture's new sides become whole: the nearest number, or the fraction is cut off, after the side
            was multiplied with the scale, a float that may fall short (scaled), or exactly (cut).
        bgr: the network expects blue first.
        mean: subtracted from pixel values in 0..255, in the network's channel order.
        std: then divided by this.
    """

    name: ConventionName
    roi_aligned: bool
    roi_sampling: int
    level_eps_inside: bool
    round_anchors: bool
    anchors_span_grid: bool
    stride_in_1x1: bool
    frozen_norm_eps: float
    rpn_beta: float
    rpn_per_sampled: bool
    box_beta: float
    background_first: bool
    binary_mask_targets: bool
    paste_at_centres: bool
    keypoint_reading: Literal["logit", "peak", "window"]
    keypoint_shift: float
    antialias: bool
    sides: Literal["nearest", "scaled", "cut"]
    bgr: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


TORCHVISION = Conventions(
    name="torchvision",
    roi_aligned=False,
    roi_sampling=2,
    level_eps_inside=False,
    round_anchors=True,
    anchors_span_grid=True,
    stride_in_1x1=False,
    frozen_norm_eps=0.0,
    rpn_beta=1 / 9,
    rpn_per_sampled=True,
    box_beta=1 / 9,
    background_first=True,
    binary_mask_targets=False,
    paste_at_centres=False,
    keypoint_reading="logit",
    keypoint_shift=0.5,
    antialias=False,
    sides="scaled",
    bgr=False,
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)

TORCHVISION_LEGACY = replace(TORCHVISION, name="torchvision_legacy", frozen_norm_eps=1e-5)
"""Of the first published keypoint weights, and of torchvision's detectors that were not made from published ones."""

TORCHVISION_SEMANTIC = replace(TORCHVISION, name="torchvision_semantic", antialias=True, sides="cut")
"""Of ``models/segmentation``, whose published scores are of pictures resized by ``transforms``."""

DETECTRON2 = Conventions(
    name="detectron2",
    roi_aligned=True,
    roi_sampling=0,
    level_eps_inside=True,
    round_anchors=False,
    anchors_span_grid=False,
    stride_in_1x1=True,
    frozen_norm_eps=1e-5,
    rpn_beta=0.0,
    rpn_per_sampled=False,
    box_beta=0.0,
    background_first=False,
    binary_mask_targets=True,
    paste_at_centres=True,
    keypoint_reading="peak",
    keypoint_shift=0.0,
    antialias=True,
    sides="nearest",
    bgr=True,
    mean=(103.53, 116.28, 123.675),
    std=(1.0, 1.0, 1.0),
)

DETECTRON2_X101 = replace(DETECTRON2, name="detectron2_x101", stride_in_1x1=False, std=(57.375, 57.12, 58.395))
"""Of the ResNeXts, which were trained elsewhere."""

MESHRCNN = replace(DETECTRON2, name="meshrcnn", roi_aligned=False, roi_sampling=2, rpn_beta=0.111, box_beta=1.0)
"""Of Mesh R-CNN (``configs/pix3d``), which began before RoIAlign's second version."""

SEGUE = replace(
    DETECTRON2,
    name="segue",
    roi_sampling=2,  # a cost that does not depend on the picture
    stride_in_1x1=False,
    keypoint_reading="window",
    bgr=False,
    mean=(127.5, 127.5, 127.5),
    std=(64.0, 64.0, 64.0),
)
"""For networks that are trained here: aligned everywhere, and pixels that do not lean on ImageNet."""

CONVENTIONS = {
    c.name: c
    for c in (SEGUE, TORCHVISION, TORCHVISION_LEGACY, TORCHVISION_SEMANTIC, DETECTRON2, DETECTRON2_X101, MESHRCNN)
}
