"""torchvision behind the same arguments as `plain`, and why it is missing where it is.

Only what it has: it knows no mask IoU and no pasting at pixel centres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

try:
    import torchvision
    from torchvision.models.detection import maskrcnn_resnet50_fpn
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails without the compiled operators
    MISSING = ""
except (ImportError, RuntimeError, OSError) as error:
    MISSING = re.sub(r"\S*/", "", str(error).partition("\n")[0])  # the reason, without this machine's folders


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    return torchvision.ops.box_iou(a, b)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def anchors(
    grids: Sequence[tuple[int, int]],
    strides: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> Tensor:
    generator = AnchorGenerator(tuple((s,) for s in sizes), (tuple(ratios),) * len(sizes))
    size = (grids[0][0] * strides[0][0], grids[0][1] * strides[0][1])
    pictures = ImageList(torch.empty(1, 1, *size), [size])
    return generator(pictures, [torch.empty(1, 1, *grid) for grid in grids])[0]


def multilevel_roi_align(
    features: Sequence[Tensor],
    scales: Sequence[float],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    output: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """Level after level, as its `MultiScaleRoIAlign` does."""
    result = features[0].new_zeros(len(boxes), features[0].shape[1], output, output)
    rois = torch.cat([images[:, None].to(boxes), boxes], dim=1)
    for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
        index = (levels == level).nonzero()[:, 0]
        result[index] = torchvision.ops.roi_align(feature, rois[index], output, scale, sampling, aligned)
    return result


def mask_targets(masks: Tensor, index: Tensor, boxes: Tensor, size: int, binary: bool) -> Tensor:
    assert not binary
    return project_masks_on_boxes(masks, boxes, index, size)


def paste_masks(probabilities: Tensor, boxes: Tensor, size: tuple[int, int], at_centres: bool) -> Tensor:
    assert not at_centres
    return paste_masks_in_image(probabilities[:, None], boxes, size)[:, 0] >= 0.5


def network(state: Mapping[str, Tensor], classes: int, size: tuple[int, int], **limits: float) -> nn.Module:
    """Its Mask R-CNN with the weights of our network of the same make, whose tensors come in the same order."""
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        min_size=min(size),
        max_size=max(size),
        **limits,
    )
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model
