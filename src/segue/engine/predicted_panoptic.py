"""Saved panoptic maps: COCO's panoptic results, or the PNG files of `segue predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.data.panoptic import PanopticFile, open_panoptic
from segue.data.records import Dataset, PanopticReader
from segue.data.results import is_finite
from segue.engine.output import label_indices
from segue.engine.predicted_maps import map_beside
from segue.errors import DataError
from segue.structures import Categories, Segments
from segue.structures.panoptic import ID_LIMIT


def panoptic_maps(path: Path, dataset: Dataset) -> dict[int, PanopticReader]:
    """Readers of the maps of a COCO panoptic file, by index of their picture in a data set, whose ids it uses.

    Args:
        path: the JSON file. Of its keys only ``annotations`` is needed, and no ``area`` in it.
        dataset: the truth.

    Raises:
        DataError: the file makes no sense, has a picture or class that is not the data set's, or that has no maps.
    """
    if dataset.panoptic is None:
        cure = "name a set with panoptic_SPLIT.json beside instances_SPLIT.json"
        raise DataError(f"{dataset.name} has no panoptic maps to compare with", where=path, cure=cure)
    file = open_panoptic(path, dataset.categories)
    pictures = {record.id: index for index, record in enumerate(dataset.records)}
    foreign = next((number for number in file.maps if number not in pictures), None)
    if foreign is not None:
        cure = "use its numbers, or score on the panoptic file itself"
        raise DataError(f"image_id {foreign} is not in {dataset.name}", where=path, cure=cure)
    return {pictures[number]: file.read for number in file.maps}


def panoptic_beside(scenes: Path, entry: Mapping[str, Any], dataset: Dataset, index: int) -> PanopticReader | None:
    """As `panoptic_named`, for the picture with this index of a data set; None where the data set has no such maps."""
    if dataset.panoptic is None:
        return None
    return panoptic_named(scenes, entry, dataset.categories, dataset.records[index].id)


def panoptic_named(
    scenes: Path, entry: Mapping[str, Any], categories: Categories, picture: int
) -> PanopticReader | None:
    """The reader of the map that an entry of a scenes.json names; None where it names none.

    Args:
        scenes: the scenes.json.
        entry: checked but for its ``panoptic``.
        categories: what the labels are to be.
        picture: the id by which the reader will be asked for the entry's picture.

    Raises:
        DataError: ``panoptic`` is not as promised, or has an unknown label or a file outside the folder.
    """
    told = entry.get("panoptic")
    if told is None:
        return None
    where = f"{scenes}, {entry['file']}"
    rows = _checked(told, where)
    file = map_beside(scenes, told.get("file") or "", "panoptic")
    assert file is not None  # only without a name
    labels = label_indices(rows, categories, where)
    known = [{**row, "category_id": categories[label].id} for row, label in zip(rows, labels, strict=True)]
    ids = {category.id: label for label, category in enumerate(categories)}
    return PanopticFile(scenes, categories, ids, {picture: file}, {picture: known}).read


def no_segments(size: tuple[int, int]) -> tuple[Tensor, Segments]:
    """The map (H, W) int32 of a picture of this size where nothing was found."""
    none = torch.zeros(0, dtype=torch.int64)
    return torch.zeros(size, dtype=torch.int32), Segments(none, none, scores=torch.zeros(0))


def _checked(told: object, where: str) -> list[dict[str, Any]]:
    """The ``segments_info``, checked but for unknown labels and areas; raises `DataError`."""
    rows = told.get("segments_info") if isinstance(told, dict) else None
    for fault in _faults(rows):
        raise DataError(f"panoptic: {fault}", where=where, cure="write it again with `segue predict`")
    assert isinstance(rows, list)
    return rows


def _faults(rows: object) -> Iterator[str]:
    if not isinstance(rows, list):
        yield "segments_info is no list"
        return
    yield from filter(None, map(_row_fault, rows))
    if len({row["id"] for row in rows}) < len(rows):
        yield "a segment is listed twice"


def _row_fault(row: object) -> str | None:
    if not isinstance(row, dict):
        return f"segment {row!r:.40} is not an object with keys"
    number = row.get("id")
    if type(number) is not int or not 0 < number < ID_LIMIT:
        return f"segment {number!r:.40} is no whole number from 1 to {ID_LIMIT - 1}"
    if not isinstance(row.get("label"), str):
        return f"label {row.get('label')!r:.40} of segment {number} is no text"
    if "score" in row and not (is_finite(row["score"]) and 0 <= row["score"] <= 1):
        return f"score {row['score']!r:.40} of segment {number} is no number from 0 to 1"
    return None
