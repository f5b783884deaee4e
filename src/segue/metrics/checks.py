"""What every metric asks of the scenes that it compares."""

from __future__ import annotations

from segue.errors import DataError
from segue.structures import Categories, Masks, Scene


def check_classes(scene: Scene, categories: Categories) -> None:
    """Raise `DataError` unless the scene's labels mean what the metric's do."""
    if scene.categories is not categories and scene.categories.names != categories.names:
        raise DataError("its classes are not those of the metric", where=scene.file, cure="use one list of categories")


def check_predictions(scene: Scene) -> None:
    """Raise `DataError` unless every region has a finite score and a finite box."""
    regions = scene.regions
    if len(regions) and regions.scores is None:
        raise DataError("predictions without scores", where=scene.file, cure="give each region a score")
    for name, values in (("score", regions.scores), ("box", regions.boxes)):
        if values is not None and not bool(values.isfinite().all()):
            raise DataError(f"a predicted {name} is not a finite number", where=scene.file, cure="mend the model")


def masks_of(scene: Scene) -> Masks:
    """The N masks of a scene's regions; raises `DataError` where regions have none."""
    if len(scene.regions) == 0:
        return Masks.from_dense(scene.regions.boxes.new_zeros(0, *scene.size))
    if scene.regions.masks is None:
        raise DataError("regions without masks cannot be scored as masks", where=scene.file, cure="give all a mask")
    return scene.regions.masks
