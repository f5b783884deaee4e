"""Panoptic maps as COCO's panoptic files (cocodataset.org/#format-data): a JSON file and a folder of PNG files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from segue.errors import DataError
from segue.files import atomic_write
from segue.ops.panoptic import segment_areas, segment_boxes
from segue.structures import Categories, Scene, Segments


def write_panoptic(pictures: Iterable[tuple[int, Scene]], path: Path) -> None:
    """Write panoptic maps as PNG files into the folder ``path`` without its suffix, and last the JSON file ``path``.

    Scenes are taken one by one, so that few need to be in memory.

    Args:
        pictures: the data set's id of each picture, and the scene with its map.
        path: the JSON file.

    Raises:
        DataError: no scenes, scenes of different categories, two of one name, or a fault that `panoptic_rows` finds.
        UsageError: the place cannot be written.
    """
    images: list[dict[str, Any]] = []
    annotations: dict[str, dict[str, Any]] = {}
    categories: Categories | None = None
    for number, scene in pictures:
        categories = categories or scene.categories
        image, annotation = panoptic_rows(number, scene)
        name = annotation["file_name"]
        if scene.categories != categories:
            raise DataError(
                "scenes of different classes", where=scene.file, cure="write a file for each list of classes"
            )
        if name in annotations:
            raise DataError(f"two pictures would share {name}", where=scene.file, cure="rename one of the two")
        atomic_write(path.with_suffix("") / name, _png(map_picture(_parts(scene)[0])))
        images.append(image)
        annotations[name] = annotation
    if categories is None:
        raise DataError("there are no scenes to write", where=path, cure="give some")
    content = {"images": images, "annotations": list(annotations.values()), "categories": category_rows(categories)}
    atomic_write(path, json.dumps(content).encode())


def panoptic_rows(number: int, scene: Scene) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of a picture in ``images`` and in ``annotations``.

    Args:
        number: the data set's id of the picture.
        scene: with its panoptic map. Of an absolute file path only the name is kept.

    Raises:
        DataError: as of `segments_info`, or the scene has no file name.
    """
    if scene.file is None:
        raise DataError("a scene has no file name", where=f"picture {number}", cure="set its file")
    file = PurePath(scene.file)
    name = file.name if file.is_absolute() or ".." in file.parts else file.as_posix()
    image = {"id": number, "file_name": name, "height": scene.size[0], "width": scene.size[1]}
    map_name = PurePath(name).with_suffix(".png").as_posix()
    return image, {"image_id": number, "file_name": map_name, "segments_info": segments_info(scene)}


def segments_info(scene: Scene) -> list[dict[str, Any]]:
    """What COCO says of each segment: id, category_id, isthing, area, bbox, iscrowd, and the score where there is one.

    Areas and boxes (x, y, width, height) are those of the map.

    Raises:
        DataError: no panoptic map, a number in it that is none of the segments, or a segment without pixels.
    """
    panoptic, segments = _parts(scene)
    try:
        areas = segment_areas(panoptic, segments).tolist()
    except DataError as error:
        raise DataError(error.what, where=scene.file, cure=error.cure) from None
    boxes = segment_boxes(panoptic, segments)
    boxes[:, 2:] -= boxes[:, :2]
    rows: list[dict[str, Any]] = [
        {"id": number, "category_id": scene.categories[label].id, "isthing": int(scene.categories[label].isthing)}
        for number, label in zip(segments.ids.tolist(), segments.labels.tolist(), strict=True)
    ]
    for row, area, box, crowd in zip(rows, areas, boxes.tolist(), segments.is_crowd().tolist(), strict=True):
        row |= {"area": area, "bbox": box, "iscrowd": int(crowd)}
    if segments.scores is not None:
        for row, score in zip(rows, segments.scores.tolist(), strict=True):
            row["score"] = round(score, 6)
    return rows


def category_rows(categories: Categories) -> list[dict[str, Any]]:
    """The entries of ``categories``."""
    return [{"id": c.id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)} for c in categories]


def map_picture(panoptic: Tensor) -> Image.Image:
    """A panoptic map (H, W) as RGB picture: R + 256 G + 65536 B is the segment."""
    ids = panoptic.cpu().numpy().astype("<i4")  # the bytes of each number are R, G, B and 0
    return Image.fromarray(np.ascontiguousarray(ids[:, :, None].view(np.uint8)[:, :, :3]))


def _parts(scene: Scene) -> tuple[Tensor, Segments]:
    """The panoptic map of a scene and its segments, on the CPU."""
    if scene.panoptic is None or scene.segments is None:
        raise DataError("no panoptic map", where=scene.file, cure="write scenes that have one")
    return scene.panoptic.cpu(), scene.segments.to("cpu")


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
