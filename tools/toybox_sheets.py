"""Contact sheets of Toybox: scenes with their annotation, training targets, and what a model predicts.

    python tools/toybox_sheets.py --data DIR --out docs/images --model FILE

Reads the val pictures of DIR, as `segue data make toybox` writes them. Writes toybox_scenes.jpg, toybox_targets.jpg,
and, where a model is given, toybox_predictions.jpg.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from segue.data.dataset import Dataset, open_dataset
from segue.data.geometry import Geometry
from segue.data.images import to_pil
from segue.data.transforms import apply_geometry, resized_size
from segue.drawing import Example, contact_sheet, target_sheet
from segue.engine.load import load
from segue.engine.picture import draw
from segue.engine.predictor import Predictor
from segue.ops.boxes import box_iou, clip_boxes
from segue.structures import Regions, Scene
from segue.tasks import BOXES, KEYPOINTS, MASKS, TASKS, Task

SCENES, PREDICTED, MASK_TARGETS, KEYPOINT_TARGETS = 18, 10, 8, 8
COLUMNS = 6
LOOKED_AT = 100  # pictures that targets are chosen from
JOINTS = 10  # that a person shows at least
SIDE = 320  # pixels of a shown picture
SMALLEST = 40  # pixels of the shorter side of an object in the targets
JITTER = 0.06  # standard deviation of a region's edges, of its sides
POSITIVE = 0.5  # a region learns from an object that it overlaps so far
INSTANCES: tuple[Task, ...] = (BOXES, MASKS, KEYPOINTS)


def main() -> None:
    """Draw and write."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parse.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    parse.add_argument("--model", type=Path, help="model file or folder of a run")
    options = parse.parse_args()
    dataset = open_dataset(f"{options.data}:val", {task.name: task.parse for task in TASKS}, panoptic=True)
    sheets = {"scenes": scene_sheet(dataset), "targets": chosen_targets(dataset)}
    if options.model:
        sheets["predictions"] = prediction_sheet(dataset, load(options.model))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, sheet in sheets.items():
        sheet.save(options.out / f"toybox_{name}.jpg", quality=78, optimize=True)


def scene_sheet(dataset: Dataset) -> Image.Image:
    """Rows of pictures, and below each row the same with segments and skeletons."""
    count = min(SCENES, len(dataset))
    pictures = []
    for start in range(0, count, COLUMNS):
        row = [enlarged(dataset.image(i), dataset.scene(i)) for i in range(start, min(start + COLUMNS, count))]
        pictures += [image for image, _ in row]
        pictures += [draw(scene, draw(segments_of(scene), image), (KEYPOINTS,)) for image, scene in row]
    return contact_sheet(pictures, COLUMNS)


def prediction_sheet(dataset: Dataset, predictor: Predictor) -> Image.Image:
    """Pictures, and right of each its predicted segments and its boxes, masks and skeletons."""
    pictures = []
    for index in range(min(PREDICTED, len(dataset))):
        image, scene = enlarged(dataset.image(index), predictor.predict(dataset.image(index)))
        pictures += [image, draw(segments_of(scene), image), draw(scene, image, INSTANCES)]
    return contact_sheet(pictures, COLUMNS, ["picture", "segments", "objects"] * (len(pictures) // 3))


def segments_of(scene: Scene) -> Scene:
    """The scene without its objects, so that its segments say their names themselves."""
    return replace(scene, regions=Regions.empty(), semantic=None)


def chosen_targets(dataset: Dataset) -> Image.Image:
    """Mask targets of an object of each class, then keypoint targets of people."""
    found = list(examples(dataset))
    of_class = {example.chosen[0].name: example for example in reversed(found)}
    people = [example for example in found if visible(example) >= JOINTS]
    shown = [without(example, "keypoints") for example in list(of_class.values())[:MASK_TARGETS]]
    return target_sheet([*shown, *(without(example, "masks") for example in people[:KEYPOINT_TARGETS])])


def examples(dataset: Dataset) -> Iterator[Example]:
    """The large objects of the first pictures one by one, each with a region near its box that learns from it."""
    generator = torch.Generator().manual_seed(0)
    for index in range(min(LOOKED_AT, len(dataset))):
        scene, image = dataset.scene(index), to_pil(dataset.image(index))
        boxes = scene.regions.boxes
        sides = boxes[:, 2:] - boxes[:, :2]
        moved = boxes + JITTER * sides.repeat(1, 2) * torch.randn(boxes.shape, generator=generator)
        rois = clip_boxes(moved, scene.size)
        learns = (box_iou(rois, boxes).diagonal() >= POSITIVE) & (sides.amin(1) >= SMALLEST)
        for i in learns.nonzero():  # (1,)
            yield Example(image, replace(scene, regions=scene.regions.select(i)), rois[i])


def visible(example: Example) -> int:
    """How many keypoints of an example's objects can be seen."""
    points = example.scene.regions.keypoints
    return 0 if points is None else int((points[..., 2] == 2).sum())


def without(example: Example, field: str) -> Example:
    """The example with one field of its objects left out."""
    return replace(example, scene=replace(example.scene, regions=example.scene.regions.with_field(field, None)))


def enlarged(pixels: Tensor, scene: Scene) -> tuple[Image.Image, Scene]:
    """A picture (3, H, W) uint8 and its scene, both brought to a shorter side of ``SIDE`` pixels."""
    geometry = Geometry.resize(scene.size, resized_size(scene.size, (SIDE, 4 * SIDE)))
    image, regions = apply_geometry(pixels, scene.regions, geometry, {t.name: t.transform for t in TASKS}, 0.0)
    panoptic = None if scene.panoptic is None else geometry.label_map(scene.panoptic, 0)
    shown = Scene(geometry.size, scene.categories, regions, panoptic=panoptic, segments=scene.segments)
    return to_pil(image), shown


if __name__ == "__main__":
    main()
