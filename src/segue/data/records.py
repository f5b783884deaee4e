"""An annotated data set in memory: which pictures, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.data.images import read_image
from segue.errors import DataError
from segue.structures import Categories, Field, Masks, Regions, Scene, Segments

Annotation = Mapping[str, Any]
Parser = Callable[[Sequence[Annotation], tuple[int, int]], Field | None]
"""Annotations of one picture and its size (height, width) -> a field of `Regions`, None where they do not carry it."""

PanopticReader = Callable[[int, tuple[int, int]], tuple[Tensor, Segments]]
"""A picture's id and size -> its panoptic map (H, W) int32 and the segments; raises `DataError` or `ImageError`."""

CACHED_BYTES = 2**28
"""Decoded masks and meshes are kept up to this size per data set; those of other pictures are decoded again."""

UNLABELLED = -1
"""What a semantic map holds where nobody says what is there ("void", "ignore")."""


@dataclass(frozen=True)
class Record:
    """One picture of a data set.

    Attributes:
        file: where it is.
        size: (height, width) in pixels, as annotated.
        id: the data set's number for it.
        info: whatever else the data set says of it.
    """

    file: Path
    size: tuple[int, int]
    id: int
    info: Mapping[str, object]


@dataclass(frozen=True)
class LabelMaps:
    """The class of every pixel, in files beside the pictures.

    Attributes:
        files: one for each picture; None where a picture has none.
        read: a file and the picture's (height, width) -> (H, W) int16 category indices, -1 where unlabelled. Raises
            `DataError` for a map of another size or with values outside the classes, `ImageError` for a broken file.
    """

    files: list[Path | None]
    read: Callable[[Path, tuple[int, int]], Tensor]


@dataclass
class Dataset:
    """Pictures with COCO annotations, or label maps, or both, decoded on first use.

    Attributes:
        name: for people.
        categories: the classes.
        records: the pictures.
        annotations: for each picture its checked COCO annotations.
        parsers: by field of `Regions`.
        maps: the label maps, where there are any.
        panoptic: reads the panoptic maps, where there are any: of the pictures that have a label map.
        labels: the thing class of each picture as a whole, by name, None of those that have none; None without any.
    """

    name: str
    categories: Categories
    records: list[Record]
    annotations: list[list[Annotation]]
    parsers: Mapping[str, Parser]
    maps: LabelMaps | None = None
    panoptic: PanopticReader | None = None
    labels: Sequence[str | None] | None = None
    _kept: dict[int, Regions] = field(default_factory=dict, repr=False)
    _kept_bytes: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def regions(self, index: int) -> Regions:
        """The annotated objects of a picture; raises `DataError` where a parser finds a fault."""
        if index in self._kept:
            return self._kept[index]
        regions = self._parse(index)
        size = memory_of(regions)
        if self._kept_bytes + size <= CACHED_BYTES:
            self._kept[index] = regions
            self._kept_bytes += size
        return regions

    def semantic(self, index: int) -> Tensor | None:
        """(H, W) int16 category indices of a picture, -1 where unlabelled; None where it has no label map.

        Raises:
            DataError: the map is of another size than the picture, or has values outside the classes.
            ImageError: the map cannot be read.
        """
        file = self.maps.files[index] if self.maps else None
        return self.maps.read(file, self.records[index].size) if self.maps and file else None

    def label(self, index: int) -> str | None:
        """The name of the class of a picture as a whole, if it has one."""
        return None if self.labels is None else self.labels[index]

    def scene(self, index: int) -> Scene:
        """The picture's size, objects, label map, panoptic map and label."""
        record, semantic = self.records[index], self.semantic(index)
        panoptic, segments = None, None
        if self.panoptic is not None and semantic is not None:
            panoptic, segments = self.panoptic(record.id, record.size)
        return Scene(
            record.size,
            self.categories,
            self.regions(index),
            semantic=semantic,
            panoptic=panoptic,
            segments=segments,
            label=self.label(index),
            file=str(record.file),
        )

    def image(self, index: int) -> Tensor:
        """The picture, (3, H, W) uint8 RGB.

        Raises:
            ImageError: it cannot be read.
            DataError: it does not have the annotated size.
        """
        record = self.records[index]
        image = read_image(record.file)
        (h, w), size = record.size, image.shape[1:]
        if tuple(size) != (h, w):
            raise DataError(
                f"the picture is {size[1]}x{size[0]}, its annotation says {w}x{h}",
                where=record.file,
                cure="exchange the picture or correct width and height",
            )
        return image

    def _parse(self, index: int) -> Regions:
        record, annotations = self.records[index], self.annotations[index]
        labels = {category.id: label for label, category in enumerate(self.categories)}
        boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        areas = [a.get("area") for a in annotations]
        regions = Regions(
            boxes=boxes,
            labels=torch.tensor([labels[a["category_id"]] for a in annotations], dtype=torch.int64),
            crowd=torch.tensor([bool(a.get("iscrowd", 0)) for a in annotations], dtype=torch.bool),
            areas=None if None in areas else torch.tensor(areas, dtype=torch.float32),
        )
        for name, parse in self.parsers.items():
            try:
                value = parse(annotations, record.size)
                regions = regions if value is None else regions.with_field(name, value)
            except DataError as error:
                where = f"{self.name}: {record.file.name}" + (f", {error.where}" if error.where else "")
                raise DataError(error.what, where=where, cure=error.cure) from error
        return regions


def memory_of(regions: Regions) -> int:
    """Bytes of what is large of some regions: masks and meshes."""
    masks = regions.masks.bits.numel() if isinstance(regions.masks, Masks) else 0
    tensors = [part for mesh in regions.meshes or [] for part in (mesh.vertices, mesh.faces, mesh.filling)]
    return masks + sum(part.numel() * part.element_size() for part in tensors if part is not None)
