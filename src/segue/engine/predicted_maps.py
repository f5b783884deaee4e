"""Saved semantic maps: the PNG files of `segue predict`, or a folder of index PNGs."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from pathlib import Path

from torch import Tensor

from segue.data.label_maps import ClassMaps, ValueTable
from segue.data.layout import contained
from segue.data.records import UNLABELLED, Dataset
from segue.errors import DataError
from segue.structures import Categories

ENDINGS = (".png", ".semantic.png")
NO_CLASS = (0, 255, 65535)
"""Pixel values that mean no class where no category has them as its id."""
MAP_KEYS = re.compile(rb'"(semantic|segments_info)"\s*:')
"""What a JSON file of predictions with maps has in it."""


def carries_maps(predictions: Path) -> bool:
    """Whether saved predictions say something of every pixel; a JSON file is not parsed for that.

    Their truth then is `segue.data.dataset.open_dataset` with ``panoptic=True``.
    """
    if predictions.is_dir():
        return True
    try:
        with predictions.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return MAP_KEYS.search(content) is not None
    except (OSError, ValueError):  # not readable, or empty
        return False


def maps_in(folder: Path, dataset: Dataset) -> dict[int, Path]:
    """The index PNG of each picture of a data set: ``STEM.png`` or ``STEM.semantic.png``.

    Raises:
        DataError: the folder has none for any of them, or one for two.
    """
    found: dict[int, Path] = {}
    for index, record in enumerate(dataset.records):
        files = (folder / f"{record.file.stem}{ending}" for ending in reversed(ENDINGS))
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[index] = file
    shared = next((file for file, number in Counter(found.values()).items() if number > 1), None)
    if shared is not None:
        raise DataError("several pictures have this name", where=shared, cure="score the scenes.json instead")
    if not found:
        example = f"{dataset.records[0].file.stem}.png" if dataset.records else "STEM.png"
        raise DataError(f"no index PNG of {dataset.name}", where=folder, cure=f"name the files as in {example}")
    return found


def map_beside(scenes: Path, name: object, kind: str) -> Path | None:
    """The file that an entry of a scenes.json names as its map of a kind, such as semantic; None where it names none.

    Raises:
        DataError: no text, or outside the folder of the scenes.json.
    """
    if name is None:
        return None
    file = contained(scenes.parent, name) if isinstance(name, str) else None
    if file is None:
        raise DataError(f"{kind} {name!r:.80} is no file beside it", where=scenes, cure="predict again")
    return file


def read_map(file: Path, categories: Categories, size: tuple[int, int]) -> Tensor:
    """(H, W) int16 category indices from category ids; 0, 255 or 65535, if no category's id, mean no class (-1).

    Raises:
        ImageError: the file is missing or broken.
        DataError: another size than (height, width), or other values.
    """
    ids = {category.id: index for index, category in enumerate(categories)}
    return ClassMaps(ValueTable({**dict.fromkeys(NO_CLASS, UNLABELLED), **ids}))(file, size)
