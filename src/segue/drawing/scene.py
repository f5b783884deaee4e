"""A whole scene over its picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from segue.errors import UsageError
from segue.structures import Scene


def draw_scene(
    scene: Scene, image: Image.Image, draws: Sequence[Callable[[Image.Image, Scene], Image.Image]]
) -> Image.Image:
    """A copy of the scene's picture with what each of ``draws`` (a task's ``draw``) paints, one over the other.

    Raises:
        UsageError: the picture is not of the scene's size.
    """
    if scene.size != (image.height, image.width):
        what = f"a scene of {scene.size} over a picture of {(image.height, image.width)}"
        raise UsageError(what, where=scene.file, cure="pass the picture that the scene was made from")
    image = image.convert("RGB")
    for draw in draws:
        image = draw(image, scene)
    return image


def region_labels(scene: Scene) -> list[str]:
    """Class name and, where there is one, score of every region, such as ``mug 0.98``."""
    names = [scene.categories[label].name for label in scene.regions.labels.tolist()]
    if scene.regions.scores is None:
        return names
    return [f"{name} {score:.2f}" for name, score in zip(names, scene.regions.scores.tolist(), strict=True)]
