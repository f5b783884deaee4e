"""Scoring a model on a data set."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image
from tqdm import tqdm

from segue.data.dataset import Dataset
from segue.data.union import with_classes
from segue.engine.predictor import Predictor
from segue.errors import DataError, UsageError
from segue.structures import Categories, Scene
from segue.tasks import Metric, PixelTask, Task


@dataclass(frozen=True)
class Scores:
    """What an evaluation gives.

    Attributes:
        numbers: by ``group/name``, with ``images`` and ``seconds``.
        pictures: of the metrics that have one, by the ending of a file's name, such as ``confusion.png``.
    """

    numbers: dict[str, float]
    pictures: dict[str, Image.Image]


def evaluate(predictor: Predictor, dataset: Dataset, progress: bool = True, by: str | None = None) -> Scores:
    """Every metric of the tasks that model and data set share, by ``group/name``, with ``images`` and ``seconds``.

    Detections of every score count: metrics that need one operating point have it themselves.

    Args:
        predictor: the model.
        dataset: with the model's classes, or objects of some of them: of people alone, for one.
        progress: show a bar.
        by: a key of the annotation file's image entries, such as ``kind``; the numbers of each of its values follow as
            ``value:group/name``.

    Raises:
        DataError: the data set has other classes, or nothing that the model predicts.
        UsageError: a picture's entry has no such key.
    """
    start = time.perf_counter()
    dataset = in_classes_of(predictor, dataset)
    tasks = scored_tasks(predictor, dataset)
    everything = metrics_of(tasks, dataset.categories)
    parts: dict[str, list[Metric]] = {}
    for index, (predicted, truth) in enumerate(pairs(predictor, dataset, progress)):
        groups = [everything]
        if by is not None:
            name = part_of(dataset, index, by)
            groups.append(parts.setdefault(name, metrics_of(tasks, dataset.categories)))
        for metric in (metric for group in groups for metric in group):
            metric.update(predicted, truth)
    numbers = compute(everything) | {"images": len(dataset), "seconds": round(time.perf_counter() - start, 3)}
    numbers |= {f"{part}:{n}": value for part in sorted(parts) for n, value in compute(parts[part]).items()}
    return Scores(numbers, pictures_of(tasks, everything))


def pictures_of(tasks: Sequence[Task], metrics: Sequence[Metric]) -> dict[str, Image.Image]:
    """The pictures of metrics that a task knows to draw."""
    drawers = [task.report for task in tasks if isinstance(task, PixelTask)]
    return {name: image for report in drawers for metric in metrics for name, image in report(metric).items()}


def metrics_of(tasks: Sequence[Task], categories: Categories) -> list[Metric]:
    """Fresh metrics of some tasks."""
    return [make(categories) for task in tasks for make in task.metrics]


def compute(metrics: list[Metric]) -> dict[str, float]:
    """The numbers of several metrics together."""
    return {name: value for metric in metrics for name, value in metric.compute().items()}


def part_of(dataset: Dataset, index: int, key: str) -> str:
    """What a picture's entry says under a key; raises `UsageError` where it says nothing."""
    record = dataset.records[index]
    if key not in record.info:
        keys = ", ".join(record.info) or "none"
        raise UsageError(f"its image entry has no {key!r}", where=record.file, cure=f"--by can be one of: {keys}")
    return str(record.info[key])


def pairs(predictor: Predictor, dataset: Dataset, progress: bool = True) -> Iterator[tuple[Scene, Scene]]:
    """Prediction and truth of one picture after the other."""
    for index in tqdm(range(len(dataset)), desc="evaluate", unit="image", disable=not progress):
        truth = dataset.scene(index)
        predicted = predictor.scenes([(dataset.image(index), truth.file)], threshold=0.0)[0]
        yield predicted, truth


def scored_tasks(predictor: Predictor, dataset: Dataset) -> list[Task]:
    """The model's tasks that the data set has truth for; raises `DataError` as `evaluate`."""
    check_classes(predictor, dataset)
    tasks = [task for task in predictor.tasks if task.annotated(dataset)]
    if not tasks:
        names = ", ".join(task.name for task in predictor.tasks)
        raise DataError(f"no annotation of {names}", where=dataset.name, cure="name a split that has some")
    return tasks


def in_classes_of(predictor: Predictor, dataset: Dataset) -> Dataset:
    """A set of objects of some of the model's classes, told in all of them; any other set as it is."""
    ours, theirs = predictor.categories, dataset.categories
    some = dataset.maps is None and ours.names != theirs.names and set(theirs.names) <= set(ours.names)
    return with_classes(dataset, ours) if some else dataset


def check_classes(predictor: Predictor, dataset: Dataset) -> None:
    """Raise `DataError` unless model and data set have the same classes in the same order."""
    ours, theirs = predictor.categories.names, dataset.categories.names
    for number, (own, other) in enumerate(zip_longest(ours, theirs), start=1):
        if own != other:
            what = f"its class {number} is {other or 'missing'}, the model's {own or 'missing'}"
            raise DataError(what, where=dataset.name, cure="evaluate on data with the model's classes")
