"""The list of tasks. A new one is a new file and one more name here, or an entry point of another package."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from segue.data.records import Parser
from segue.errors import UsageError
from segue.tasks.added import ENTRY_POINTS, load_added
from segue.tasks.boxes import BOXES
from segue.tasks.captions import CAPTIONS
from segue.tasks.keypoints import KEYPOINTS
from segue.tasks.label import LABEL
from segue.tasks.masks import MASKS
from segue.tasks.meshes import MESHES
from segue.tasks.panoptic import PANOPTIC
from segue.tasks.semantic import SEMANTIC
from segue.tasks.task import (
    Detections,
    ImageHead,
    ImageTask,
    Metric,
    PixelHead,
    PixelTask,
    RegionHead,
    RegionTask,
    Sampled,
    Task,
)

TASKS = [BOXES, MASKS, MESHES, KEYPOINTS, CAPTIONS]
"""In the order in which they paint: surfaces would hide skeletons."""

PIXEL_TASKS = [SEMANTIC, PANOPTIC]
IMAGE_TASKS = [LABEL]


def all_tasks() -> list[RegionTask]:
    """The package's own tasks, then those that installed packages add under the entry point ``segue.tasks``."""
    return [*TASKS, *load_added(entry_points(group=ENTRY_POINTS))]


def known_tasks() -> list[Task]:
    """`PIXEL_TASKS`, `all_tasks` and `IMAGE_TASKS`."""
    return [*PIXEL_TASKS, *all_tasks(), *IMAGE_TASKS]


def parsers_of(tasks: Iterable[Task]) -> dict[str, Parser]:
    """How the fields of `Regions` that some tasks fill are read, by field."""
    return {task.name: task.parse for task in tasks if isinstance(task, RegionTask)}


def tasks_named(names: list[str]) -> list[Task]:
    """The tasks called ``names``, in the order of `known_tasks`."""
    known = {task.name: task for task in known_tasks()}
    for name in names:
        if name not in known:
            raise UsageError(
                f"unknown task {name!r}",
                cure=f"known are {', '.join(known)}; a task from another package needs that package installed",
            )
    return [task for task in known.values() if task.name in names]


__all__ = [
    "BOXES",
    "CAPTIONS",
    "IMAGE_TASKS",
    "KEYPOINTS",
    "LABEL",
    "MASKS",
    "MESHES",
    "PANOPTIC",
    "PIXEL_TASKS",
    "SEMANTIC",
    "TASKS",
    "Detections",
    "ImageHead",
    "ImageTask",
    "Metric",
    "PixelHead",
    "PixelTask",
    "RegionHead",
    "RegionTask",
    "Sampled",
    "Task",
    "all_tasks",
    "known_tasks",
    "parsers_of",
    "tasks_named",
]
