"""What the heads of a region network say of boxes that are known already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from segue.data.geometry import Geometry
from segue.engine.region_predictor import RegionPredictor
from segue.structures import Regions, Scene
from segue.tasks import RegionTask
from segue.tasks.added import blame, checked_field


@torch.no_grad()
def read_boxes(predictor: RegionPredictor, image: Tensor, given: Regions, file: str | None = None) -> Scene:
    """Let the region heads read given boxes; nothing is looked for, and boxes, labels and scores stay as they are.

    Args:
        predictor: the model.
        image: (3, H, W) uint8, the picture.
        given: N boxes in its pixels with labels of thing categories; scores of 1 are added where they have none.
        file: what to call the picture.

    Returns:
        The picture's scene with those regions and a field of each region task of the model.

    Raises:
        DataError: a label outside the model's categories.
    """
    scene = given_scene(predictor, image, given, file)
    shown = predictor.resized(image)
    (h, w), (height, width) = shown.shape[1:], scene.size
    boxes = given.boxes * given.boxes.new_tensor([w / width, h / height] * 2)
    return decoded(predictor, scene, heads_of(predictor, shown, boxes), boxes)


def given_scene(predictor: RegionPredictor, image: Tensor, given: Regions, file: str | None) -> Scene:
    """The picture (3, H, W) with nothing but the given boxes, labels and scores."""
    scores = torch.ones(len(given)) if given.scores is None else given.scores
    regions = Regions(given.boxes, given.labels, scores)
    return Scene((image.shape[1], image.shape[2]), predictor.categories, regions, file=file)


def raw_outputs(predictor: RegionPredictor, image: Tensor, boxes: Tensor, geometry: Geometry) -> dict[str, Any]:
    """What the region heads say, by task, of a picture (3, H, W) and its boxes (N, 4), both changed by ``geometry``."""
    return heads_of(predictor, geometry.image(image), geometry.boxes(boxes))


def heads_of(predictor: RegionPredictor, shown: Tensor, boxes: Tensor) -> dict[str, Any]:
    """What the region heads say, by task, of a picture (3, h, w) as the network sees it, and boxes (N, 4) in it."""
    network, device = predictor.network, predictor.device
    x, _ = predictor.inputs([shown])
    levels = network.trunk(x)
    owners = torch.zeros(len(boxes), dtype=torch.int64, device=device)
    tasks = [task.name for task in predictor.tasks if isinstance(task, RegionTask)]
    return network.read(levels, boxes.to(x), owners, tasks)


def decoded(predictor: RegionPredictor, scene: Scene, raw: Mapping[str, Any], shown: Tensor | None = None) -> Scene:
    """The scene with a field of each task in ``raw``, the outputs of the heads for its regions.

    ``shown`` are the boxes (N, 4) as the network saw them, for the tasks to which that makes a difference.
    """
    regions = scene.regions.to(predictor.device)
    depends = {task.name for task in predictor.tasks if isinstance(task, RegionTask) and task.shown}
    for name, values in raw.items():
        head: Any = predictor.network.heads[name]
        last = (shown.to(predictor.device),) if shown is not None and name in depends else ()
        with blame(predictor.network.packages[name], name):
            value = head.decode(values, regions, scene.size, *last)
            regions = regions.with_field(name, checked_field(value, len(regions)))
    return replace(scene, regions=regions.to("cpu"))
