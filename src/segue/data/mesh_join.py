"""Meshes from a list as of Pix3D, joined to the instances about the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.data.check import Fault, Report, load_json
from segue.data.coco import read_coco
from segue.data.layout import MESHES, PREFIX
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
    meshes: dict[int, Placed] = {}
    for i, entry in _placed(dataset, path):
        if isinstance(entry, DataError):
            raise DataError(entry.what, where=f"{path}, entry {i}", cure=entry.cure) from entry
        meshes |= entry
    if any(dataset.annotations) and not meshes:
        raise DataError(f"no entry is about an annotation of {dataset.name}", where=path, cure="give both the same ids")
    return replace(dataset, annotations=[[_with_mesh(a, meshes) for a in rows] for rows in dataset.annotations])


def is_mesh_list(path: Path) -> bool:
    """Whether this is a list of meshes beside the instances of the same pictures."""
    return path.name.startswith(MESHES) and path.is_file() and _instances(path).is_file()


def check_mesh_list(path: Path, images: Path | None = None) -> Report:
    """Every fault of a file as of `is_mesh_list`. The mesh files that it names must be there; they are not read.

    Raises:
        DataError: the instances have fatal faults, or a file is not JSON.
    """
    entries = _placed(read_coco(_instances(path), {}, images), path)
    return Report(path, [Fault("mesh", e.what, f"entry {i}") for i, e in entries if isinstance(e, DataError)])


def _instances(path: Path) -> Path:
    return path.with_name(PREFIX + path.name.removeprefix(MESHES))


def _placed(dataset: Dataset, path: Path) -> Iterator[tuple[int, dict[int, Placed] | DataError]]:
    """Each entry's number with its mesh by the annotation's id, empty for a foreign one; or what is wrong with it."""
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    content = load_json(path)
    if not isinstance(content, list):
        raise DataError("not a list of entries", where=path, cure="write entries as in pix3d.json")
    pairs = zip(dataset.records, dataset.annotations, strict=True)
    sizes = {annotation["id"]: record.size for record, rows in pairs for annotation in rows}
    taken: set[int] = set()
    for i, entry in enumerate(content):
        try:
            number = _number(entry, taken)
            yield i, ({number: place(entry, sizes[number], folder)} if number in sizes else {})
        except DataError as error:
            yield i, error


def _number(entry: Any, taken: set[int]) -> int:
    number = entry.get("annotation_id") if isinstance(entry, dict) else None
    if type(number) is not int:
        raise DataError("no whole number 'annotation_id'", cure="give the id of the annotation")
    if number in taken:
        raise DataError(f"annotation {number} comes twice", cure="leave one away")
    taken.add(number)
    return number


def _with_mesh(annotation: Annotation, meshes: Mapping[int, Placed]) -> Annotation:
    placed = meshes.get(annotation["id"])
    return annotation if placed is None else {**annotation, "mesh": placed}
