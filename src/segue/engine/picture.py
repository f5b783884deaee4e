"""A Scene painted over its picture, or saved beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segue.data.images import read_image, to_pil, to_tensor
from segue.drawing import draw_scene
from segue.engine.output import SceneWriter
from segue.errors import ImageError
from segue.structures import Scene
from segue.tasks import RegionTask, all_tasks


def draw(scene: Scene, image: str | Path | Image.Image | Any, tasks: Sequence[RegionTask] | None = None) -> Image.Image:
    """Paint what a scene holds over its picture.

    Args:
        scene: of one picture.
        image: that picture: a path, a Pillow image, an array as of `to_tensor`.
        tasks: whose fields to paint; None paints all that the scene has.

    Raises:
        ImageError: the picture cannot be read.
        UsageError: it is not of the scene's size.
    """
    pixels = read_image(image) if isinstance(image, str | Path) else to_tensor(image)
    tasks = tasks_of(scene) if tasks is None else tasks
    last = sorted(tasks, key=lambda task: task.selects)  # outlines and labels stay on top of tints
    return draw_scene(scene, to_pil(pixels), [task.draw for task in last if task.draw])


def save(scene: Scene, folder: str | Path) -> None:
    """Write the files of `segue predict`: scenes.json and, where the scene's file can still be read, its overlay.

    Raises:
        UsageError: the folder cannot be written, or the file holds another picture now.
    """
    try:
        overlay = draw(scene, scene.file) if scene.file else None
    except ImageError:
        overlay = None
    with SceneWriter(Path(folder), "", tasks_of(scene)) as writer:
        writer.add(scene, overlay)


def tasks_of(scene: Scene) -> list[RegionTask]:
    """The installed tasks whose fields a scene has."""
    return [task for task in all_tasks() if scene.regions.field(task.name) is not None]
