"""Small sets of label maps on disk, for the tests beside this file."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.data.dataset import open_dataset
from segue.data.records import Dataset

SIZE = (6, 9)
PALETTE = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def truth(seed: int = 0, classes: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A label map with every class, and -1."""
    labels = np.random.default_rng(seed).integers(-1, classes, size).astype(np.int16)
    labels.flat[: classes + 1] = np.arange(-1, classes)
    return labels


def save(pixels: np.ndarray, path: Path, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if palette:
        picture = picture.convert("L")
        picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    picture.save(path)
    return path


def photo(path: Path, size: tuple[int, int] = SIZE) -> None:
    save(np.full((*size, 3), 90, np.uint8), path)


def codes(labels: np.ndarray, values: list[int], void: int, dtype: type = np.uint8) -> np.ndarray:
    """Category indices -> pixel values."""
    return np.array([*values, void], dtype=dtype)[labels]


def colours(labels: np.ndarray, palette: list[tuple[int, int, int]], void: tuple[int, int, int]) -> np.ndarray:
    return np.array([*palette, void], dtype=np.uint8)[labels]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_plain(folder: Path, names: tuple[str, ...] = ("a", "b"), maps: str = "labels") -> Path:
    """images/ and labels/ with classes.json, 3 classes, 7 ignored."""
    write_json(folder / "classes.json", {"names": ["sky", "road", "tree"], "ignore_index": 7})
    for i, name in enumerate(names):
        photo(folder / f"images/{name}.png")
        save(codes(truth(i), [0, 1, 2], 7), folder / f"{maps}/{name}.png")
    return folder


def opened(reference: Path | str, **options) -> Dataset:
    return open_dataset(str(reference), {}, **options)


def assert_truth(dataset: Dataset, *expected: np.ndarray) -> None:
    assert len(dataset) == len(expected)
    for i, labels in enumerate(expected):
        found = dataset.scene(i).semantic
        assert found.dtype == torch.int16
        assert torch.equal(found, torch.from_numpy(labels)), i
        assert dataset.image(i).shape[1:] == labels.shape


def png(pixels: list[bytes], width: int, depth: int, kind: int = 0, extra: bytes = b"") -> bytes:
    """A PNG file by hand, from packed rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, len(pixels), depth, kind, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row for row in pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
