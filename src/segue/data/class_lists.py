"""The classes of label maps: lists that lie beside the maps, and those of published data sets."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.data.check import load_json
from segue.data.label_maps import ClassMaps, Color, ValueTable, color_name, packed_color
from segue.data.layout import read_text
from segue.data.records import UNLABELLED
from segue.errors import DataError
from segue.structures import Categories, Category
from segue.structures.categories import distinct_color

VOID = 255
"""Means unlabelled in most published sets."""

VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
MAX_CLASSES = 4096
"""More are taken for a mistake: a depth map, or segment numbers."""


@dataclass(frozen=True)
class Row:
    """One line of a class list: a pixel value of label files, the class's name, and its colour if the list has one."""

    value: int
    name: str
    color: Color | None = None


@dataclass(frozen=True)
class ClassList:
    """What the pixels of label files mean.

    Attributes:
        rows: the classes in order.
        void: pixel values that mean unlabelled.
        void_colors: colours in RGB label files that do.
    """

    rows: tuple[Row, ...]
    void: tuple[int, ...] = ()
    void_colors: tuple[Color, ...] = ()

    @property
    def categories(self) -> Categories:
        """The classes, with distinct colours where the list has none."""
        return Categories(
            tuple(
                Category(row.name, row.value, isthing=False, color=row.color or distinct_color(i))
                for i, row in enumerate(self.rows)
            )
        )

    @property
    def reader(self) -> ClassMaps:
        """Reads label files; RGB ones too if every class has a colour of its own."""
        values = dict.fromkeys(self.void, UNLABELLED) | {row.value: i for i, row in enumerate(self.rows)}
        colors = {packed_color(row.color): i for i, row in enumerate(self.rows) if row.color}
        if len(colors) < len(self.rows):
            return ClassMaps(ValueTable(values))
        colors = dict.fromkeys(map(packed_color, self.void_colors), UNLABELLED) | colors
        return ClassMaps(ValueTable(values), ValueTable(colors, color_name))


def read_class_list(folder: Path) -> ClassList | None:
    """The class list in a folder, None where there is none.

    Known are, the first that is there: ``classes.json`` (``names``, ``palette``, ``ignore_index``),
    ``dataset_meta.json`` (``label_map``, ``segmentation_colors``), ``labelmap.txt`` (lines ``name:r,g,b``),
    ``objectInfo150.csv`` or ``.txt`` of ADE20K, ``classes.txt`` and ``labels.txt`` (lines ``name`` or
    ``number: name``). Classes called void, unlabelled or ignored mean that a pixel has none.

    Raises:
        DataError: it makes no sense.
    """
    for name, read in READERS:
        file = folder / name
        if file.is_file():
            try:
                return checked(read(file))
            except DataError as error:
                cure = "mend the class list" if error.where == str(file) else error.cure
                raise DataError(error.what, where=file, cure=cure) from error
    return None


def checked(classes: ClassList) -> ClassList:
    """The list itself; raises `DataError` for no class, too many, numbers over 16 bits, or a name or number twice."""
    if not 0 < len(classes.rows) <= MAX_CLASSES:
        raise DataError(f"{len(classes.rows)} classes", cure=f"there must be 1 to {MAX_CLASSES}")
    values = [row.value for row in classes.rows] + [max(value, 0) for value in classes.void]
    if not 0 <= min(values) <= max(values) < 2**16:
        raise DataError(f"the numbers run from {min(values)} to {max(values)}", cure="use those from 0 to 65535")
    _ = classes.categories  # which checks itself
    return classes


def _without_void(rows: Sequence[Row], void: tuple[int, ...] = ()) -> ClassList:
    """A list whose rows of no class, by their number or name, are taken out."""
    empty = [row for row in rows if row.value in void or row.name.lower() in VOID_NAMES]
    values = dict.fromkeys([*void, *(row.value for row in empty)])
    kept = tuple(row for row in rows if row not in empty)
    return ClassList(kept, tuple(values), tuple(row.color for row in empty if row.color))


def _classes_json(file: Path) -> ClassList:
    content = _object(file)
    names, void = content.get("names"), content.get("ignore_index")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("'names' is no list of names", cure='write {"names": ["sky", "road"], "ignore_index": 255}')
    if void is not None and type(void) is not int:
        raise DataError(f"'ignore_index' must be a whole number, not {void!r:.40}", cure="write 255, for one")
    colors = _colors(content.get("palette"), len(names), "palette")
    rows = [Row(i, name, color) for i, (name, color) in enumerate(zip(names, colors, strict=True))]
    return _without_void(rows, () if void is None else (void,))


def _dataset_meta(file: Path) -> ClassList:
    content = _object(file)
    names = content.get("label_map")
    if not isinstance(names, dict) or not all(k.isdecimal() and isinstance(v, str) for k, v in names.items()):
        raise DataError("'label_map' is no object from numbers to names", cure='write {"label_map": {"0": "sky"}}')
    colors = _colors(content.get("segmentation_colors"), len(names), "segmentation_colors")
    return _without_void([Row(int(k), v, color) for (k, v), color in zip(names.items(), colors, strict=True)])


def _labelmap(file: Path) -> ClassList:
    rows: list[Row] = []
    for line in _lines(file):
        name, _, rest = line.partition(":")
        parts = rest.split(":")[0].split(",")
        if line.startswith("#"):
            continue
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise DataError(f"line {line!r:.60} is not name:red,green,blue", cure="mend the line")
        rows.append(Row(len(rows), name, _color([int(part) for part in parts])))
    return _without_void(rows)


def _ade20k(file: Path) -> ClassList:
    """Number and name of SceneParse150, the first name unless two classes share it; 0 stands for all other classes."""
    lines = _lines(file)
    table = list(csv.DictReader(lines, delimiter="\t" if "\t" in lines[0] else ",")) if lines else []
    if not all((row.get("Idx") or "").strip().isdecimal() and row.get("Name") for row in table):
        raise DataError("a line has no Idx and Name", cure="take the file from the data set")
    names = [re.split("[;,] *", row["Name"].strip()) for row in table]
    first = [parts[0] for parts in names]
    unique = [parts[0] if first.count(parts[0]) == 1 else ", ".join(parts) for parts in names]
    return ClassList(tuple(Row(int(row["Idx"]), name) for row, name in zip(table, unique, strict=True)), (0,))


def _plain_names(file: Path) -> ClassList:
    matches = [re.match(r"(?:(\d{1,5})\s*:\s*)?(.+)", line) for line in _lines(file)]
    found = [match for match in matches if match]
    return _without_void([Row(int(match[1]) if match[1] else i, match[2]) for i, match in enumerate(found)])


READERS: tuple[tuple[str, Callable[[Path], ClassList]], ...] = (
    ("classes.json", _classes_json),
    ("dataset_meta.json", _dataset_meta),
    ("labelmap.txt", _labelmap),
    ("objectInfo150.csv", _ade20k),
    ("objectInfo150.txt", _ade20k),
    ("classes.txt", _plain_names),
    ("labels.txt", _plain_names),
)


def _object(file: Path) -> Mapping[str, Any]:
    content = load_json(file)
    if not isinstance(content, dict):
        raise DataError("not an object with keys", cure='write {"names": ["sky", "road"]}')
    return content


def _lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _colors(values: object, number: int, key: str) -> list[Color | None]:
    if values is None:
        return [None] * number
    if not isinstance(values, list) or len(values) != number:
        raise DataError(f"{key!r} is no list of {number} colours, one per class", cure="give each class a colour")
    return [_color(value) for value in values]


def _color(value: object) -> Color:
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v < 256 for v in value):
        return value[0], value[1], value[2]
    raise DataError(f"{value!r:.60} is no colour", cure="write red, green and blue from 0 to 255")
