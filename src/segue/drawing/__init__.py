"""Pictures for people: scenes painted over photos, sheets of them, and curves. Only Pillow and arrays."""

from segue.drawing.boxes import draw_boxes
from segue.drawing.colors import object_colors
from segue.drawing.curves import plot_curves
from segue.drawing.masks import draw_masks
from segue.drawing.scene import draw_scene, region_labels
from segue.drawing.sheets import contact_sheet, side_by_side

__all__ = [
    "contact_sheet",
    "draw_boxes",
    "draw_masks",
    "draw_scene",
    "object_colors",
    "plot_curves",
    "region_labels",
    "side_by_side",
]
