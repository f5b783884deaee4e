"""Pictures for people: scenes painted over photos, sheets of them, and curves. Only Pillow and arrays."""

from segue.draw.boxes import draw_boxes
from segue.draw.colors import object_colors
from segue.draw.curves import plot_curves
from segue.draw.masks import draw_masks
from segue.draw.scene import draw_scene, region_labels
from segue.draw.sheets import contact_sheet, side_by_side

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
