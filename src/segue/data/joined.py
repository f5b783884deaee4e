"""Several files about the same pictures as one data set: COCO's instances with its keypoints and panoptic maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segue.data.label_maps import PanopticMaps
from segue.data.layout import PREFIX
from segue.data.panoptic import PanopticFile, open_panoptic
from segue.data.records import UNLABELLED, Annotation, Dataset, LabelMaps
from segue.errors import DataError
from segue.structures import Categories, Category


def beside(path: Path, kind: str) -> Path | None:
    """The file of another kind about the same split, as ``panoptic_val.json`` beside ``instances_val.json``."""
    if not path.name.startswith(PREFIX):
        return None
    file = path.with_name(f"{kind}_{path.name.removeprefix(PREFIX)}")
    return file if file.is_file() else None


def join_keypoints(dataset: Dataset, people: Dataset) -> Dataset:
    """The instances, those with an annotation of the same id in ``people`` with its keypoints.

    COCO gives a person the same id in both of its files. Pictures that only ``people`` has are left out.

    Raises:
        DataError: ``people`` has a category that the instances lack.
    """
    known = {category.name: category for category in people.categories}
    _refuse_foreign(known, dataset.categories, people.name)
    categories = Categories(tuple(_with_points(c, known.get(c.name)) for c in dataset.categories))
    points = {a["id"]: a["keypoints"] for rows in people.annotations for a in rows if "keypoints" in a}
    widest = max((len(values) for values in points.values()), default=0)
    annotations: list[list[Annotation]] = [
        [{**a, "keypoints": points.get(a["id"], [0] * widest)} for a in rows] for rows in dataset.annotations
    ]
    return replace(dataset, categories=categories, annotations=annotations)


def join_panoptic(dataset: Dataset, path: Path) -> Dataset:
    """The instances with a panoptic file's classes and maps; things come first, so that their labels count from 0.

    Raises:
        DataError: the file makes no sense, or the instances have a category that it lacks.
    """
    file = open_panoptic(path)
    own = {category.name: category for category in dataset.categories}
    _refuse_foreign(own, file.categories, dataset.name)
    ordered = sorted(file.categories, key=lambda category: not category.isthing)
    categories = Categories(tuple(_with_points(category, own.get(category.name)) for category in ordered))
    file = replace(file, categories=categories, index={c.id: label for label, c in enumerate(categories)})
    return replace(
        dataset,
        categories=categories,
        maps=LabelMaps([file.maps.get(record.id) for record in dataset.records], class_maps(file)),
        panoptic=file.read,
    )


def class_maps(file: PanopticFile) -> PanopticMaps:
    """Reads the maps of a panoptic file as classes of pixels."""
    return PanopticMaps({path: {0: UNLABELLED, **file.labels(picture)} for picture, path in file.maps.items()})


def _with_points(category: Category, other: Category | None) -> Category:
    """The category with the keypoints that another file gives it."""
    if other is None or not other.keypoints:
        return category
    points = (other.keypoints, other.skeleton, other.flip_pairs, other.sigmas)
    return replace(
        category, keypoints=points[0], skeleton=points[1], flip_pairs=points[2], sigmas=points[3], isthing=True
    )


def _refuse_foreign(names: Mapping[str, Category], categories: Categories, where: str) -> None:
    ids = {category.name: category.id for category in categories}
    for name, category in names.items():
        if ids.get(name) != category.id:
            what = f"category {name!r} with id {category.id} is not in the other file about these pictures"
            raise DataError(what, where=where, cure="give both files the same categories")
