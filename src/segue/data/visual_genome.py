"""Region descriptions of Visual Genome (Krishna et al., IJCV 2017), with the filters and splits of DenseCap.

``region_descriptions.json`` lists pictures ``{id, regions: [{x, y, width, height, phrase}, ...]}``. Picture 17 is
``17.jpg`` in ``VG_100K``, ``VG_100K_2`` or ``images``. Its size is in ``image_data.json``; without that, it is read
from the picture. ``densecap_splits.json`` lists the numbers of the pictures in ``train``, ``val`` and ``test``.

Left out are sentences without a word or with more than `LONGEST` (DenseCap, Johnson et al., CVPR 2016, and its
``preprocess.py``), and boxes with less than a pixel's width or height inside the picture; others are cut off at its
edge. Coordinates count from 0. Sentences about the same box become one region with several.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from segue.data.check import EDGE, Fault, load_json
from segue.data.images import MAX_PIXELS, image_size
from segue.data.layout import choose
from segue.data.records import Annotation, Record
from segue.data.results import is_finite
from segue.data.semantic_layouts import listing
from segue.data.sentences import SentenceSet, sentence_fault, sentence_set
from segue.errors import DataError, ImageError

REGIONS, SIZES, SPLITS = "region_descriptions.json", "image_data.json", "densecap_splits.json"
PICTURES = ("", "VG_100K", "VG_100K_2", "images", "images/VG_100K", "images/VG_100K_2")
SIDES = ("x", "y", "width", "height")
LONGEST = 15

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True, slots=True)
class Description:
    """A sentence about a box, which may still reach over the picture's edge."""

    box: Box
    text: str


def is_visual_genome(place: Path) -> bool:
    """Whether this is ``region_descriptions.json``, or the folder that it is in."""
    return (place / REGIONS).is_file() if place.is_dir() else place.name == REGIONS


def read_visual_genome(place: Path, split: str, images: Path | None = None, need_images: bool = True) -> SentenceSet:
    """Region descriptions as annotations of the one class "object".

    Args:
        place: the folder, or ``region_descriptions.json`` in it.
        split: of ``densecap_splits.json``. Where that is missing "" and ``train`` mean all pictures.
        images: folder of the pictures, if not this one.
        need_images: without, pictures whose size is known may be missing.

    Raises:
        DataError: no such split, or a file that is not JSON.
    """
    folder = place if place.is_dir() else place.parent
    chosen = _chosen(folder, split)
    found, faults = read_descriptions(folder / REGIONS)
    sizes, wrong = _read_sizes(folder / SIZES) if (folder / SIZES).is_file() else ({}, [])
    files = {name: file for part in PICTURES for name, file in listing((images or folder) / part).items()}
    numbers = sorted(found if chosen is None else found.keys() & chosen)
    progress = tqdm(numbers, desc="sizes", unit="image", delay=2, disable=None)
    pictures = [_record(number, folder, files.get(str(number)), sizes.get(number), need_images) for number in progress]
    faults += wrong + [picture for picture in pictures if isinstance(picture, Fault)]
    return described(place, [picture for picture in pictures if isinstance(picture, Record)], found, faults)


def described(
    place: Path, records: Sequence[Record], found: Mapping[int, Sequence[Description]], faults: Sequence[Fault]
) -> SentenceSet:
    """The set of those pictures with their descriptions, by the picture's id, cut off at the picture's edges."""
    parts = [clipped(found.get(record.id, ()), record) for record in records]
    outside = [fault for _, own in parts for fault in own]
    return sentence_set(place, "object", records, [rows for rows, _ in parts], [*faults, *outside])


def read_descriptions(path: Path) -> tuple[dict[int, list[Description]], list[Fault]]:
    """The sound descriptions in a file by the picture's id, and what is wrong with the others.

    Raises:
        DataError: not JSON.
    """
    content = load_json(path)
    if not isinstance(content, list):
        return {}, [Fault("structure", "the file holds no list of pictures with regions", "top level")]
    found: dict[int, list[Description]] = {}
    faults: list[Fault] = []
    for i, row in enumerate(content):
        message = _picture_fault(row, found.keys())
        if message:
            faults.append(Fault("key", message, f"pictures[{i}]"))
            continue
        read = [_description(region, f"picture {row['id']}, regions[{j}]") for j, region in enumerate(row["regions"])]
        found[row["id"]] = [region for region in read if isinstance(region, Description)]
        faults += [fault for fault in read if isinstance(fault, Fault)]
    return found, faults


def clipped(found: Sequence[Description], record: Record) -> tuple[list[Annotation], list[Fault]]:
    """Annotations of a picture, one for each different box inside it, and faults for what is cut off or left out."""
    sentences: dict[Box, list[str]] = {}
    for region in found:
        box = _inside(region.box, record.size)
        if _has_area(box):
            sentences.setdefault(box, []).append(region.text)
    faults = [fault for region in found if (fault := _box_fault(region.box, record))]
    rows: list[Annotation]
    rows = [{"bbox": [x0, y0, x1 - x0, y1 - y0], "captions": texts} for (x0, y0, x1, y1), texts in sentences.items()]
    return rows, faults


def _inside(box: Box, size: tuple[int, int]) -> Box:
    (x0, y0, x1, y1), (h, w) = box, size
    return max(0, x0), max(0, y0), min(w, x1), min(h, y1)


def _has_area(box: Box) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= 1


def _box_fault(box: Box, record: Record) -> Fault | None:
    inside, (h, w) = _inside(box, record.size), record.size
    text, where = f"box from {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g}", f"picture {record.id}"
    if not _has_area(inside):
        return Fault("box-empty", f"{text} has no pixel in the {w}x{h} picture; left out", where, fatal=False)
    if any(abs(a - b) > EDGE for a, b in zip(box, inside, strict=True)):
        return Fault("box-over-edge", f"{text} reaches over the edge of the {w}x{h} picture", where, fatal=False)
    return None


def _picture_fault(row: object, known: Collection[int]) -> str | None:
    if not isinstance(row, dict) or type(row.get("id")) is not int or not isinstance(row.get("regions"), list):
        return "no object with a whole number 'id' and a list 'regions'"
    return f"picture {row['id']} comes twice" if row["id"] in known else None


def _description(region: object, where: str) -> Description | Fault:
    if not isinstance(region, dict) or not isinstance(region.get("phrase"), str):
        return Fault("key", "no object with a text 'phrase'", where)
    if not all(is_finite(region.get(side)) for side in SIDES):
        return Fault("key", f"{', '.join(SIDES)} must be finite numbers", where)
    x, y, width, height = (region[side] for side in SIDES)
    fault = sentence_fault(region["phrase"], LONGEST, where)
    return fault or Description((x, y, x + width, y + height), region["phrase"])


def _record(number: int, folder: Path, file: Path | None, size: tuple[int, int] | None, need: bool) -> Record | Fault:
    where = f"picture {number}"
    if file is None and (need or size is None):
        return Fault("image-missing", f"there is no {number}.jpg in {', '.join(filter(None, PICTURES))}", where)
    file = file or folder / f"{number}.jpg"
    try:
        return Record(file, size or image_size(file), number, {})
    except ImageError as error:
        return Fault("image-unreadable", error.what, where)


def _read_sizes(path: Path) -> tuple[dict[int, tuple[int, int]], list[Fault]]:
    """(height, width) of pictures by their number."""
    content: Any = load_json(path)
    if not isinstance(content, list):
        return {}, [Fault("structure", f"{path.name} holds no list of pictures", "top level")]
    sound = [row for row in content if _has_size(row)]
    keys = "'image_id', 'width' and 'height' must be whole numbers, and the size that of a picture"
    faults = [Fault("image-size", keys, f"{path.name}[{i}]") for i, row in enumerate(content) if not _has_size(row)]
    return {row["image_id"]: (row["height"], row["width"]) for row in sound}, faults


def _has_size(row: object) -> bool:
    if not isinstance(row, dict) or not all(type(row.get(key)) is int for key in ("image_id", "width", "height")):
        return False
    return min(row["width"], row["height"]) > 0 and bool(row["width"] * row["height"] <= MAX_PIXELS)


def _chosen(folder: Path, split: str) -> set[int] | None:
    """The pictures of a split; None for all."""
    file = next((path for path in (folder / SPLITS, folder / "info" / SPLITS) if path.is_file()), None)
    if file is None:
        if split not in ("", "train"):
            raise DataError(f"no split {split!r}, since there is no {SPLITS}", where=folder, cure="put it there")
        return None
    content = load_json(file)
    lists = content.values() if isinstance(content, dict) else [content]
    if not isinstance(content, dict) or not all(isinstance(own, list) for own in lists):
        raise DataError("no object with lists of pictures", where=file, cure="take DenseCap's own file")
    numbers = choose(content, split, folder)
    if not all(type(number) is int for number in numbers):
        raise DataError(f"split {split!r} holds more than whole numbers", where=file, cure="take DenseCap's own file")
    return set(numbers)
