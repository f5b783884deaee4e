"""What the heads learn from, as the losses see it: regions of pictures beside their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from segue.drawing.keypoints import draw_keypoints, side_color
from segue.drawing.sheets import contact_sheet
from segue.errors import UsageError
from segue.ops import keypoint_targets, mask_targets
from segue.structures import Category, Masks, Scene
from segue.structures.categories import Color

MASK_CELLS, KEYPOINT_CELLS = 28, 56
"""Of the targets per axis (Mask R-CNN, He et al. 2017, figure 4 and section 5)."""

SIDE = 280
"""Pixels of each picture in a sheet, a multiple of both targets."""

FRAME: Color = (255, 64, 84)
DARK: Color = (16, 18, 26)
RASTER: Color = (28, 31, 42)


@dataclass(frozen=True)
class Example:
    """Regions of one picture to learn from.

    Attributes:
        image: the picture.
        scene: its annotation, with the N objects that the regions are about.
        rois: (N, 4) xyxy in pixels, the region of each object inside the picture, such as a proposal near its box.

    Raises:
        UsageError: another number of regions, or one that leaves the picture or has no area.
    """

    image: Image.Image
    scene: Scene
    rois: Tensor

    def __post_init__(self) -> None:
        if self.rois.shape != self.scene.regions.boxes.shape:
            what = f"{tuple(self.rois.shape)} regions for {len(self.scene.regions)} objects"
            raise UsageError(what, cure="pass one for each")
        low, high = self.rois[:, :2], self.rois[:, 2:]
        if not bool(((low >= 0) & (low < high) & (high <= torch.tensor(self.image.size))).all()):
            raise UsageError("a region without area, or outside its picture", cure="clip it to the picture")

    @property
    def chosen(self) -> list[Category]:
        """The category of each object."""
        return [self.scene.categories[label] for label in self.scene.regions.labels.tolist()]


def target_sheet(examples: Sequence[Example], columns: int = 2) -> Image.Image:
    """Three pictures for every target: the picture with the region, what RoIAlign sees of it, and the target.

    First all mask targets, 28 x 28 as `mask_targets` makes them, then the keypoint targets of objects that have any,
    in one picture of 56 x 56 where the cell of each keypoint is lit in the colour of its side.

    Args:
        examples: regions of pictures.
        columns: targets beside each other.

    Raises:
        UsageError: no object has a mask or keypoints, or no column.
    """
    panels = [panel for make in (mask_panels, keypoint_panels) for example in examples for panel in make(example)]
    if not panels:
        raise UsageError("no object has a mask or keypoints", cure="choose pictures that are annotated with them")
    return contact_sheet([image for _, image in panels], 3 * columns, [title for title, _ in panels])


def mask_panels(example: Example) -> list[tuple[str, Image.Image]]:
    """Three titled pictures for each object of an example, none where it has no masks."""
    masks = example.scene.regions.masks
    if not isinstance(masks, Masks) or not len(masks):
        return []
    targets = mask_targets(masks, torch.arange(len(masks)), example.rois, MASK_CELLS, binary=True)  # (N, 28, 28)
    panels = []
    for roi, target, category in zip(example.rois, targets, example.chosen, strict=True):
        shown = Image.fromarray((255 * target).byte().numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        panels += _located(example.image, roi, category.name)
        panels.append((f"mask {MASK_CELLS}x{MASK_CELLS}", shown))
    return panels


def keypoint_panels(example: Example) -> list[tuple[str, Image.Image]]:
    """Three titled pictures for each object of an example whose region holds a labelled keypoint."""
    points = example.scene.regions.keypoints
    if points is None or not points.numel():
        return []
    cells, valid = keypoint_targets(points, example.rois, KEYPOINT_CELLS)  # (N, K)
    low, high = example.rois[:, None, :2], example.rois[:, None, 2:]
    shown = torch.cat([(points[..., :2] - low) * SIDE / (high - low), valid[..., None]], dim=2)
    panels = []
    for i in valid.any(1).nonzero()[:, 0].tolist():
        category = example.chosen[i]
        place, (_, crop) = _located(example.image, example.rois[i], category.name)
        joints = draw_keypoints(crop, shown[i : i + 1], points[i : i + 1, :, 2] == 1, [category])
        title = f"{int(valid[i].sum())} of {len(category.keypoints)} maps, {KEYPOINT_CELLS}x{KEYPOINT_CELLS}"
        panels += [place, ("its RoI with joints", joints), (title, _lit(cells[i], valid[i], category))]
    return panels


def _located(image: Image.Image, roi: Tensor, name: str) -> list[tuple[str, Image.Image]]:
    """The picture with a region in it, and the region alone, stretched to a square as the heads see it."""
    x0, y0, x1, y1 = roi.tolist()
    scale = SIDE / max(image.size)
    whole = image.convert("RGB").resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    ImageDraw.Draw(whole).rectangle([round(v * scale) for v in (x0, y0, x1 - 1, y1 - 1)], outline=FRAME, width=2)
    crop = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
    return [(name, whole), (f"its RoI, {x1 - x0:.0f}x{y1 - y0:.0f}", crop)]


def _lit(cells: Tensor, valid: Tensor, category: Category) -> Image.Image:
    """A dark picture of a target, its ``valid`` (K,) ``cells`` (K,) lit in the colours of their keypoints' sides."""
    size = SIDE // KEYPOINT_CELLS
    picture = Image.new("RGB", (SIDE, SIDE), DARK)
    pen = ImageDraw.Draw(picture)
    for at in range(0, SIDE, 8 * size):
        pen.line((at, 0, at, SIDE), fill=RASTER)
        pen.line((0, at, SIDE, at), fill=RASTER)
    for k in valid.nonzero()[:, 0].tolist():
        row, column = divmod(int(cells[k]), KEYPOINT_CELLS)
        x, y = column * size, row * size
        pen.rectangle((x, y, x + size - 1, y + size - 1), fill=side_color(category.keypoints[k]))
    return picture
