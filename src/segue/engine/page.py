"""page.html: pictures and what tasks paint, say or show of them, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from segue.drawing import Part, Section, page_of, picture_section
from segue.drawing.layers import layer, png_uri, switches
from segue.engine.picture import painted
from segue.files import atomic_write
from segue.structures import Scene
from segue.tasks.task import PixelTask, RegionTask, Task

NAME = "page.html"
MOST = 1000
"""Pictures on a page; a browser does not like more."""


class PageWriter:
    """Collects the pictures of a page, up to `MOST`.

    Each comes with a layer for every task that paints, and beside it the parts of tasks that say something; all of a
    task's have one switch. Maps, which cover the picture, are off at first, and so is what is painted of a task whose
    part stands beside.

    Args:
        folder: where the page goes.
        title: of the page.
        always: write a page also where no task has a part.
    """

    def __init__(self, folder: Path, title: str, always: bool = False) -> None:
        self.folder, self.title, self.always = folder, title, always
        self.sections: list[Section] = []
        self.tasks: dict[str, bool] = {}

    def add(self, scene: Scene, image: Image.Image, tasks: Sequence[Task]) -> None:
        """One scene with its plain picture, and the tasks that are shown."""
        if len(self.sections) == MOST:
            return
        carried = painted([task for task in tasks if task.carried(scene)])
        parts = {t.name: t.part(scene, image) for t in carried if isinstance(t, RegionTask) and t.part is not None}
        if not (parts or self.always):
            return
        painting = [task for task in carried if task.draw is not None]
        layers = {_layer_name(task, parts): png_uri(layer(task.draw, scene)) for task in painting if task.draw}
        self.sections.append(picture_section(scene, image, parts, layers))
        covering = {_layer_name(task, parts) for task in painting if isinstance(task, PixelTask) or task.name in parts}
        self.tasks |= {name: name not in covering for name in (*layers, *parts)}

    def close(self) -> None:
        """Let page.html appear, if there is something on it. Raises `UsageError` where it cannot be written."""
        if self.sections:
            page = page_of([switches(self.tasks), *self.sections], self.title)
            atomic_write(self.folder / NAME, page.encode())


def _layer_name(task: Task, parts: Mapping[str, Part]) -> str:
    """What stands beside the picture has a switch of its own."""
    return f"{task.name}, drawn" if task.name in parts else task.name
