"""What a model saw in a folder of pictures, kept in a file so that the next search need not look again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from segue.data.images import MAX_PIXELS
from segue.errors import CheckpointError, UsageError
from segue.files import atomic_write, user_cache
from segue.models.weights import read_tensors, seal, unseal
from segue.structures import Regions

NAME = ".segue-index.safetensors"
KEY = "segue_index"
FORMAT = 1

Stamp = tuple[int, int]
"""Bytes of a file, and when it was changed in nanoseconds: another stamp, another content."""


@dataclass(frozen=True)
class Entry:
    """What was found in one picture.

    Attributes:
        stamp: of the file that was looked at.
        size: (height, width) in pixels.
        regions: R boxes with labels and scores.
        codes: (R, D) float16, what the caption head tells sentences from.
    """

    stamp: Stamp
    size: tuple[int, int]
    regions: Regions
    codes: Tensor


@dataclass(frozen=True)
class RegionIndex:
    """What a model saw in a folder.

    Attributes:
        model: hash of the model's content.
        threshold: lowest score of the regions.
        entries: by the name of the picture inside the folder.
    """

    model: str
    threshold: float
    entries: dict[str, Entry]

    def fresh(self, stamps: Mapping[str, Stamp]) -> dict[str, Entry]:
        """The entries of files that are still as they were."""
        return {name: e for name, e in self.entries.items() if stamps.get(name) == e.stamp}


@dataclass(frozen=True)
class Reader:
    """The model that an index is for.

    Attributes:
        model: hash of its content.
        classes: how many labels there are.
        channels: D of its codes.
    """

    model: str
    classes: int
    channels: int


def load_index(
    folder: Path, reader: Reader, threshold: float, stamps: Mapping[str, Stamp]
) -> tuple[RegionIndex, list[str]]:
    """The index of a folder with the most pictures that are still as they were, and notes about damaged files.

    It is empty where there is none of this model with regions down to this ``threshold``.
    """
    best, notes = RegionIndex(reader.model, float(threshold), {}), []
    for path in filter(Path.is_file, places(folder)):
        try:
            index = read_index(path, reader)
        except CheckpointError as error:
            notes.append(f"{path}: {error.what}; the index is made anew")
            continue
        if index is None or index.threshold > threshold:
            continue
        if len(index.fresh(stamps)) >= len(best.fresh(stamps)):
            best = index
    return best, notes


def save_index(folder: Path, index: RegionIndex) -> list[str]:
    """Write the index into the folder, or else into the user's cache; a note where neither can be."""
    fault = ""
    for path in places(folder):
        try:
            write_index(path, index)
            return []
        except UsageError as error:
            fault = str(error)
    return [f"{fault}; the next search looks at all pictures again"]


def places(folder: Path) -> tuple[Path, Path]:
    """Where the index of a folder may be: inside it, or in the user's cache."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return folder / NAME, user_cache() / f"{digest[:32]}.safetensors"


def write_index(path: Path, index: RegionIndex) -> None:
    """Write an index of some pictures by rename; raises `UsageError` where the place cannot be written."""
    entries = list(index.entries.values())
    regions = Regions.cat([entry.regions for entry in entries])
    tensors = {
        "stamps": torch.tensor([entry.stamp for entry in entries], dtype=torch.int64),
        "sizes": torch.tensor([entry.size for entry in entries], dtype=torch.int64),
        "counts": torch.tensor([len(entry.regions) for entry in entries], dtype=torch.int64),
        "boxes": regions.boxes.contiguous(),
        "labels": regions.labels.contiguous(),
        "scores": torch.cat([scores_of(entry) for entry in entries]),
        "codes": torch.cat([entry.codes for entry in entries]),
    }
    header = {"format": FORMAT, "model": index.model, "threshold": index.threshold, "names": list(index.entries)}
    atomic_write(path, save(tensors, {KEY: seal(tensors, json.dumps(header))}))


def read_index(path: Path, reader: Reader) -> RegionIndex | None:
    """The index in a file; nothing in it is trusted. None where another model or version of Segue made it.

    Raises:
        CheckpointError: it is damaged, or no index.
    """
    tensors, metadata = read_tensors(path)
    try:
        header: dict[str, Any] = json.loads(unseal(tensors, metadata.get(KEY, ""), path))
        if header["format"] != FORMAT or header["model"] != reader.model:
            return None
        fault = next(_faults(header, tensors, reader), None)
    except (KeyError, TypeError, ValueError, RecursionError):
        fault = "its header makes no sense"
    if fault is not None:
        raise CheckpointError(fault, where=path, cure="remove it")
    return RegionIndex(reader.model, header["threshold"], dict(zip(header["names"], _entries(tensors), strict=True)))


def _entries(tensors: Mapping[str, Tensor]) -> Iterator[Entry]:
    counts = tensors["counts"].tolist()
    parts = (torch.split(tensors[name], counts) for name in ("boxes", "labels", "scores", "codes"))
    stamps, sizes = (tensors[name].tolist() for name in ("stamps", "sizes"))
    for (bytes_, time), (h, w), boxes, labels, scores, codes in zip(stamps, sizes, *parts, strict=True):
        yield Entry((bytes_, time), (h, w), Regions(boxes, labels, scores), codes)


def _faults(header: Mapping[str, Any], tensors: Mapping[str, Tensor], reader: Reader) -> Iterator[str]:
    """What does not fit, each only looked for where those before are not."""
    names, threshold = header["names"], header["threshold"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        yield "its names are no list of different names"
    if not isinstance(threshold, float) or not 0 <= threshold <= 1:
        yield "its threshold is no number from 0 to 1"
    n, r = len(names), len(tensors["labels"]) if tensors["labels"].ndim else 0
    expected = {
        "stamps": ((n, 2), torch.int64),
        "sizes": ((n, 2), torch.int64),
        "counts": ((n,), torch.int64),
        "boxes": ((r, 4), torch.float32),
        "labels": ((r,), torch.int64),
        "scores": ((r,), torch.float32),
        "codes": ((r, reader.channels), torch.float16),
    }
    if {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} != expected:
        yield "its tables are not those of an index"
    yield from _wrong_values(tensors, reader.classes)


def _wrong_values(tensors: Mapping[str, Tensor], classes: int) -> Iterator[str]:
    counts, sizes, labels, scores = (tensors[name] for name in ("counts", "sizes", "labels", "scores"))
    if bool(((counts < 0) | (counts > len(labels))).any()) or int(counts.sum()) != len(labels):
        yield "its counts are not those of its regions"
    if bool((sizes < 1).any() | (sizes > MAX_PIXELS).any()):
        yield "a size is not that of a picture"
    if bool(((labels < 0) | (labels >= classes)).any()):
        yield f"a label is outside the {classes} categories"
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        yield "a score is no number from 0 to 1"
    if not all(bool(tensors[name].isfinite().all()) for name in ("boxes", "codes")):
        yield "a box or code is not a number"


def halved(codes: Tensor) -> Tensor:
    """Codes (R, D) in 16 bits on the CPU, those beyond their range at its end."""
    largest = torch.finfo(torch.float16).max
    return codes.float().nan_to_num().clamp(-largest, largest).half().cpu()


def above(entry: Entry, threshold: float) -> Entry:
    """The entry with the regions of a score from ``threshold`` on."""
    kept = scores_of(entry) >= threshold
    return replace(entry, regions=entry.regions.select(kept), codes=entry.codes[kept])


def scores_of(entry: Entry) -> Tensor:
    """The scores (R,) of an entry's regions."""
    assert entry.regions.scores is not None
    return entry.regions.scores
