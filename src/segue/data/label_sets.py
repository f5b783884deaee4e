"""Pictures with label maps as a data set, and all their faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.check import Fault, Report
from segue.data.images import image_size, read_image
from segue.data.label_maps import LabelMapError
from segue.data.layout import UNFINISHED, annotation_file, choose, picture_folder, resolve, splits
from segue.data.panoptic import is_panoptic, read_panoptic
from segue.data.records import UNLABELLED, Dataset, LabelMaps, Parser, Record
from segue.data.semantic_layouts import Layout, Pair, find_layout
from segue.errors import DataError, ImageError
from segue.structures import Categories

ALIASES = {"train": "training", "val": "validation"}
EXAMPLES = 3


@dataclass(frozen=True)
class LabelSet:
    """One split of a layout.

    Attributes:
        place: the folder or JSON file.
        layout: how to read it.
        pairs: the pictures of the split.
    """

    place: Path
    layout: Layout
    pairs: Sequence[Pair]

    @property
    def labelled(self) -> bool:
        """Whether any picture has a label map; a test split may have none."""
        return any(pair.labels for pair in self.pairs)


def find_label_set(reference: str, images: str | None = None, need_images: bool = True) -> LabelSet | None:
    """The label maps that a reference means (see `segue.data.layout.locate`), None where it means COCO instances.

    A folder with COCO's JSON files is taken for those, whatever else it holds.

    Raises:
        DataError: there is no such thing, or it makes no sense.
    """
    (place, split), folder = resolve(reference), picture_folder(images)
    if place.is_dir() and not splits(place):
        if (place / UNFINISHED).is_dir():  # its maps are there, and what they mean is not
            cure = "run the `segue data make` that began it again; it goes on where it was"
            raise DataError("this data set is not finished", where=place, cure=cure)
        layout = find_layout(place, folder)
        return None if layout is None else LabelSet(place, layout, _split(layout, split, place))
    path = place if place.is_file() else annotation_file(place, split)
    if not is_panoptic(path):
        return None
    layout = read_panoptic(path, folder, need_images)
    return LabelSet(path, layout, layout.splits[""])


def open_label_set(found: LabelSet, name: str, parsers: Mapping[str, Parser], need_images: bool = True) -> Dataset:
    """The pictures of a set with their sizes; label maps are read on use.

    Raises:
        DataError: there is no picture, or one without its label map, or the other way round.
        ImageError: a picture has no size.
    """
    _refuse(list(pair_faults(found, need_images)), found.place, name)
    pairs = [pair for pair in found.pairs if pair.labels or not (found.layout.partial and found.labelled)]
    if not pairs:
        raise DataError("no pictures", where=found.place, cure="put some in, or name another split")
    progress = tqdm(pairs, desc="sizes", unit="image", delay=2, disable=None)
    return Dataset(
        name,
        found.layout.categories,
        [_record(pair, number, found.place) for number, pair in enumerate(progress, start=1)],
        [[] for _ in pairs],
        parsers,
        LabelMaps([pair.labels for pair in pairs], found.layout.read),
        found.layout.panoptic,
    )


def pair_faults(found: LabelSet, need_images: bool = True) -> Iterator[Fault]:
    """Pictures without label map, unless none of the split has one, and label maps without picture."""
    for pair in found.pairs:
        if pair.image is None and (need_images or pair.labels is None):
            yield Fault("image-missing", "there is no picture of this name", pair.name)
        if pair.labels is None and found.labelled:
            yield Fault("map-missing", "there is no label map of this name", pair.name, fatal=not found.layout.partial)


def check_label_set(found: LabelSet) -> Report:
    """Check all pairs and decode every picture and label map; never raises for what it finds."""
    faults = list(pair_faults(found))
    if not found.pairs:
        faults.append(Fault("empty", "there are no pictures", str(found.place)))
    pixels = torch.zeros(len(found.layout.categories), dtype=torch.int64)
    for pair in tqdm(found.pairs, desc="check", unit="image", delay=2, disable=None):
        faults += _pair_faults(pair, found.layout, pixels)
    if found.labelled:
        faults += _unused(found.layout.categories, pixels)
    return Report(found.place, faults)


def count_pixels(labels: Tensor, classes: int) -> Tensor:
    """(H, W) category indices -> (classes + 1,) int64 numbers of pixels, the last one of those without label."""
    return torch.bincount(torch.where(labels == UNLABELLED, classes, labels.long()).flatten(), minlength=classes + 1)


def _split(layout: Layout, split: str, folder: Path) -> Sequence[Pair]:
    if list(layout.splits) == [""]:
        if split not in ("", "train"):
            raise DataError(f"no split {split!r}, nor any other", where=folder, cure="leave the split away")
        return layout.splits[""]
    return choose(layout.splits, split if split in layout.splits else ALIASES.get(split, split), folder)


def _record(pair: Pair, number: int, place: Path) -> Record:
    file = pair.image or pair.labels
    assert file is not None  # pairs without either are refused
    return Record(pair.image or place / pair.name, image_size(file), number if pair.id is None else pair.id, {})


def _refuse(faults: Sequence[Fault], place: Path, name: str) -> None:
    fatal = [fault for fault in faults if fault.fatal]
    if fatal:
        first = [fault for fault in fatal if fault.code == fatal[0].code]
        names = ", ".join(fault.where for fault in first[:EXAMPLES])
        more = f" and {len(first) - EXAMPLES} more" if len(first) > EXAMPLES else ""
        what = f"{first[0].message}: {names}{more}"
        raise DataError(what, where=place, cure=f"to see all faults run: segue data check {name}")


def _pair_faults(pair: Pair, layout: Layout, pixels: Tensor) -> Iterator[Fault]:
    """What is wrong inside the files of a pair; its labels are counted into ``pixels``."""
    size = None
    try:
        if pair.image:
            _, height, width = read_image(pair.image).shape
            size = height, width
    except ImageError as error:
        yield Fault("image-unreadable", error.what, pair.name)
    if pair.labels is None:
        return
    try:
        size = size or image_size(pair.labels)
        labels = layout.read(pair.labels, size)
        if layout.panoptic and pair.id is not None:
            layout.panoptic(pair.id, size)
    except LabelMapError as error:
        yield Fault(error.code, error.what, pair.name)
    except DataError as error:  # the segments
        yield Fault("map-segments", error.what, pair.name)
    except ImageError as error:
        yield Fault("map-unreadable", error.what, pair.name)
    else:
        counts = count_pixels(labels, len(pixels))
        pixels += counts[:-1]
        if counts[-1] == labels.numel():
            yield Fault("map-unlabelled", "no pixel has a class", pair.name, fatal=False)


def _unused(categories: Categories, pixels: Tensor) -> Iterator[Fault]:
    for category, number in zip(categories, pixels.tolist(), strict=True):
        if not number:
            yield Fault("class-unused", "no pixel has it", f"class {category.name}", fatal=False)
