"""COCO panoptic annotations (cocodataset.org/#format-data), read as classes of pixels."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.data.check import load_json
from segue.data.class_lists import MAX_CLASSES
from segue.data.coco import categories_from_coco
from segue.data.label_maps import PanopticMaps
from segue.data.layout import contained, find_images
from segue.data.records import UNLABELLED
from segue.data.semantic_layouts import Layout, Pair
from segue.errors import DataError
from segue.structures import Categories, Category

Row = Mapping[str, Any]
WORDS = {int: "a whole number", str: "a text", list: "a list"}


def is_panoptic(path: Path) -> bool:
    """Whether a JSON file speaks of segments; it is not parsed for that, since it may be large."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"segments_info"') >= 0
    except (OSError, ValueError):  # not readable, or empty
        return False


def read_panoptic(path: Path, images: Path | None = None, need_images: bool = True) -> Layout:
    """The pictures of a panoptic file with their maps, which lie in a folder of its name beside it or one level up.

    Args:
        path: the JSON file.
        images: folder of the pictures; None guesses as `find_images` does.
        need_images: look for the pictures.

    Raises:
        DataError: the file makes no sense, or the pictures or maps are not found.
    """
    content = load_json(path)
    pictures = _rows(content, "images", {"id": int, "file_name": str}, path)
    entries = _rows(content, "annotations", {"image_id": int, "file_name": str, "segments_info": list}, path)
    categories = _categories(_rows(content, "categories", {"id": int, "name": str}, path), path)
    by_picture = {entry["image_id"]: entry for entry in entries}
    if len(by_picture) < len(entries) or len({row["id"] for row in pictures}) < len(pictures):
        raise DataError("a picture is annotated or listed twice", where=path, cure="leave one of the two")
    folder, maps = None, _maps_folder(path)
    if need_images:
        folder = images or find_images(path, [row["file_name"] for row in pictures])
    labels = {category.id: i for i, category in enumerate(categories)}
    pairs: list[Pair] = []
    segments: dict[Path, dict[int, int]] = {}
    for row in sorted(pictures, key=lambda row: int(row["id"])):
        entry = by_picture.get(row["id"])
        file = _file(maps, entry["file_name"], path) if entry else None
        image = _file(folder, row["file_name"], path) if folder else None
        pairs.append(Pair(row["file_name"], image, file, row["id"]))
        if entry and file:
            if file in segments:
                raise DataError(f"two pictures share {file.name}", where=path, cure="give each its own")
            segments[file] = {0: UNLABELLED, **_segments(entry, labels, path)}
    return Layout({"": pairs}, categories, PanopticMaps(segments))


def _rows(content: object, room: str, keys: Mapping[str, type], path: Path) -> list[Row]:
    rows = content.get(room) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{room!r} is missing, empty or no list", where=path, cure="give a COCO panoptic file")
    for i, row in enumerate(rows):
        _check_row(row, keys, f"{path}, {room}[{i}]")
    return rows


def _check_row(row: object, keys: Mapping[str, type], where: str) -> None:
    for key, kind in keys.items():
        value = row.get(key) if isinstance(row, dict) else None
        if type(value) is not kind:
            raise DataError(f"{key!r} must be {WORDS[kind]}, not {value!r:.40}", where=where, cure="mend the file")


def _categories(rows: Sequence[Row], path: Path) -> Categories:
    if len(rows) > MAX_CLASSES:
        raise DataError(f"{len(rows)} categories", where=path, cure=f"there may be {MAX_CLASSES}")
    try:
        categories = categories_from_coco(rows)
    except DataError as error:
        raise DataError(error.what, where=path, cure=error.cure) from error
    colors = {row["id"]: row.get("color") for row in rows}
    return Categories(tuple(_colored(category, colors[category.id]) for category in categories))


def _colored(category: Category, color: object) -> Category:
    """The category with the file's colour for it, where that is one."""
    if isinstance(color, list) and len(color) == 3 and all(type(v) is int and 0 <= v < 256 for v in color):
        return replace(category, color=(color[0], color[1], color[2]))
    return category


def _maps_folder(path: Path) -> Path:
    places = [path.with_suffix(""), path.parent.parent / path.stem]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        cure = f"looked for {' and '.join(map(str, places))}"
        raise DataError("the folder of its PNG files is not found", where=path, cure=cure)
    return folder


def _file(folder: Path, name: str, path: Path) -> Path | None:
    """The file of this name in a folder, None where there is none; raises `DataError` for names that lead out."""
    if contained(folder, name) is None:
        raise DataError(f"{name!r:.80} leads out of {folder}", where=path, cure="name files inside the folder")
    return folder / name if (folder / name).is_file() else None


def _segments(entry: Row, labels: Mapping[int, int], path: Path) -> dict[int, int]:
    """Category index by segment number."""
    found = {}
    where = f"{path}, annotation of image {entry['image_id']}"
    for segment in entry["segments_info"]:
        _check_row(segment, {"id": int, "category_id": int}, where)
        if not 0 < segment["id"] < 2**24:
            raise DataError(f"segment {segment['id']} is not in 1 to {2**24 - 1}", where=where, cure="mend the file")
        if segment["category_id"] not in labels:
            raise DataError(f"there is no category {segment['category_id']}", where=where, cure="mend the file")
        found[segment["id"]] = labels[segment["category_id"]]
    return found
