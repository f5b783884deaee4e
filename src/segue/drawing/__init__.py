"""Pictures for people: scenes painted over photos, sheets of them, and curves. Only Pillow and arrays."""

from segue.drawing.boxes import draw_boxes
from segue.drawing.captions import draw_captions
from segue.drawing.colors import object_colors
from segue.drawing.confusion import plot_confusion
from segue.drawing.curves import plot_curves
from segue.drawing.keypoints import draw_keypoints
from segue.drawing.label import draw_label
from segue.drawing.masks import draw_masks
from segue.drawing.mesh_page import mesh_part
from segue.drawing.meshes import draw_meshes
from segue.drawing.page import Part, Section, caption_part, page_of, picture_section
from segue.drawing.panoptic import draw_panoptic
from segue.drawing.scene import draw_scene, region_labels
from segue.drawing.semantic import add_legend, draw_confidence, draw_semantic
from segue.drawing.sheets import contact_sheet, side_by_side
from segue.drawing.targets import Example, target_sheet
from segue.drawing.turntable import gif_bytes, turntable

__all__ = [
    "Example",
    "Part",
    "Section",
    "add_legend",
    "caption_part",
    "contact_sheet",
    "draw_boxes",
    "draw_captions",
    "draw_confidence",
    "draw_keypoints",
    "draw_label",
    "draw_masks",
    "draw_meshes",
    "draw_panoptic",
    "draw_scene",
    "draw_semantic",
    "gif_bytes",
    "mesh_part",
    "object_colors",
    "page_of",
    "picture_section",
    "plot_confusion",
    "plot_curves",
    "region_labels",
    "side_by_side",
    "target_sheet",
    "turntable",
]
