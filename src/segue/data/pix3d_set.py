"""Pix3D's own files as a data set, with masks and meshes that are read on use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segue.data.check import Fault, Row, content_faults, file_faults, load_json
from segue.data.coco import categories_from_coco
from segue.data.deferred import Deferred
from segue.data.images import read_stored
from segue.data.layout import PREFIX, choose
from segue.data.pix3d import existing, place
from segue.data.records import Annotation, Dataset, Parser, Record
from segue.data.results import is_finite
from segue.data.rle import encode_masks
from segue.errors import DataError
from segue.structures import Categories, Masks

LIST, START = "pix3d.json", "pix3d_"
MISMATCHED = ("img/table/1749.jpg", "img/table/0045.png")
"""Pictures whose masks are those of others; Mesh R-CNN leaves them out, too."""


def is_pix3d(place: Path) -> bool:
    """Whether this is ``pix3d.json``, a split such as ``pix3d_s1_train.json``, or the folder that they are in.

    Files that are called so beside ``instances_*.json`` are joined to those instead (`segue.data.mesh_join`).
    """
    folder = place if place.is_dir() else place.parent
    if place.is_file() and place.name != LIST and not (place.name.startswith(START) and place.suffix == ".json"):
        return False
    return bool(_files(folder)) and not any(folder.glob(f"{PREFIX}*.json"))


def read_pix3d(
    place: Path,
    split: str,
    name: str,
    parsers: Mapping[str, Parser],
    images: Path | None = None,
    need_images: bool = True,
) -> tuple[Dataset, list[Fault]]:
    """Its objects, and all that is wrong with them; where a fault is fatal, the data set lacks what is wrong.

    Args:
        place: one of the files, or the folder.
        split: as ``s1_train``; "" and, where there is no such file, ``train`` mean all of ``pix3d.json``.
        name: what to call the data set.
        parsers: by field of `Regions`.
        images: folder where the paths of pictures start, if not this one.
        need_images: without, the pictures may be missing.

    Raises:
        DataError: no such split, or no JSON.
    """
    file = place if place.is_file() else _chosen(place, split)
    content, faults = _content(load_json(file))
    faults += content_faults(content)
    if any(fault.fatal for fault in faults):
        return Dataset(name, Categories(()), [], [], parsers), faults
    rows: list[dict[str, Any]] = sorted(content["images"], key=lambda row: int(row["id"]))
    faults += file_faults(rows, images or file.parent) if need_images else []
    records = [_record(row, images or file.parent) for row in rows]
    sizes = {record.id: record.size for record in records}
    by_picture: dict[int, list[Annotation]] = {record.id: [] for record in records}
    for row in content["annotations"]:
        try:
            by_picture[row["image_id"]].append(_annotation(row, sizes[row["image_id"]], file.parent))
        except DataError as error:
            faults.append(Fault("mesh", f"{error.what}; {error.cure}", f"annotation {row['id']}"))
    categories = categories_from_coco(content["categories"])
    return Dataset(name, categories, records, list(by_picture.values()), parsers), faults


def _files(folder: Path) -> dict[str, Path]:
    """By split."""
    found = {file.stem.removeprefix(START): file for file in sorted(folder.glob(f"{START}*.json"))}
    return {"": folder / LIST, **found} if (folder / LIST).is_file() else found


def _chosen(folder: Path, split: str) -> Path:
    files = _files(folder)
    return choose(files, "" if split == "train" and "train" not in files and "" in files else split, folder)


def _content(content: Any) -> tuple[Any, list[Fault]]:
    """The content in COCO's form, without the mismatched pictures; masks go to ``mask``."""
    content, faults = _as_coco(content) if isinstance(content, list) else (content, [])
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        return content, faults
    wrong = [row["id"] for row in content["images"] if isinstance(row, dict) and row.get("file_name") in MISMATCHED]
    kept = {room: [r for r in content[room] if not _has(r, key, wrong)] for room, key in ROOMS}
    kept["annotations"] = [_with_mask(row) for row in kept["annotations"]]
    return {**content, **kept}, faults


ROOMS = (("images", "id"), ("annotations", "image_id"))


def _has(row: object, key: str, values: list[object]) -> bool:
    return isinstance(row, dict) and row.get(key) in values


def _with_mask(row: Any) -> Any:
    """A row of Mesh R-CNN's, whose ``segmentation`` is the path of a picture."""
    if not isinstance(row, dict) or not isinstance(row.get("segmentation"), str):
        return row
    return {**{k: v for k, v in row.items() if k != "segmentation"}, "mask": row["segmentation"]}


def _as_coco(entries: list[Any]) -> tuple[dict[str, list[Row]], list[Fault]]:
    """The entries of ``pix3d.json`` in COCO's form, classes in the order of the alphabet, ids from 1."""
    told = [(i, _entry_fault(entry)) for i, entry in enumerate(entries)]
    faults = [Fault("key", message, f"entry {i}") for i, message in told if message]
    sound = [entries[i] for i, message in told if not message]
    names = sorted({entry["category"] for entry in sound})
    pictures = {entry["img"]: entry["img_size"] for entry in sound}
    numbers = {name: number for number, name in enumerate(pictures, start=1)}
    return {
        "images": [
            {"id": numbers[name], "file_name": name, "width": w, "height": h} for name, (w, h) in pictures.items()
        ],
        "annotations": [
            {
                **entry,
                "id": number,
                "image_id": numbers[entry["img"]],
                "category_id": names.index(entry["category"]) + 1,
                "bbox": _sides(entry["bbox"]),
            }
            for number, entry in enumerate(sound, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
    }, faults


def _sides(corners: list[float]) -> list[float]:
    x0, y0, x1, y1 = corners
    return [x0, y0, x1 - x0, y1 - y0]


def _entry_fault(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return "no object with keys"
    missing = [key for key in ("img", "category", "mask") if not isinstance(entry.get(key), str)]
    if missing:
        return f"no {missing[0]!r}, a text"
    size, box = entry.get("img_size"), entry.get("bbox")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        return "'img_size' is no width and height"
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)):
        return "'bbox' is no x and y of two corners"
    return None


def _record(row: Row, folder: Path) -> Record:
    return Record(folder / row["file_name"], (row["height"], row["width"]), row["id"], {})


def _annotation(row: Row, size: tuple[int, int], folder: Path) -> Annotation:
    known = {**row, "mesh": place(row, size, folder)}
    if not row.get("mask"):
        return known
    return Deferred(known, {"segmentation": partial(_read_mask, Path(existing(row["mask"], "mask", folder)), size)})


def _read_mask(file: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths of a mask: what is brighter than half of its brightest pixel."""
    pixels = read_stored(file)
    gray = pixels.max(axis=2) if pixels.ndim == 3 else pixels
    if gray.shape != size:
        h, w = gray.shape
        what = f"the mask is {w}x{h}, its picture {size[1]}x{size[0]}"
        raise DataError(what, where=file, cure="exchange the mask")
    mask = torch.from_numpy(gray > gray.max() / 2)
    return encode_masks(Masks.from_dense(mask[None]))[0]
