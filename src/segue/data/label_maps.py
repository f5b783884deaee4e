"""Label files to maps of category indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.data.images import read_stored
from segue.errors import DataError

EXAMPLES = 5
Color = tuple[int, int, int]


def value_name(value: int) -> str:
    """A pixel value, for messages."""
    return f"value {value}"


class LabelMapError(DataError):
    """A label file that is not what its data set says.

    Attributes:
        code: the kind of fault, one word.
    """

    def __init__(self, code: str, what: str, file: Path, cure: str) -> None:
        super().__init__(what, where=file, cure=cure)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:  # loader processes hand errors over as pickles
        return LabelMapError, (self.code, self.what, self.where, self.cure)


class ValueTable:
    """What each pixel value means.

    Args:
        meaning: pixel value -> category index, `UNLABELLED` for values that mean nothing.
        name: of a value, for messages.
    """

    def __init__(self, meaning: Mapping[int, int], name: Callable[[int], str] = value_name) -> None:
        self.values = np.array(sorted(meaning), dtype=np.int64)
        self.indices = np.array([meaning[value] for value in sorted(meaning)], dtype=np.int16)
        self.name = name

    def decode(self, pixels: NDArray[Any], file: Path, cure: str) -> NDArray[np.int16]:
        """(H, W) values -> (H, W) indices; raises `LabelMapError` with ``cure`` for values that the table lacks."""
        if not len(self.values):
            raise self._foreign(pixels, file, cure)
        place = np.minimum(np.searchsorted(self.values, pixels), len(self.values) - 1)
        foreign = self.values[place] != pixels
        if foreign.any():
            raise self._foreign(pixels[foreign], file, cure)
        return self.indices[place]

    def _foreign(self, pixels: NDArray[Any], file: Path, cure: str) -> LabelMapError:
        values, counts = np.unique(pixels, return_counts=True)
        pairs = zip(values[:EXAMPLES].tolist(), counts[:EXAMPLES].tolist(), strict=True)
        text = ", ".join(f"{self.name(value)} ({count} pixels)" for value, count in pairs)
        more = f" and {len(values) - EXAMPLES} other values" if len(values) > EXAMPLES else ""
        return LabelMapError("map-values", f"no class is known for {text}{more}", file, cure)


@dataclass(frozen=True)
class ClassMaps:
    """Reads pictures whose pixels are class numbers, or class colours.

    Attributes:
        values: of pictures with one channel.
        colors: of RGB pictures, by packed colour; None where the colours of the classes are not known.
    """

    values: ValueTable
    colors: ValueTable | None = None

    def __call__(self, file: Path, size: tuple[int, int]) -> Tensor:
        """(H, W) int16 category indices of a file, as `LabelMaps.read` says."""
        pixels = _sized(read_stored(file), size, file)
        if pixels.ndim == 2:
            cure = "mend the map, or name the value in the class list or as ignore_index in classes.json"
            return torch.from_numpy(self.values.decode(pixels, file, cure))
        if self.colors is None:
            raise _no_colors(file)
        cure = "mend the map, or give the colour a class in labelmap.txt or classes.json"
        return torch.from_numpy(self.colors.decode(_packed(pixels), file, cure))


@dataclass(frozen=True)
class PanopticMaps:
    """Reads COCO's panoptic PNG files, whose colours are segment numbers, as classes.

    Attributes:
        segments: for each file the category index of each segment number.
    """

    segments: Mapping[Path, Mapping[int, int]]

    def __call__(self, file: Path, size: tuple[int, int]) -> Tensor:
        """(H, W) int16 category indices of a file, as `LabelMaps.read` says."""
        pixels = _sized(read_stored(file), size, file)
        if pixels.ndim == 2:
            cure = "save segment numbers as R + 256 G + 65536 B"
            raise LabelMapError("map-colours", "one channel where panoptic RGB is expected", file, cure)
        table = ValueTable(self.segments[file], lambda value: f"segment {value}")
        return torch.from_numpy(table.decode(_packed(pixels), file, "mend segments_info in the JSON file"))


def read_numbers(file: Path) -> NDArray[Any]:
    """(H, W) class numbers as stored; raises `LabelMapError` for RGB, `ImageError` for a broken file."""
    pixels = read_stored(file)
    if pixels.ndim == 3:
        raise _no_colors(file)
    return pixels


def packed_color(color: Color) -> int:
    """A colour as one number, R + 256 G + 65536 B."""
    return color[0] + 256 * color[1] + 65536 * color[2]


def color_name(packed: int) -> str:
    """The inverse of `packed_color`, as text."""
    return f"colour {packed & 255},{packed >> 8 & 255},{packed >> 16}"


def _packed(pixels: NDArray[Any]) -> NDArray[np.int32]:
    return pixels.astype(np.int32) @ np.array([1, 256, 65536], dtype=np.int32)


def _sized(pixels: NDArray[Any], size: tuple[int, int], file: Path) -> NDArray[Any]:
    if pixels.shape[:2] != size:
        (h, w), (height, width) = pixels.shape[:2], size
        cure = "exchange one of the two"
        raise LabelMapError("map-size", f"the label map is {w}x{h}, its picture {width}x{height}", file, cure)
    return pixels


def _no_colors(file: Path) -> LabelMapError:
    cure = "save class numbers in one channel, or give the classes' colours in labelmap.txt or classes.json"
    return LabelMapError("map-colours", "RGB where a map of class numbers is expected", file, cure)
