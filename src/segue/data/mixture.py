"""Several data sets to learn from at once: all their pictures, and the share of them that each set gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.data.dataset import open_dataset
from segue.data.records import Dataset, LabelMaps, Parser
from segue.data.union import MapReader, known_things, union, with_classes
from segue.errors import DataError
from segue.structures import Categories


@dataclass(frozen=True)
class Source:
    """One of several data sets to learn from.

    Attributes:
        train: the data set: a name below SEGUE_DATA with its split, a COCO JSON file, or a folder.
        weight: its share of the pictures that are seen, in proportion to the weights of the others.
        images: folder of the pictures, where it does not follow from the annotation file.
    """

    train: str
    weight: float = 1.0
    images: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError("weight must be above 0")


@dataclass(frozen=True)
class Mixture:
    """One or several data sets as one.

    Attributes:
        dataset: the pictures of all sets, set after set.
        sizes: how many pictures each set has.
        places: how many pictures of an epoch come from each set.
        known: (pictures, T) bool: of the T things among the classes, those whose objects the picture's set annotates.
    """

    dataset: Dataset
    sizes: tuple[int, ...]
    places: tuple[int, ...]
    known: Tensor

    def epoch(self, number: int) -> NDArray[np.int64]:
        """(sum of places,) the pictures of an epoch, set after set; each set goes on where the epoch before stopped."""
        starts = np.cumsum((0, *self.sizes))[:-1]
        rows = zip(starts, self.sizes, self.places, strict=True)
        return np.concatenate([start + np.arange(number * n, (number + 1) * n) % size for start, size, n in rows])

    def as_trained(self, dataset: Dataset) -> Dataset:
        """A data set to score on in the classes of several sets, where they have all of its own; else as it is."""
        known = set(dataset.categories.names) <= set(self.dataset.categories.names)
        return with_classes(dataset, self.dataset.categories) if known and len(self.sizes) > 1 else dataset


def open_mixture(
    sources: Sequence[Source], parsers: Mapping[str, Parser], panoptic: bool = False, labels: bool = False
) -> Mixture:
    """The data sets of ``sources``, opened by `open_dataset`; raises as that and `mix`."""
    datasets = [open_dataset(s.train, parsers, s.images, panoptic=panoptic, labels=labels) for s in sources]
    return mix(datasets, [source.weight for source in sources])


def mix(datasets: Sequence[Dataset], weights: Sequence[float]) -> Mixture:
    """Data sets as one, whose pictures come in proportion to ``weights``; one alone stays as it is.

    An epoch has as many pictures as all sets together, but at least one of each.

    Raises:
        DataError: a set without pictures; a class with other keypoints in two sets; a label map in two sets.
    """
    for dataset in datasets:
        if len(dataset) == 0:
            raise DataError("no pictures to train on", where=dataset.name, cure="name a split that has some")
    categories = datasets[0].categories if len(datasets) == 1 else union(datasets)
    sizes, total = tuple(map(len, datasets)), sum(weights)
    places = tuple(max(1, round(sum(sizes) * (weight / total))) for weight in weights)
    known = [known_things(dataset, categories).expand(len(dataset), -1) for dataset in datasets]
    return Mixture(_joined(datasets, categories), sizes, places, torch.cat(known))


@dataclass(frozen=True)
class ManyReaders:
    """Reads each label map in the way of its own set."""

    readers: Mapping[Path, MapReader]

    def __call__(self, file: Path, size: tuple[int, int]) -> Tensor:
        """As `LabelMaps.read`."""
        return self.readers[file](file, size)


def _joined(datasets: Sequence[Dataset], categories: Categories) -> Dataset:
    """Several data sets as one; without panoptic maps, whose pictures are named by ids that two sets may share."""
    if len(datasets) == 1:
        return datasets[0]
    parts = [with_classes(dataset, categories) for dataset in datasets]
    return Dataset(
        " + ".join(part.name for part in parts),
        categories,
        [record for part in parts for record in part.records],
        [rows for part in parts for rows in part.annotations],
        parts[0].parsers,
        _joined_maps(parts),
        labels=[part.label(i) for part in parts for i in range(len(part))],
    )


def _joined_maps(parts: Sequence[Dataset]) -> LabelMaps | None:
    files: list[Path | None] = []
    readers: dict[Path, MapReader] = {}
    for part in parts:
        own = part.maps.files if part.maps else [None] * len(part)
        twice = sorted(readers.keys() & {file for file in own if file})
        if twice:
            raise DataError(f"label map {twice[0]} is in another set, too", where=part.name, cure="name each set once")
        files += own
        readers |= {file: part.maps.read for file in own if file and part.maps}
    return LabelMaps(files, ManyReaders(readers)) if any(part.maps for part in parts) else None
