"""Panoptic maps: every pixel belongs to one thing or one kind of stuff (Kirillov et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from segue.data.panoptic_write import map_picture, segments_info
from segue.data.records import Dataset
from segue.drawing.panoptic import draw_panoptic
from segue.metrics.panoptic import PanopticQuality
from segue.ops.panoptic import MergeLimits, merge_panoptic
from segue.structures import Scene
from segue.tasks.task import PixelTask, no_report


class MappedQuality(PanopticQuality):
    """`PanopticQuality` of the pictures that have a panoptic map."""

    def update(self, predicted: Scene, truth: Scene) -> None:
        """As of `PanopticQuality`."""
        if truth.panoptic is not None:
            super().update(predicted, truth)


def annotated(dataset: Dataset) -> bool:
    """Whether any picture has a panoptic map."""
    return dataset.panoptic is not None and dataset.maps is not None and any(dataset.maps.files)


def derive(scene: Scene, limits: MergeLimits) -> Scene:
    """The scene with its instances and the classes of its pixels merged into one map."""
    assert scene.semantic is not None
    panoptic, segments = merge_panoptic(scene.regions, scene.semantic, scene.categories, limits, scene.confidence)
    classes = torch.cat([segments.labels.new_tensor([-1]), segments.labels])[panoptic.long()]  # ids count from 1
    semantic = torch.where(scene.semantic < 0, classes.short(), scene.semantic)  # "any thing" gets its instance's class
    return replace(scene, panoptic=panoptic, segments=segments, semantic=semantic)


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """A tint and an outline for every segment, and its name unless a region says it, too."""
    if scene.panoptic is None or scene.segments is None:
        return image
    return draw_panoptic(image, scene.panoptic, scene.segments, scene.categories, name_things=not len(scene.regions))


def files(scene: Scene) -> dict[str, Image.Image]:
    """``panoptic.png``, in COCO's colours."""
    return {} if scene.panoptic is None else {"panoptic.png": map_picture(scene.panoptic)}


def entry(names: Sequence[str], scene: Scene) -> dict[str, Any]:
    """The file's name and COCO's ``segments_info``, with labels in place of category ids."""
    labels = (
        [] if scene.segments is None else [scene.categories[label].name for label in scene.segments.labels.tolist()]
    )
    rows = [
        {"id": row["id"], "label": label, "isthing": bool(row["isthing"]), "area": row["area"]}
        | ({"score": row["score"]} if "score" in row else {})
        for row, label in zip(segments_info(scene), labels, strict=True)
    ]
    return {"panoptic": {"file": names[0], "segments_info": rows}}


PANOPTIC = PixelTask(
    name="panoptic",
    annotated=annotated,
    metrics=(MappedQuality,),
    draw=draw,
    files=files,
    entry=entry,
    report=no_report,
    settings=MergeLimits,
    derive=derive,
    needs=("masks", "semantic"),
    hides=("semantic", "masks"),
)
