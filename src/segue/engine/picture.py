"""A Scene painted over its picture, shown in a notebook, or saved beside it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import read_image, to_pil, to_tensor
from segue.drawing import draw_scene
from segue.drawing.semantic import add_legend
from segue.engine.output import SceneWriter
from segue.errors import ImageError
from segue.structures import Scene
from segue.tasks import ImageTask, PixelTask, RegionTask, Task, known_tasks

WIDEST = 1024
"""Pixels of the longer side in a notebook, which keeps every picture that it has shown."""
GRAY = (128, 128, 128)


def draw(scene: Scene, image: str | Path | Image.Image | Any, tasks: Sequence[Task] | None = None) -> Image.Image:
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
    tasks = [task for task in (known_tasks() if tasks is None else tasks) if task.carried(scene)]
    hidden = {name for task in tasks if isinstance(task, PixelTask) for name in task.hides}
    seen = [task for task in painted(tasks) if task.name not in hidden]
    return draw_scene(scene, to_pil(pixels), [task.draw for task in seen if task.draw])


def painted(tasks: Sequence[Task]) -> list[Task]:
    """The tasks in the order in which they paint: maps, what is in regions, boxes, the picture's label."""
    return sorted(tasks, key=lambda t: (isinstance(t, ImageTask), t.selects, not isinstance(t, PixelTask)))


def overlay(scene: Scene, image: Image.Image, tasks: Sequence[Task] | None = None) -> Image.Image:
    """As `draw`, and beside the picture what tasks set there, and a legend of the classes where every pixel has one."""
    painted, labels = draw(scene, image, tasks), class_map(scene)
    for task in known_tasks() if tasks is None else tasks:
        if isinstance(task, RegionTask) and task.margin is not None and task.carried(scene):
            painted = task.margin(painted, scene)
    return painted if labels is None else add_legend(painted, labels, scene.categories)


def class_map(scene: Scene) -> Tensor | None:
    """(H, W) category index of every pixel, -1 for none: of its segment, or else as in the semantic map, if any."""
    if scene.panoptic is None or scene.segments is None:
        return scene.semantic
    segments = scene.segments.to("cpu")
    labels = F.pad(segments.labels, (0, 1), value=-1)  # the place of 0 is -1
    return labels[segments.places(scene.panoptic.cpu().long())]


def save(scene: Scene, folder: str | Path) -> None:
    """Write the files of `segue predict`: scenes.json and, where the scene's file can still be read, its overlay.

    Raises:
        UsageError: the folder cannot be written, or the file holds another picture now.
    """
    image = picture_of(scene)
    with SceneWriter(Path(folder), "", tasks_of(scene)) as writer:
        writer.add(scene, overlay(scene, image) if image else None, image)


def shown(scene: Scene) -> bytes:
    """A PNG of what `overlay` makes of a scene, its longer side at most `WIDEST` pixels.

    The picture is that of the scene's file; a gray one, where that cannot be read any more or has another size now.
    """
    size, image = (scene.size[1], scene.size[0]), picture_of(scene)
    painted = overlay(scene, image if image is not None and image.size == size else Image.new("RGB", size, GRAY))
    painted.thumbnail((WIDEST, WIDEST))
    buffer = BytesIO()
    painted.save(buffer, "PNG")
    return buffer.getvalue()


def picture_of(scene: Scene) -> Image.Image | None:
    """The picture in a scene's file; None where it names no file, or none that can be read."""
    try:
        return to_pil(read_image(scene.file)) if scene.file else None
    except ImageError:
        return None


def tasks_of(scene: Scene) -> list[Task]:
    """The installed tasks whose fields a scene has."""
    return [task for task in known_tasks() if task.carried(scene)]
