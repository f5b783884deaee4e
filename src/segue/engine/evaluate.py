"""Scoring a model on a data set."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tqdm import tqdm

from segue.data.dataset import Dataset
from segue.engine.predictor import Predictor
from segue.errors import DataError
from segue.structures import Scene


def evaluate(predictor: Predictor, dataset: Dataset, progress: bool = True) -> dict[str, float]:
    """Every metric of the model's tasks on a data set, by ``group/name``, with ``images`` and ``seconds``.

    Detections of every score count: metrics that need one operating point choose it themselves.
    """
    check_classes(predictor, dataset)
    metrics = [make(dataset.categories) for task in predictor.tasks for make in task.metrics]
    start = time.perf_counter()
    for predicted, truth in pairs(predictor, dataset, progress):
        for metric in metrics:
            metric.update(predicted, truth)
    numbers = {name: value for metric in metrics for name, value in metric.compute().items()}
    return numbers | {"images": len(dataset), "seconds": round(time.perf_counter() - start, 3)}


def pairs(predictor: Predictor, dataset: Dataset, progress: bool = True) -> Iterator[tuple[Scene, Scene]]:
    """Prediction and truth of one picture after the other."""
    for index in tqdm(range(len(dataset)), desc="evaluate", unit="image", disable=not progress):
        truth = dataset.scene(index)
        yield predictor.scenes([(dataset.image(index), truth.file)], threshold=0.0)[0], truth


def check_classes(predictor: Predictor, dataset: Dataset) -> None:
    """Raise `DataError` unless model and data set have the same classes in the same order."""
    ours, theirs = predictor.categories.names, dataset.categories.names
    if ours != theirs:
        raise DataError(
            f"its classes ({', '.join(theirs[:5])}) are not the model's ({', '.join(ours[:5])})",
            where=dataset.name,
            cure="evaluate on data with the model's classes",
        )
