"""COCO instance annotations, read and written (cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segue.data.check import Fault, content_faults, file_faults, load_json
from segue.data.layout import find_images
from segue.data.records import Annotation, Dataset, Parser, Record
from segue.data.rle import encode_masks
from segue.errors import DataError
from segue.files import atomic_write
from segue.structures import Categories, Category, Scene
from segue.structures.categories import distinct_color

OWN_KEYS = ("id", "file_name", "height", "width")


def read_coco(
    path: Path,
    parsers: Mapping[str, Parser],
    images: Path | None = None,
    name: str | None = None,
    need_images: bool = True,
) -> Dataset:
    """A COCO instance file with its pictures.

    Everything but the pixels is checked at once; segmentations and whatever ``parsers`` read are decoded on first use.

    Args:
        path: the JSON file.
        parsers: by field of `Regions`.
        images: folder of the pictures; None guesses as `find_images` does.
        name: what to call the data set, else the path.
        need_images: refuse a set whose pictures are not there; scoring saved predictions works without them.

    Raises:
        DataError: the file has fatal faults; it names the first and their number.
    """
    content = load_json(path)
    _refuse(content_faults(content), path)
    pictures: list[dict[str, Any]] = sorted(content["images"], key=lambda row: int(row["id"]))  # COCOeval's order
    folder = images or path.parent
    if need_images:
        folder = images or find_images(path, [row["file_name"] for row in pictures])
        _refuse(list(file_faults(pictures, folder)), path)
    by_picture: dict[int, list[Annotation]] = {row["id"]: [] for row in pictures}
    for annotation in with_keypoints(content["annotations"], content["categories"]):
        by_picture[annotation["image_id"]].append(annotation)
    return Dataset(
        name or str(path),
        categories_from_coco(content["categories"]),
        [_record(row, folder) for row in pictures],
        list(by_picture.values()),
        parsers,
    )


def categories_from_coco(rows: Sequence[Mapping[str, Any]]) -> Categories:
    """COCO's categories, sorted by id; a mirror exchanges keypoints whose names differ by left and right."""
    ordered = sorted(rows, key=lambda row: int(row["id"]))
    return Categories(
        tuple(
            Category(
                name=row["name"],
                id=row["id"],
                isthing=bool(row.get("isthing", 1)),
                color=distinct_color(i),
                keypoints=tuple(row.get("keypoints", ())),
                skeleton=tuple((a - 1, b - 1) for a, b in row.get("skeleton", ())),
                flip_pairs=flip_pairs(row.get("keypoints", ())),
                sigmas=tuple(row.get("sigmas", ())),
            )
            for i, row in enumerate(ordered)
        )
    )


def with_keypoints(annotations: Sequence[Annotation], categories: Sequence[Mapping[str, Any]]) -> Sequence[Annotation]:
    """Annotations with as many keypoints each, so that pictures can be put together, if any category has some.

    Zeros, COCO's "not labelled", stand for those that a category has fewer than another, or an annotation leaves out.
    """
    counts = {row["id"]: 3 * len(row.get("keypoints", ())) for row in categories}
    widest = max(counts.values(), default=0)
    if not widest:
        return annotations
    lists = ([*(a.get("keypoints") or ())][: counts[a["category_id"]]] for a in annotations)
    return [{**a, "keypoints": own + [0] * (widest - len(own))} for a, own in zip(annotations, lists, strict=True)]


def flip_pairs(keypoints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Index pairs of names such as ``left_eye`` and ``right_eye``."""
    places = {name.lower(): i for i, name in enumerate(keypoints)}
    pairs = ((i, places.get(name.replace("left", "right"))) for name, i in places.items() if "left" in name)
    return tuple((i, j) for i, j in pairs if j is not None)


def write_coco(scenes: Iterable[Scene], path: Path) -> None:
    """Write boxes, masks and classes of annotated pictures as one COCO instance file.

    Ids count from 1. Areas are those of the masks, or of the boxes where there are none.

    Raises:
        DataError: a scene without a file name, or scenes of different categories.
    """
    scenes = list(scenes)
    categories = scenes[0].categories if scenes else Categories(())
    annotations: list[dict[str, Any]] = []
    images = []
    for number, scene in enumerate(scenes, start=1):
        if scene.file is None or scene.categories != categories:
            raise DataError("a scene has no file name, or other categories", where=path, cure="mend the scenes")
        images.append({"id": number, "file_name": scene.file, "height": scene.size[0], "width": scene.size[1]})
        for entry in _entries(scene):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [_category(category) for category in categories],
    }
    atomic_write(path, json.dumps(content).encode())


def _refuse(faults: Sequence[Fault], path: Path) -> None:
    fatal = [fault for fault in faults if fault.fatal]
    if fatal:
        more = f" (the first of {len(fatal)} fatal faults)" if len(fatal) > 1 else ""
        raise DataError(
            f"{fatal[0].where}: {fatal[0].message}{more}", where=path, cure=f"to see all run: segue data check {path}"
        )


def _record(row: Mapping[str, Any], folder: Path) -> Record:
    info = {key: value for key, value in row.items() if key not in OWN_KEYS}
    return Record(folder / row["file_name"], (row["height"], row["width"]), row["id"], info)


def _entries(scene: Scene) -> list[dict[str, Any]]:
    regions = scene.regions
    boxes = regions.boxes.tolist()
    masks = regions.masks
    areas = masks.area.tolist() if masks is not None else [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    crowd = [0] * len(regions) if regions.crowd is None else regions.crowd.int().tolist()
    segmentations = [{}] * len(regions) if masks is None else [{"segmentation": r} for r in encode_masks(masks)]
    return [
        {
            "category_id": scene.categories[label].id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": area,
            "iscrowd": is_crowd,
            **segmentation,
        }
        for (x0, y0, x1, y1), label, area, is_crowd, segmentation in zip(
            boxes, regions.labels.tolist(), areas, crowd, segmentations, strict=True
        )
    ]


def _category(category: Category) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": category.id, "name": category.name}
    if category.keypoints:
        entry |= {"keypoints": list(category.keypoints), "skeleton": [[a + 1, b + 1] for a, b in category.skeleton]}
    if category.sigmas:
        entry["sigmas"] = list(category.sigmas)
    return entry if category.isthing else {**entry, "isthing": 0}
