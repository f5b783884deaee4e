"""Several files about the same pictures as one data set: instances with keypoints, panoptic maps and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segue.data.check import Fault
from segue.data.coco import read_coco
from segue.data.label_maps import PanopticMaps
from segue.data.layout import DESCRIPTIONS, PREFIX
from segue.data.panoptic import PanopticFile, open_panoptic
from segue.data.records import UNLABELLED, Annotation, Dataset, LabelMaps
from segue.data.sentences import SentenceSet, refuse
from segue.data.visual_genome import Box, Description, described, read_descriptions
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


def join_sentences(dataset: Dataset, path: Path) -> Dataset:
    """The instances with ``captions``: the sentences of a region description file about the same picture and box.

    Boxes are the same where their corners are, rounded down to whole pixels. Sentences about other boxes, or about
    pictures that the instances lack, are left out.

    Raises:
        DataError: the file makes no sense, or most of its sentences are left out, not counting those about pictures
            without any object.
    """
    found, faults = _read_matching(dataset, path)
    refuse(faults, path, str(path))
    told = [_by_box(found.get(record.id, ())) for record in dataset.records]
    annotations: list[list[Annotation]] = [
        [{**a, "captions": texts.get(_corners(a), [])} for a in rows]
        for rows, texts in zip(dataset.annotations, told, strict=True)
    ]
    return replace(dataset, annotations=annotations)


def is_beside(path: Path) -> bool:
    """Whether this is a region description file beside the instances of the same pictures."""
    return path.name.startswith(DESCRIPTIONS) and path.is_file() and _instances(path).is_file()


def read_beside(path: Path, images: Path | None = None, need_images: bool = True) -> SentenceSet:
    """The region descriptions of a file as of `is_beside` by themselves, as annotations of the one class "object".

    Raises:
        DataError: the instances, whose pictures these are, have fatal faults, or a file is not JSON.
    """
    instances = read_coco(_instances(path), {}, images, need_images=need_images)
    return described(path, instances.records, *_read_matching(instances, path))


def _instances(path: Path) -> Path:
    return path.with_name(PREFIX + path.name.removeprefix(DESCRIPTIONS))


def _read_matching(dataset: Dataset, path: Path) -> tuple[dict[int, list[Description]], list[Fault]]:
    """The descriptions in a file, and its faults, among them boxes that are not those of an annotation."""
    found, faults = read_descriptions(path)
    known = {r.id: set(map(_corners, rows)) for r, rows in zip(dataset.records, dataset.annotations, strict=True)}
    strange = [(i, d) for i, own in found.items() for d in own if _rounded(d.box) not in known.get(i, ())]
    what = "no annotation has the box of {!r:.80}"
    faults += [Fault("box-unknown", what.format(d.text), f"picture {i}", fatal=False) for i, d in strange]
    bare = {i for i, corners in known.items() if not corners}
    total = sum(len(own) for i, own in found.items() if i not in bare)
    kept = total - sum(i not in bare for i, _ in strange)
    if 2 * kept < total:
        message = f"only {kept} of {total} sentences are about the box of an object in {dataset.name}"
        faults.append(Fault("boxes-unknown", message, "top level"))
    return found, faults


def _by_box(found: Sequence[Description]) -> dict[tuple[int, ...], list[str]]:
    """The sentences about each box."""
    texts: dict[tuple[int, ...], list[str]] = {}
    for description in found:
        texts.setdefault(_rounded(description.box), []).append(description.text)
    return texts


def _corners(annotation: Annotation) -> tuple[int, ...]:
    x, y, w, h = annotation["bbox"]
    return _rounded((x, y, x + w, y + h))


def _rounded(box: Box) -> tuple[int, ...]:
    """The corners rounded down, but for the inexactness of sums."""
    return tuple(math.floor(value + 0.001) for value in box)


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
