"""COCO panoptic annotations (cocodataset.org/#format-data), read as segments or as classes of pixels."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segue.data.check import load_json
from segue.data.class_lists import MAX_CLASSES
from segue.data.coco import categories_from_coco
from segue.data.images import read_stored
from segue.data.label_maps import PanopticMaps
from segue.data.layout import contained, find_images
from segue.data.records import UNLABELLED
from segue.data.results import is_finite
from segue.data.semantic_layouts import Layout, Pair
from segue.errors import DataError
from segue.ops.panoptic import segment_areas
from segue.structures import Categories, Category, Segments
from segue.structures.panoptic import ID_LIMIT

Row = Mapping[str, Any]
WORDS = {int: "a whole number", str: "a text", list: "a list"}


def is_panoptic(path: Path) -> bool:
    """Whether a JSON file speaks of segments; it is not parsed for that, since it may be large."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"segments_info"') >= 0
    except (OSError, ValueError):  # not readable, or empty
        return False


@dataclass(frozen=True)
class PanopticFile:
    """A panoptic JSON file, checked but for the pixels; maps are read on use.

    Attributes:
        path: the JSON file.
        categories: what the labels mean.
        index: the category's place among them, by its id.
        maps: the PNG file of each picture, by the picture's id.
        rows: the ``segments_info`` of each picture, by the picture's id.
    """

    path: Path
    categories: Categories
    index: Mapping[int, int]
    maps: Mapping[int, Path]
    rows: Mapping[int, Sequence[Row]]

    def labels(self, picture: int) -> dict[int, int]:
        """Category index by segment number."""
        return {row["id"]: self.index[row["category_id"]] for row in self.rows[picture]}

    def segments(self, picture: int) -> Segments:
        """The segments of a picture as listed, without their areas; scores where all have one."""
        rows, labels = self.rows[picture], self.labels(picture)
        scored = bool(rows) and all("score" in row for row in rows)
        return Segments(
            ids=torch.tensor(list(labels), dtype=torch.int64),
            labels=torch.tensor(list(labels.values()), dtype=torch.int64),
            scores=torch.tensor([row["score"] for row in rows], dtype=torch.float32) if scored else None,
            crowd=torch.tensor([bool(row.get("iscrowd", 0)) for row in rows], dtype=torch.bool),
        )

    def read(self, picture: int, size: tuple[int, int]) -> tuple[Tensor, Segments]:
        """The map of a picture of ``size`` (height, width), (H, W) int32, and its segments with areas as counted.

        Raises:
            DataError: no such picture, a map of another size, or one that the JSON file contradicts: numbers that only
                one of the two has, or another area.
            ImageError: the map cannot be read.
        """
        if picture not in self.maps:
            raise DataError(f"no annotation of picture {picture}", where=self.path, cure="add it, if without segments")
        file, segments = self.maps[picture], self.segments(picture)
        ids = read_ids(file, size)
        try:
            areas = segment_areas(ids, segments)
        except DataError as error:
            raise DataError(error.what, where=file, cure=f"mend the map or segments_info in {self.path.name}") from None
        _check_areas(areas, self.rows[picture], file, self.path)
        return ids, replace(segments, areas=areas)


def open_panoptic(path: Path, categories: Categories | None = None) -> PanopticFile:
    """A panoptic JSON file, whose PNG files lie in a folder of its name beside it or one level up.

    Args:
        path: the JSON file.
        categories: what the category ids mean; None takes the file's own list, which predictions may lack.

    Raises:
        DataError: the file makes no sense, or the folder is not found.
    """
    return _parse(load_json(path), path, categories)


def read_ids(file: Path, size: tuple[int, int]) -> Tensor:
    """(H, W) int32 segment numbers, R + 256 G + 65536 B, in a PNG file.

    Raises:
        DataError: one channel, or another size than (height, width).
        ImageError: the file cannot be read.
    """
    pixels = read_stored(file)
    if pixels.ndim == 2:
        cure = "save segment numbers as R + 256 G + 65536 B"
        raise DataError("one channel where panoptic RGB is expected", where=file, cure=cure)
    (h, w), (height, width) = pixels.shape[:2], size
    if (h, w) != size:
        what = f"the panoptic map is {w}x{h}, its picture {width}x{height}"
        raise DataError(what, where=file, cure="exchange one of the two")
    padded = np.zeros((h, w, 4), np.uint8)
    padded[:, :, :3] = pixels
    return torch.from_numpy(padded.view("<i4")[:, :, 0].astype(np.int32, copy=False))


def read_panoptic(path: Path, images: Path | None = None, need_images: bool = True) -> Layout:
    """The pictures of a panoptic file with their maps as classes of pixels.

    Args:
        path: the JSON file, as of `open_panoptic`.
        images: folder of the pictures; None guesses as `find_images` does.
        need_images: look for the pictures.

    Raises:
        DataError: the file makes no sense, or the pictures or maps are not found.
    """
    content = load_json(path)
    pictures = _rows(content, "images", {"id": int, "file_name": str}, path)
    annotated, folder = _parse(content, path, None), None
    if len({row["id"] for row in pictures}) < len(pictures):
        raise _twice(path)
    if need_images:
        folder = images or find_images(path, [row["file_name"] for row in pictures])
    pairs: list[Pair] = []
    classes: dict[Path, dict[int, int]] = {}
    for row in sorted(pictures, key=lambda row: int(row["id"])):
        image = _inside(folder, row["file_name"], path) if folder else None
        file = annotated.maps.get(row["id"])
        pairs.append(Pair(row["file_name"], _existing(image), _existing(file), row["id"]))
        if file:
            classes[file] = {0: UNLABELLED, **annotated.labels(row["id"])}
    return Layout({"": pairs}, annotated.categories, PanopticMaps(classes), panoptic=annotated.read)


def _parse(content: object, path: Path, categories: Categories | None) -> PanopticFile:
    """As `open_panoptic`, from the content of the file."""
    entries = _rows(content, "annotations", {"image_id": int, "file_name": str, "segments_info": list}, path)
    if categories is None:
        categories = _categories(_rows(content, "categories", {"id": int, "name": str}, path), path)
    folder, index = _maps_folder(path), {category.id: label for label, category in enumerate(categories)}
    for entry in entries:
        _check_segments(entry, index.keys(), path)
    maps = {entry["image_id"]: _inside(folder, entry["file_name"], path) for entry in entries}
    if len(maps) < len(entries):
        raise _twice(path)
    file, number = Counter(maps.values()).most_common(1)[0]
    if number > 1:
        raise DataError(f"two pictures share {file.name}", where=path, cure="give each its own")
    rows = {entry["image_id"]: entry["segments_info"] for entry in entries}
    return PanopticFile(path, categories, index, maps, rows)


def _twice(path: Path) -> DataError:
    return DataError("a picture is annotated or listed twice", where=path, cure="leave one of the two")


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


def _inside(folder: Path, name: str, path: Path) -> Path:
    """The path of this name in a folder; raises `DataError` for names that lead out."""
    if contained(folder, name) is None:
        raise DataError(f"{name!r:.80} leads out of {folder}", where=path, cure="name files inside the folder")
    return folder / name


def _existing(file: Path | None) -> Path | None:
    return file if file and file.is_file() else None


def _check_segments(entry: Row, known: Set[int], path: Path) -> None:
    """Raise `DataError` for a fault in ``segments_info``, whose category ids are to be ``known``."""
    where = f"{path}, annotation of image {entry['image_id']}"
    seen: set[int] = set()
    for segment in entry["segments_info"]:
        _check_row(segment, {"id": int, "category_id": int}, where)
        fault = _segment_fault(segment, known, seen)
        if fault:
            raise DataError(fault, where=where, cure="mend the file")
        seen.add(segment["id"])


def _segment_fault(segment: Row, known: Set[int], seen: Set[int]) -> str | None:
    number = segment["id"]
    if not 0 < number < ID_LIMIT:
        return f"segment {number} is not in 1 to {ID_LIMIT - 1}"
    if number in seen:
        return f"segment {number} is listed twice"
    if segment["category_id"] not in known:
        return f"there is no category {segment['category_id']}"
    if segment.get("iscrowd", 0) not in (0, 1):
        return f"iscrowd of segment {number} is {segment['iscrowd']!r:.40}, not 0 or 1"
    if not is_finite(segment.get("area", 0)):
        return f"area of segment {number} is {segment['area']!r:.40}, no number"
    if "score" in segment and not (is_finite(segment["score"]) and 0 <= segment["score"] <= 1):
        return f"score of segment {number} is {segment['score']!r:.40}, no number from 0 to 1"
    return None


def _check_areas(areas: Tensor, rows: Sequence[Row], file: Path, path: Path) -> None:
    """Raise `DataError` where an area in the JSON file ``path`` is not that (N,) of the map."""
    for row, area in zip(rows, areas.tolist(), strict=True):
        if row.get("area", area) != area:
            what = f"segment {row['id']} has {area} pixels, its area in {path.name} is {row['area']}"
            raise DataError(what, where=file, cure="mend one of the two")
