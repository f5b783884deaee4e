"""page.html: pictures and what tasks say or show of them, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from segue.drawing import Section, page_of
from segue.files import atomic_write
from segue.structures import Scene
from segue.tasks.task import RegionTask, Task

NAME = "page.html"
MOST = 1000
"""Pictures on a page; a browser does not like more."""


class PageWriter:
    """Collects the sections of a page, up to `MOST` pictures; writes nothing where no task has any.

    Args:
        folder: where the page goes.
        title: of the page.
        tasks: whose ``section`` fill it.
    """

    def __init__(self, folder: Path, title: str, tasks: Sequence[Task]) -> None:
        self.folder, self.title = folder, title
        self.tasks = [task for task in tasks if isinstance(task, RegionTask) and task.section is not None]
        self.sections: list[Section] = []

    def add(self, scene: Scene, image: Image.Image) -> None:
        """One scene with its plain picture."""
        if len(self.sections) < MOST:
            self.sections += [task.section(scene, image) for task in self.tasks if task.section and task.carried(scene)]

    def close(self) -> None:
        """Let page.html appear, if it says anything. Raises `UsageError` where it cannot be written."""
        if self.sections:
            atomic_write(self.folder / NAME, page_of(self.sections, self.title).encode())
