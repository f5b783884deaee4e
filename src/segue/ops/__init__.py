"""Pure functions on tensors: boxes, suppression, RoIAlign, anchors, packed masks, upsampling."""

from segue.ops.anchors import cell_anchors, grid_anchors
from segue.ops.boxes import box_area, box_iou, clip_boxes, crowd_iou, decode_boxes, encode_boxes
from segue.ops.conv_matrix import conv1d_matrix, conv2d_matrix, transposed_conv1d, transposed_conv2d
from segue.ops.keypoints import keypoint_peaks, keypoint_targets, keypoint_windows, move_points
from segue.ops.masks import mask_boxes, mask_intersection, mask_iou, unite_masks, warp_masks
from segue.ops.nms import batched_nms, nms, nms_keep
from segue.ops.paste import paste_masks, paste_soft
from segue.ops.roi_align import assign_levels, multilevel_roi_align, roi_align
from segue.ops.targets import mask_targets
from segue.ops.upsample import (
    bed_of_nails,
    bilinear_kernel,
    interpolation_matrix,
    max_pool,
    max_unpool,
    resize,
    resize_by_formula,
)

__all__ = [
    "assign_levels",
    "batched_nms",
    "bed_of_nails",
    "bilinear_kernel",
    "box_area",
    "box_iou",
    "cell_anchors",
    "clip_boxes",
    "conv1d_matrix",
    "conv2d_matrix",
    "crowd_iou",
    "decode_boxes",
    "encode_boxes",
    "grid_anchors",
    "interpolation_matrix",
    "keypoint_peaks",
    "keypoint_targets",
    "keypoint_windows",
    "mask_boxes",
    "mask_intersection",
    "mask_iou",
    "mask_targets",
    "max_pool",
    "max_unpool",
    "move_points",
    "multilevel_roi_align",
    "nms",
    "nms_keep",
    "paste_masks",
    "paste_soft",
    "resize",
    "resize_by_formula",
    "roi_align",
    "transposed_conv1d",
    "transposed_conv2d",
    "unite_masks",
    "warp_masks",
]
