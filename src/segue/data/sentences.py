"""Sentences about boxes in pictures as a data set, whatever file they come from, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tqdm import tqdm

from segue.data.check import Fault, Report
from segue.data.images import read_image
from segue.data.records import Annotation, Dataset, Parser, Record
from segue.data.words import tokenise
from segue.errors import DataError, ImageError
from segue.structures import Categories


@dataclass(frozen=True)
class SentenceSet:
    """Pictures with boxes and the sentences about each, all boxes of one class.

    Attributes:
        place: the file or folder that they come from.
        categories: the class.
        records: the pictures that have a sentence.
        annotations: for each of them COCO annotations with ``captions``, a list of sentences.
        faults: what is wrong with the files; the pictures have not been looked at.
    """

    place: Path
    categories: Categories
    records: list[Record]
    annotations: list[list[Annotation]]
    faults: list[Fault]


def sentence_set(
    place: Path,
    category: str,
    records: Sequence[Record],
    annotations: Sequence[Sequence[Annotation]],
    faults: Sequence[Fault],
) -> SentenceSet:
    """The pictures that have annotations, numbered from 1; that there are none is one more fault."""
    numbers = count(1)
    rows: list[list[Annotation]]
    rows = [[{"id": next(numbers), "category_id": 1, **a} for a in of_picture] for of_picture in annotations]
    told = [(record, own) for record, own in zip(records, rows, strict=True) if own]
    nothing = [] if told else [Fault("empty", "no picture has a sentence", "top level")]
    return SentenceSet(
        place,
        Categories.from_names([category]),
        [record for record, _ in told],
        [own for _, own in told],
        [*faults, *nothing],
    )


def open_sentence_set(found: SentenceSet, name: str, parsers: Mapping[str, Parser]) -> Dataset:
    """The data set, called ``name``; raises `DataError` where a fault is fatal."""
    refuse(found.faults, found.place, name)
    return Dataset(name, found.categories, found.records, found.annotations, parsers)


def check_sentence_set(found: SentenceSet) -> Report:
    """All faults, those of the pictures included; never raises for what it finds."""
    progress = tqdm(found.records, desc="check", unit="image", delay=2, disable=None)
    return Report(found.place, [*found.faults, *(fault for record in progress for fault in _picture_faults(record))])


def refuse(faults: Sequence[Fault], place: Path, name: str) -> None:
    """Raise `DataError` for the first fatal fault, if there is one."""
    fatal = [fault for fault in faults if fault.fatal]
    if fatal:
        more = f" (the first of {len(fatal)} fatal faults)" if len(fatal) > 1 else ""
        what = f"{fatal[0].where}: {fatal[0].message}{more}"
        raise DataError(what, where=place, cure=f"to see all run: segue data check {name}")


def sentence_fault(text: str, longest: int, where: str) -> Fault | None:
    """Why a sentence is left out: it has no word, or more than ``longest``."""
    words = len(tokenise(text))
    if not words:
        return Fault("sentence-empty", "it has no word; left out", where, fatal=False)
    if words > longest:
        return Fault("sentence-long", f"{words} words, more than {longest}; left out", where, fatal=False)
    return None


def _picture_faults(record: Record) -> Iterator[Fault]:
    where = f"image {record.id} ({record.file.name})"
    try:
        h, w = read_image(record.file).shape[1:]
    except ImageError as error:
        yield Fault("image-unreadable", error.what, where)
        return
    if (h, w) != record.size:
        message = f"the picture is {w}x{h}, annotated as {record.size[1]}x{record.size[0]}"
        yield Fault("image-size", message, where)
