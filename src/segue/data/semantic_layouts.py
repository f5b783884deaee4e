"""Folders of pictures and label maps, recognised from what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segue.data.class_lists import MAX_CLASSES, VOID, ClassList, Row, read_class_list
from segue.data.inputs import IMAGE_SUFFIXES
from segue.data.label_maps import ClassMaps, PanopticMaps, read_numbers
from segue.data.layout import LABEL_MAP_FOLDERS, contained, read_text
from segue.data.published_classes import CAMVID, CITYSCAPES_IDS, CITYSCAPES_TRAIN_IDS, VOC, VOC_VOID
from segue.data.records import PanopticReader
from segue.errors import DataError, SegueError
from segue.structures import Categories

LISTS = re.compile(r"(train|training|val|validation|test|trainval|fold)[\d_]*")
"""Names of the text files that are taken for the list of a split."""


@dataclass(frozen=True)
class Pair:
    """A picture and its label map; None where there is no such file.

    Attributes:
        name: what the two have in common, for messages.
        image: the picture.
        labels: its label map.
        id: the data set's number for it, None to count.
    """

    name: str
    image: Path | None
    labels: Path | None
    id: int | None = None


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        splits: by name; "" where there is only the whole.
        categories: the classes.
        read: reads a label file, as of `LabelMaps`.
        partial: whether pictures without label map are simply left out.
        panoptic: reads the segments in a label file, where it has any.
    """

    splits: Mapping[str, Sequence[Pair]]
    categories: Categories
    read: ClassMaps | PanopticMaps
    partial: bool = False
    panoptic: PanopticReader | None = None


def find_layout(folder: Path, images: Path | None = None) -> Layout | None:
    """The label maps in a folder, None where it has none of the layouts in `LAYOUTS`.

    Args:
        folder: of the set.
        images: where its pictures are, if not in the folder.

    Raises:
        DataError: a list makes no sense.
        ImageError: no label map can be read, and there is no list of classes.
    """
    return next((layout for find in LAYOUTS if (layout := find(folder, images))), None)


def voc(folder: Path, images: Path | None) -> Layout | None:
    """PASCAL VOC: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/SPLIT.txt; also what CVAT exports."""
    pictures, maps = images or folder / "JPEGImages", folder / "SegmentationClass"
    lists = sorted((folder / "ImageSets/Segmentation").glob("*.txt"))
    if not (pictures.is_dir() and maps.is_dir() and lists):
        return None
    classes = read_class_list(folder)
    if classes is not None:
        void = tuple({*classes.void, VOID} - {row.value for row in classes.rows})
        classes = ClassList(classes.rows, void, (*classes.void_colors, VOC_VOID))
    here, there = listing(pictures), listing(maps)
    return _layout({file.stem: listed(file, here, there) for file in lists}, classes or VOC)


def cityscapes(folder: Path, images: Path | None) -> Layout | None:
    """Cityscapes: leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png.

    Where there are no labelIds, labelTrainIds are read. Classes are the 19 that are evaluated.
    """
    pictures, maps = images or folder / "leftImg8bit", folder / "gtFine"
    if not (pictures.is_dir() and maps.is_dir()):
        return None
    raw = any(maps.glob("*/*/*_gtFine_labelIds.png"))
    ending = "_gtFine_labelIds" if raw else "_gtFine_labelTrainIds"
    splits = {
        split: paired(_cities(pictures / split, "_leftImg8bit"), _cities(maps / split, ending))
        for split in subfolders(pictures)
    }
    return _layout(splits, CITYSCAPES_IDS if raw else CITYSCAPES_TRAIN_IDS)


def segnet(folder: Path, images: Path | None) -> Layout | None:
    """CamVid as the SegNet tutorial has it: SPLIT/, SPLITannot/, and SPLIT.txt with a pair of paths a line."""
    pictures = images or folder
    names = [name.removesuffix("annot") for name in subfolders(folder) if name.endswith("annot")]
    splits = {}
    for split in filter(lambda name: name and (pictures / name).is_dir(), names):
        here, there, file = listing(pictures / split), listing(folder / f"{split}annot"), folder / f"{split}.txt"
        splits[split] = listed(file, here, there) if file.is_file() else paired(here, there)
    return _layout(splits, read_class_list(folder) or CAMVID) if splits else None


def plain(folder: Path, images: Path | None) -> Layout | None:
    """images/ beside labels/, masks/ or annotations/: one map for each picture, of the same name.

    Splits are folders inside, or lists SPLIT.txt. Classes are those of the class list in the folder; without one, the
    values that occur, but for 255, which is unlabelled unless the only other value is 0. Covers ADE20K (its list is
    objectInfo150) and COCO-Stuff (stuffthingmaps, whose values are the numbers of labels.txt less one).
    """
    pictures = images or folder / "images"
    names = [maps for beside, maps in LABEL_MAP_FOLDERS if beside == "images" and _holds_pictures(folder / maps)]
    if not (names and pictures.is_dir()):
        return None
    maps, classes = folder / names[0], read_class_list(folder)
    if classes and maps.name.startswith("stuffthingmaps"):
        classes = ClassList(tuple(Row(row.value - 1, row.name, row.color) for row in classes.rows), (VOID,))
    splits = _plain_splits(folder, pictures, maps)
    return _layout(splits, classes or occurring(splits, folder), partial=list(splits) == [""])


LAYOUTS = (voc, cityscapes, segnet, plain)


def occurring(splits: Mapping[str, Sequence[Pair]], folder: Path) -> ClassList:
    """The values in all label maps as classes ``class_0`` and so on; unreadable files are left out here.

    Raises:
        DataError: more values than can be classes, or all files hold RGB.
        ImageError: none of the files can be read.
    """
    files = dict.fromkeys(pair.labels for pairs in splits.values() for pair in pairs if pair.labels)
    values: set[int] = set()
    errors = []
    for file in tqdm(files, desc="classes", unit="map", delay=2, disable=None):
        try:
            values |= set(np.unique(read_numbers(file)).tolist())
        except SegueError as error:
            errors.append(error)
        if len(values) > MAX_CLASSES:
            cure = "write classes.json, or save class numbers instead"
            raise DataError(f"over {MAX_CLASSES} different values in the label maps", where=folder, cure=cure)
    if errors and not values:
        raise errors[0]
    void = () if values <= {0, VOID} else (VOID,)
    return ClassList(tuple(Row(value, f"class_{value}") for value in sorted(values - set(void))), void)


def listing(folder: Path) -> dict[str, Path]:
    """The pictures in a folder by name without suffix, sorted; raises `DataError` for a link that leads out of it."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if _stem(entry.name) != entry.name and entry.name[0] != "."]
    for entry in found:
        if entry.is_symlink() and contained(folder, entry.name) is None:
            raise DataError("a link that leads out of its folder", where=entry.path, cure="put the file itself there")
    return {_stem(name): folder / name for name in sorted(entry.name for entry in found)}


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def paired(pictures: Mapping[str, Path], maps: Mapping[str, Path]) -> list[Pair]:
    """All names in either folder, sorted."""
    return [Pair(name, pictures.get(name), maps.get(name)) for name in sorted({**pictures, **maps})]


def listed(file: Path, pictures: Mapping[str, Path], maps: Mapping[str, Path]) -> list[Pair]:
    """The names in a list: one a line, with or without suffix, or the paths of picture and label map.

    Only the last part of a path counts, so that nothing outside the two folders can be meant.
    """
    pairs = []
    for line in filter(None, map(str.strip, read_text(file).splitlines())):
        parts = line.split()
        two = len(parts) == 2 and all(_stem(part) != part for part in parts)
        names = [_stem(part.rpartition("/")[2]) for part in (parts if two else [line])]
        pairs.append(Pair(names[0], pictures.get(names[0]), maps.get(names[-1])))
    return pairs


def _layout(splits: Mapping[str, Sequence[Pair]], classes: ClassList, partial: bool = False) -> Layout:
    return Layout(splits, classes.categories, classes.reader, partial)


def _plain_splits(folder: Path, pictures: Path, maps: Path) -> dict[str, list[Pair]]:
    folders = [] if _has_files(pictures) else subfolders(pictures)
    found = {split: _plain_pairs(pictures / split, maps, split) for split in folders or [""]}
    for file in sorted(folder.glob("*.txt")):
        if LISTS.fullmatch(file.stem):
            found.pop("", None)
            here = listing(pictures / file.stem) or listing(pictures)
            found[file.stem] = listed(file, here, listing(maps / file.stem) or listing(maps))
    return found


def _plain_pairs(pictures: Path, maps: Path, split: str) -> list[Pair]:
    here = listing(pictures)
    if (maps / split).is_dir():
        return paired(here, listing(maps / split))
    there = listing(maps)  # of all splits
    return [Pair(name, file, there.get(name)) for name, file in here.items()]


def _cities(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = {name: file for city in subfolders(folder) for name, file in listing(folder / city).items()}
    return {name.removesuffix(ending): file for name, file in files.items() if name.endswith(ending)}


def _stem(name: str) -> str:
    """A name without the suffix of a picture."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f".{suffix.lower()}" in IMAGE_SUFFIXES and dot else name


def _has_files(folder: Path) -> bool:
    return bool(listing(folder))


def _holds_pictures(folder: Path) -> bool:
    """Whether a picture is in a folder or in a folder inside it."""
    return folder.is_dir() and (_has_files(folder) or any(_has_files(folder / name) for name in subfolders(folder)))
