"""A Scene painted over its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from segue.data.images import read_image, to_pil, to_tensor
from segue.draw import draw_scene
from segue.structures import Scene
from segue.tasks import RegionTask, all_tasks


def draw(scene: Scene, image: str | Path | Image.Image | Any, tasks: list[RegionTask] | None = None) -> Image.Image:
    """Paint what the tasks (all installed, unless given) know of a scene over its picture: a path, PIL image or array."""
    pixels = read_image(image) if isinstance(image, str | Path) else to_tensor(image)
    tasks = all_tasks() if tasks is None else tasks
    last = sorted(tasks, key=lambda task: task.selects)  # outlines and labels stay on top of tints
    return draw_scene(scene, to_pil(pixels), [task.draw for task in last if task.draw])
