"""Pure functions on tensors: boxes, suppression, RoIAlign, anchors, packed masks."""

from segue.ops.anchors import cell_anchors, grid_anchors
from segue.ops.boxes import box_area, box_iou, clip_boxes, crowd_iou, decode_boxes, encode_boxes
from segue.ops.masks import mask_boxes, mask_intersection, mask_iou, unite_masks, warp_masks
from segue.ops.nms import batched_nms, nms, nms_keep
from segue.ops.paste import paste_masks, paste_soft
from segue.ops.roi_align import assign_levels, multilevel_roi_align, roi_align
from segue.ops.targets import mask_targets

__all__ = [
    "assign_levels",
    "batched_nms",
    "box_area",
    "box_iou",
    "cell_anchors",
    "clip_boxes",
    "crowd_iou",
    "decode_boxes",
    "encode_boxes",
    "grid_anchors",
    "mask_boxes",
    "mask_intersection",
    "mask_iou",
    "mask_targets",
    "multilevel_roi_align",
    "nms",
    "nms_keep",
    "paste_masks",
    "paste_soft",
    "roi_align",
    "unite_masks",
    "warp_masks",
]
