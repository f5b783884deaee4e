"""Data sets of different classes, told in the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from segue.data.records import UNLABELLED, Annotation, Dataset, LabelMaps, PanopticReader
from segue.errors import DataError
from segue.structures import Categories, Category, Segments
from segue.structures.categories import distinct_color

MapReader = Callable[[Path, tuple[int, int]], Tensor]
"""As `LabelMaps.read`."""


def union(datasets: Sequence[Dataset]) -> Categories:
    """The classes of all sets by name, things first; what one set calls a thing is one.

    The keypoints of a class are those of the set that has them. Its id and colour are those of the first set that has
    the class, unless another class had them first.

    Raises:
        DataError: a class with other keypoints in two sets.
    """
    found: dict[str, list[tuple[Category, str]]] = {}
    for dataset in datasets:
        for category in dataset.categories:
            found.setdefault(category.name, []).append((category, dataset.name))
    agreed = _distinct([_agreed(versions) for versions in found.values()])
    return Categories(tuple(sorted(agreed, key=lambda category: not category.isthing)))


def known_things(dataset: Dataset, categories: Categories) -> Tensor:
    """(T,) bool: of the T things among ``categories``, those whose objects a set annotates: its own classes.

    A set of label maps without any object annotates none.
    """
    objects = dataset.maps is None or any(dataset.annotations)
    own = {category.name for category in dataset.categories if category.isthing}
    return torch.tensor([objects and c.name in own for c in categories if c.isthing], dtype=torch.bool)


def with_classes(dataset: Dataset, categories: Categories) -> Dataset:
    """The data set with its classes as among ``categories``, which have all of them by name, and maybe more."""
    table = torch.tensor([*map(categories.names.index, dataset.categories.names), UNLABELLED])
    return Dataset(
        dataset.name,
        categories,
        dataset.records,
        _renamed(dataset, categories),
        dataset.parsers,
        dataset.maps and LabelMaps(dataset.maps.files, RelabelledMaps(dataset.maps.read, table)),
        dataset.panoptic and RelabelledSegments(dataset.panoptic, table),
        dataset.labels,
    )


@dataclass(frozen=True)
class RelabelledMaps:
    """Reads label maps in other labels: ``table`` (K + 1,) int64 has that of each own one, then -1."""

    read: MapReader
    table: Tensor

    def __call__(self, file: Path, size: tuple[int, int]) -> Tensor:
        """As `LabelMaps.read`."""
        return self.table.short()[self.read(file, size).long()]  # unlabelled, -1, takes the last entry


@dataclass(frozen=True)
class RelabelledSegments:
    """Reads panoptic maps in other labels, by a ``table`` as of `RelabelledMaps`."""

    read: PanopticReader
    table: Tensor

    def __call__(self, picture: int, size: tuple[int, int]) -> tuple[Tensor, Segments]:
        """As `PanopticReader`."""
        ids, segments = self.read(picture, size)
        return ids, replace(segments, labels=self.table[segments.labels])


def _renamed(dataset: Dataset, categories: Categories) -> list[list[Annotation]]:
    """The annotations with the ids that ``categories`` give their classes, and keypoints as wide as any there.

    Keypoints of a set whose classes do not name them are left out.
    """
    ids = {category.id: categories[categories.index(category.name)].id for category in dataset.categories}
    widest = 3 * max((len(category.keypoints) for category in categories), default=0)
    pointed = any(category.keypoints for category in dataset.categories)

    def renamed(annotation: Annotation) -> Annotation:
        rest = {key: value for key, value in annotation.items() if key != "keypoints"}
        points = annotation["keypoints"] if pointed else []
        wide = {"keypoints": [*points, *[0] * (widest - len(points))]} if pointed else {}
        return {**rest, **wide, "category_id": ids[annotation["category_id"]]}

    return [[renamed(annotation) for annotation in rows] for rows in dataset.annotations]


def _agreed(versions: Sequence[tuple[Category, str]]) -> Category:
    """One class as several sets, by name, know it."""
    first = versions[0][0]
    pointed = [(category, name) for category, name in versions if category.keypoints]
    for category, name in pointed:
        if category.keypoints != pointed[0][0].keypoints:
            what = f"class {category.name!r} has other keypoints than in {pointed[0][1]}"
            raise DataError(what, where=name, cure="give both the same keypoints, or rename one of the classes")
    points = pointed[0][0] if pointed else first
    return replace(
        first,
        isthing=any(category.isthing for category, _ in versions),
        keypoints=points.keypoints,
        skeleton=points.skeleton,
        flip_pairs=points.flip_pairs,
        sigmas=points.sigmas,
    )


def _distinct(categories: Sequence[Category]) -> list[Category]:
    """The classes, with an unused id or colour in place of one that a class before has."""
    ids, colors = {c.id for c in categories}, {c.color for c in categories}
    free_ids = (number for number in count(1) if number not in ids)
    free_colors = (color for color in map(distinct_color, count()) if color not in colors)
    made: list[Category] = []
    for category in categories:
        taken_id = category.id in {c.id for c in made}
        taken_color = category.color in {c.color for c in made}
        made.append(
            replace(
                category,
                id=next(free_ids) if taken_id else category.id,
                color=next(free_colors) if taken_color else category.color,
            )
        )
    return made
