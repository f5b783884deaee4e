"""Meshes from a list as of Pix3D, joined to the instances about the same pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.data.check import load_json
from segue.data.pix3d import Placed, place
from segue.data.records import Annotation, Dataset
from segue.errors import DataError


def join_meshes(dataset: Dataset, path: Path) -> Dataset:
    """The instances with the ``mesh`` (`segue.data.pix3d.Placed`) of each entry of a list that names them.

    An entry is one of ``pix3d.json`` (`segue.data.pix3d.place`) whose ``annotation_id`` is the id of an annotation.
    Entries about annotations that the instances lack are left out. Paths start at the data set's folder, which is the
    one above ``annotations``.

    Raises:
        DataError: the file is no such list, an entry makes no sense, or none is about an annotation.
    """
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    content = load_json(path)
    if not isinstance(content, list):
        raise DataError("not a list of entries", where=path, cure="write entries as in pix3d.json")
    pairs = zip(dataset.records, dataset.annotations, strict=True)
    sizes = {annotation["id"]: record.size for record, rows in pairs for annotation in rows}
    meshes: dict[int, Placed] = {}
    for i, entry in enumerate(content):
        try:
            number = _number(entry, meshes)
            if number in sizes:
                meshes[number] = place(entry, sizes[number], folder)
        except DataError as error:
            raise DataError(error.what, where=f"{path}, entry {i}", cure=error.cure) from error
    if sizes and not meshes:
        raise DataError(f"no entry is about an annotation of {dataset.name}", where=path, cure="give both the same ids")
    return replace(dataset, annotations=[[_with_mesh(a, meshes) for a in rows] for rows in dataset.annotations])


def _number(entry: Any, taken: Mapping[int, Placed]) -> int:
    number = entry.get("annotation_id") if isinstance(entry, dict) else None
    if type(number) is not int:
        raise DataError("no whole number 'annotation_id'", cure="give the id of the annotation")
    if number in taken:
        raise DataError(f"annotation {number} comes twice", cure="leave one away")
    return number


def _with_mesh(annotation: Annotation, meshes: Mapping[int, Placed]) -> Annotation:
    placed = meshes.get(annotation["id"])
    return annotation if placed is None else {**annotation, "mesh": placed}
