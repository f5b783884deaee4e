"""Where things lie: data sets by name, annotation files in them, picture folders by annotation file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from segue.errors import DataError

T = TypeVar("T")

PREFIX = "instances_"
PANOPTIC = "panoptic_"
CAPTIONS = "captions_"
DESCRIPTIONS = "visual_genome_"
LABELS = "labels_"
MESHES = "pix3d_"
BESIDE = (PANOPTIC, CAPTIONS, DESCRIPTIONS)
"""Other files about the pictures of ``instances_SPLIT.json`` that can be opened by themselves."""

UNFINISHED = ".parts"
"""Folder inside a data set that is still being made, or was interrupted."""

CLASS_FILES = ("classes.json", "dataset_meta.json")
"""JSON files that list the classes of label maps."""

LABEL_MAP_FOLDERS = (
    *(("images", name) for name in ("labels", "masks", "annotations", "stuffthingmaps", "stuffthingmaps_trainval2017")),
    *(("JPEGImages", "SegmentationClass"), ("leftImg8bit", "gtFine"), ("train", "trainannot")),
)
"""Two folders side by side that mark a set of label maps: pictures, and maps."""

PROBES = 16
"""So many file names are tried in a folder before it is taken not to hold the pictures."""


def locate(reference: str, images: str | None = None) -> tuple[Path, Path | None]:
    """The COCO JSON file that a reference means, and the picture folder if one was given.

    Args:
        reference: a JSON file; ``FOLDER[:SPLIT]`` with ``instances_SPLIT.json`` in it or in ``annotations/``; or
            ``NAME[:SPLIT]`` for such a folder below the one that the environment variable SEGUE_DATA names, where the
            split is ``train`` unless said otherwise.
        images: folder of the pictures, None to guess later.

    Raises:
        DataError: nothing is there, or several files could be meant.
    """
    folder = picture_folder(images)
    place, split = resolve(reference)
    return (place if place.is_file() else annotation_file(place, split)), folder


def resolve(reference: str) -> tuple[Path, str]:
    """The file or folder that a reference means, and its split, "" where it says none; see `locate`.

    Raises:
        DataError: nothing is there.
    """
    if Path(reference).is_file():
        return Path(reference), ""
    name, _, split = reference.partition(":") if not Path(reference).is_dir() else (reference, "", "")
    below = _named(name)
    if below is not None:
        return below, split or "train"
    if name and Path(name).is_dir():
        return Path(name), split
    raise _unknown(name)


def choose(found: Mapping[str, T], split: str, folder: Path) -> T:
    """What is there for a split; without one, the only thing that is there.

    Raises:
        DataError: there is no such split, or there are several.
    """
    if split in found:
        return found[split]
    if not split and len(found) == 1:
        return next(iter(found.values()))
    what = f"no split {split!r}" if split else "several splits, and none was chosen"
    near = difflib.get_close_matches(split, found, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(what, where=folder, cure=f"{hint}there is {', '.join(found)}; write NAME:SPLIT")


def find_images(path: Path, names: Sequence[str]) -> Path:
    """The folder that holds pictures called ``names``, guessed from where their annotation file is.

    Tried are the file's own folder and ``images`` in it and beside it, each also with the split (what follows the
    last ``_`` of the file's name) as a folder below.

    Raises:
        DataError: none of them holds any of the first names; the message lists them.
    """
    here, split = path.parent, path.stem.rpartition("_")[2]
    tries = [here, here / "images", here / "images" / split]
    tries += [here.parent / "images", here.parent / "images" / split, here.parent / split]
    for folder in tries:
        if not names or any((file := contained(folder, name)) and file.is_file() for name in islice(names, PROBES)):
            return folder
    raise DataError(
        f"the pictures are not found ({names[0]!r}, for one)",
        where=path,
        cure=f"looked in {', '.join(map(str, tries))}; say where they are with --images",
    )


def contained(folder: Path, name: str) -> Path | None:
    """``folder / name`` with links followed; None where that is outside the folder."""
    root = os.path.realpath(folder)
    try:
        file = os.path.realpath(os.path.join(root, name))
    except ValueError:  # a zero byte
        return None
    return Path(file) if file.startswith(root.rstrip(os.sep) + os.sep) else None


def splits(folder: Path) -> Mapping[str, Path]:
    """The COCO files of a folder by split; a file of any other name counts where there is no ``instances_*``.

    Files of other kinds beside ``instances_*`` are the splits ``panoptic_*``, ``captions_*`` and ``visual_genome_*``;
    where ``annotations/`` holds only panoptic files, or only captions, they need no prefix.
    """
    for place in (folder, folder / "annotations"):
        files = sorted(place.glob(f"{PREFIX}*.json"))
        if files:
            others = [file for kind in BESIDE for file in sorted(place.glob(f"{kind}*.json"))]
            return {file.stem.removeprefix(PREFIX): file for file in files} | {file.stem: file for file in others}
    files = [file for file in sorted(folder.glob("*.json")) if file.name not in CLASS_FILES]
    alone = [
        {f.stem.removeprefix(kind): f for f in sorted((folder / "annotations").glob(f"{kind}*.json"))}
        for kind in (PANOPTIC, CAPTIONS)
    ]
    return next(filter(None, [{file.stem: file for file in files}, *alone]), {})


def has_label_maps(folder: Path) -> bool:
    """Whether a folder holds pictures and label maps, by the names of the folders inside."""
    return any((folder / pictures).is_dir() and (folder / maps).is_dir() for pictures, maps in LABEL_MAP_FOLDERS)


def picture_folder(images: str | None) -> Path | None:
    """The folder of pictures that a user named; raises `DataError` where there is none."""
    if images is not None and not Path(images).is_dir():
        raise DataError("no such folder", where=images, cure="name the folder of the pictures")
    return None if images is None else Path(images)


def annotation_file(folder: Path, split: str) -> Path:
    """The annotation file of a split in a folder; raises `DataError` where there is none, or several."""
    found = splits(folder)
    if not found:
        cure = f"expected {PREFIX}SPLIT.json, or pictures in images/ and label maps in labels/"
        raise DataError("no annotation file in this folder", where=folder, cure=cure)
    instances = {name: file for name, file in found.items() if file.name.startswith(PREFIX)}
    return choose(found if split else instances or found, split, folder)


def read_text(file: Path) -> str:
    """The content of a text file; raises `DataError` where it is none."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=file, cure="check the path") from error
    except ValueError as error:
        raise DataError("not a text in UTF-8", where=file, cure="save it as one") from error


def _named(name: str) -> Path | None:
    """The folder of this name below SEGUE_DATA, if there is one."""
    root = os.environ.get("SEGUE_DATA")
    if not root or not name or name[0] in "./" or not (Path(root) / name).is_dir():
        return None
    return contained(Path(root), name)


def _unknown(name: str) -> DataError:
    root = os.environ.get("SEGUE_DATA")
    if name.endswith(".json"):
        return DataError("no such file", where=name, cure="check the path")
    if not root:
        cure = "give a path, or set SEGUE_DATA to the folder that holds data sets"
        return DataError("no data set, file or folder of this name", where=name, cure=cure)
    if not Path(root).is_dir():
        return DataError("SEGUE_DATA names no folder", where=root, cure="set it to the folder that holds data sets")
    names = sorted(entry.name for entry in Path(root).iterdir() if entry.is_dir() and _is_set(entry))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    cure = f"{hint}{root} has {', '.join(names) or 'none'}"
    return DataError("no data set, file or folder of this name", where=name, cure=cure)


def _is_set(folder: Path) -> bool:
    return bool(splits(folder)) or has_label_maps(folder)
