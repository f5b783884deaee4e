"""The class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from segue.data.records import Dataset
from segue.drawing.confusion import plot_confusion
from segue.drawing.semantic import draw_semantic
from segue.errors import DataError
from segue.metrics.semantic import SemanticScores
from segue.nn.pixel_branch import BranchSettings, SemanticBranch
from segue.structures import Scene
from segue.tasks.task import Metric, PixelTask


def annotated(dataset: Dataset) -> bool:
    """Whether any picture has a label map."""
    return dataset.maps is not None and any(file is not None for file in dataset.maps.files)


def draw(image: Image.Image, scene: Scene) -> Image.Image:
    """A tint for every class."""
    return image if scene.semantic is None else draw_semantic(image, scene.semantic, scene.categories)


def files(scene: Scene) -> dict[str, Image.Image]:
    """``semantic.png``, indexed by category id, and ``confidence.png``, 255 where the label is certain."""
    pictures = {} if scene.semantic is None else {"semantic.png": index_picture(scene)}
    if scene.confidence is not None:
        pictures["confidence.png"] = Image.fromarray((scene.confidence * 255).round().byte().numpy())
    return pictures


def index_picture(scene: Scene) -> Image.Image:
    """The semantic map as a gray picture: the category id of every pixel, in 8 bits, or 16 where an id exceeds 255.

    Raises:
        DataError: no map, or an id that 16 bits do not hold.
    """
    if scene.semantic is None:
        raise DataError("no semantic map", where=scene.file, cure="predict with a semantic model")
    ids = np.array([category.id for category in scene.categories])
    if ids.min() < 0 or ids.max() > 65535:
        what = f"category ids from {ids.min()} to {ids.max()} do not fit a PNG"
        raise DataError(what, where=scene.file, cure="use ids from 0 to 65535")
    unlabelled = next(value for value in (0, 255, 65535, *range(65536)) if value not in ids)  # -1 has none of its own
    table = np.append(ids, unlabelled).astype(np.uint8 if max(ids.max(), unlabelled) < 256 else np.uint16)
    return Image.fromarray(table[scene.semantic.numpy()])


def entry(names: Sequence[str], scene: Scene) -> dict[str, Any]:
    """Names of the files by what they hold."""
    return {name.split(".")[-2]: name for name in names}


class MappedScores(SemanticScores):
    """`SemanticScores` of the pictures that have a label map."""

    def update(self, predicted: Scene, truth: Scene) -> None:
        """As of `SemanticScores`."""
        if truth.semantic is not None:
            super().update(predicted, truth)


def report(metric: Metric) -> dict[str, Image.Image]:
    """The confusion matrix."""
    if not isinstance(metric, SemanticScores):
        return {}
    return {"confusion.png": plot_confusion(metric.counts, metric.categories.names)}


SEMANTIC = PixelTask(
    name="semantic",
    annotated=annotated,
    metrics=(MappedScores,),
    draw=draw,
    files=files,
    entry=entry,
    report=report,
    settings=BranchSettings,
    head=SemanticBranch,
)
