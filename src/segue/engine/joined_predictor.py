"""Two models made one: the first finds the objects, the others say of its boxes what it does not.

No public weights give masks and poses of the same people; a Mask R-CNN and a Keypoint R-CNN together do. Their trunks
differ, so every trunk looks at every picture: this costs as much as the models one after the other, less the boxes of
all but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from segue.engine.given_boxes import read_boxes
from segue.engine.predictor import Predictor
from segue.engine.region_predictor import RegionPredictor
from segue.engine.tiles import predict_tiled
from segue.errors import UsageError
from segue.structures import Categories, Category, Field, Regions, Scene
from segue.structures.regions import cat, select
from segue.tasks import KEYPOINTS, RegionTask, Task


class JoinedPredictor(Predictor):
    """Scenes of the first model, with the region tasks of the others that it does not have itself.

    Classes are the same where their names are; a region of a class that a model does not know has an empty field of
    it: no mask, keypoints that are not there.

    Attributes:
        finder: finds the objects, and fills in all that it can.
        readers: each with the tasks that it adds, and for each class of the finder its own label or -1.

    Raises:
        UsageError: a model adds no task, shares no class, or adds a task that cannot be left empty.
    """

    def __init__(self, finder: RegionPredictor, others: Sequence[RegionPredictor]) -> None:
        self.finder, self.readers = finder, [*_readers(finder, others)]
        added = [task for reader, _ in self.readers for task in reader.tasks]
        categories = finder.categories
        for reader, _ in self.readers:
            if KEYPOINTS in reader.tasks:
                categories = with_skeletons(categories, reader.categories)
        models = [finder, *others]
        network = nn.ModuleList([model.network for model in models])
        notes = {"models": [{"name": model.name, **model.notes} for model in models]}
        name = "+".join(model.name for model in models)
        super().__init__(name, network, categories, [*finder.tasks, *added], finder.resize, notes)

    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """Decoded pictures (3, H, W) uint8 with their files, through the finder together, then one by one."""
        found = _with_tasks(self.finder, self.tasks).scenes(pictures, threshold)
        return [self._read(scene, picture) for scene, (picture, _) in zip(found, pictures, strict=True)]

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """As of `Predictor`; where the finder fills in more than regions, it looks at all tiles again for that."""
        objects = copy(self)
        objects.tasks = [task for task in self.tasks if isinstance(task, RegionTask)]
        scene = predict_tiled(objects, image, side, threshold, file)
        if len(objects.tasks) == len(self.tasks):
            return scene
        rest = _with_tasks(self.finder, self.tasks).tiled(image, side, threshold, file)
        return replace(rest, categories=self.categories, regions=scene.regions)

    def _read(self, scene: Scene, picture: Tensor) -> Scene:
        """The scene with what the readers say of its boxes."""
        regions = scene.regions
        for reader, table in self.readers:
            asked = _with_tasks(reader, self.tasks)
            if not asked.tasks:
                continue
            labels = table[regions.labels]
            known = labels >= 0
            given = Regions(regions.boxes[known], labels[known], None)
            read = read_boxes(asked, picture, given, scene.file).regions
            for task in asked.tasks:
                regions = regions.with_field(task.name, spread(task, read.field(task.name), known))
        return replace(scene, categories=self.categories, regions=regions)


def join(finder: Predictor, others: Sequence[Predictor]) -> JoinedPredictor:
    """Several models as one; raises `UsageError` where one finds no objects, and as `JoinedPredictor`."""
    regional = []
    for model in (finder, *others):
        if not isinstance(model, RegionPredictor):
            what = f"{model.name} has no boxes to share"
            raise UsageError(what, where="--model", cure="join models that find objects")
        regional.append(model)
    return JoinedPredictor(regional[0], regional[1:])


def spread(task: Task, value: Field | None, known: Tensor) -> Field:
    """The field of the M known of N regions -> that of all N (N,) bool, those that are not known empty."""
    assert isinstance(task, RegionTask)
    assert task.unknown is not None
    assert value is not None
    order = torch.cat([known.nonzero(), (~known).nonzero()])[:, 0]
    whole = cat([value, task.unknown(value, int((~known).sum()))])
    return select(whole, order.argsort())


def with_skeletons(categories: Categories, others: Categories) -> Categories:
    """The classes with the keypoints that others of the same name have."""
    told = {category.name: category for category in others}

    def one(category: Category) -> Category:
        other = told.get(category.name, Category(category.name, category.id))
        return replace(
            category,
            keypoints=other.keypoints,
            skeleton=other.skeleton,
            flip_pairs=other.flip_pairs,
            sigmas=other.sigmas,
        )

    return Categories(tuple(one(category) for category in categories))


def _readers(finder: RegionPredictor, others: Sequence[RegionPredictor]) -> list[tuple[RegionPredictor, Tensor]]:
    readers, taken = [], {task.name for task in finder.tasks}
    for other in others:
        adds = [task for task in other.tasks if isinstance(task, RegionTask) and task.name not in taken]
        if not adds:
            what = f"{other.name} adds no task to {', '.join(sorted(taken))}"
            raise UsageError(what, where="--model", cure="leave it out, or name it first")
        if empty := [task.name for task in adds if task.unknown is None]:
            what = f"{other.name} adds {empty[0]}, which every object must have"
            raise UsageError(what, where="--model", cure="name this model first")
        own = [category.name for category in other.categories if category.isthing]
        table = [own.index(c.name) if c.isthing and c.name in own else -1 for c in finder.categories]
        if max(table, default=-1) < 0:
            what = f"{other.name} and {finder.name} have no class in common"
            raise UsageError(what, where="--model", cure="join models of the same classes")
        readers.append((_with_tasks(other, adds), torch.tensor(table)))
        taken |= {task.name for task in adds}
    return readers


def _with_tasks(predictor: RegionPredictor, tasks: Sequence[Task]) -> RegionPredictor:
    """The predictor with those of its tasks that are among others."""
    chosen, names = copy(predictor), {task.name for task in tasks}
    chosen.tasks = [task for task in predictor.tasks if task.name in names]
    return chosen
