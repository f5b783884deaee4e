"""How often captions of Toybox name the right colour and category: writes results/toybox_captions.json.

    SEGUE_DATA=... python tools/caption_check.py runs/toybox_all --data toybox:val

Each predicted region with a score of at least 0.5 is compared with the annotated object whose box overlaps it most, if
that is by an IoU of at least 0.5; the others are counted as elsewhere. What an object is called is read from its
annotated sentences, by the same rules as what the model says.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset, open_dataset
from segue.data.toybox.categories import THINGS
from segue.data.toybox.paint import COLORS
from segue.data.words import tokenise
from segue.engine.load import load
from segue.engine.predictor import Predictor
from segue.errors import DataError
from segue.files import atomic_write
from segue.ops.boxes import box_iou
from segue.structures import Regions
from segue.tasks import parsers_of

RESULTS = Path("results/toybox_captions.json")
SCORE, IOU = 0.5, 0.5
ENDS = frozenset(("on", "in", "left", "right", "front", "behind", "next"))
"""Words that begin what is said of other things, or of the place."""

Name = tuple[str | None, str | None]
"""Colour and category that a sentence gives its subject, None where it names none, or several."""


@dataclass
class Counts:
    """Of the regions about objects of one category, or of all.

    Attributes:
        regions: with an object.
        color: whose sentence names its colour.
        category: whose sentence names its category.
        both: whose sentence names both.
    """

    regions: int = 0
    color: int = 0
    category: int = 0
    both: int = 0

    def add(self, said: Name, true: Name) -> None:
        """Count one more."""
        color, category = said[0] == true[0], said[1] == true[1]
        self.regions += 1
        self.color += color
        self.category += category
        self.both += color and category

    def row(self) -> dict[str, float]:
        """The counts, and the shares in per cent."""
        shares = {"color": self.color, "category": self.category, "both": self.both}
        return {"regions": self.regions} | {name: round(100 * n / self.regions, 2) for name, n in shares.items()}


def main() -> None:
    """Parse, predict, count, write."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("model", help="a zoo name, a .safetensors file or a run folder")
    parse.add_argument("--data", default="toybox:val", help="a split of Toybox (toybox:val)")
    parse.add_argument("--out", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    options = parse.parse_args()
    predictor = load(options.model).only(["captions"])
    dataset = open_dataset(options.data, parsers_of(predictor.tasks))
    rows, elsewhere = count(compared(predictor, dataset))
    print("\n".join(table(rows, elsewhere)))
    content: dict[str, object] = {
        "model": predictor.name,
        "data": options.data,
        "score": SCORE,
        "iou": IOU,
        "elsewhere": elsewhere,
    }
    content["rows"] = {key: counts.row() for key, counts in rows.items()}
    atomic_write(options.out, (json.dumps(content, indent=1) + "\n").encode())


def compared(predictor: Predictor, dataset: Dataset) -> Iterator[tuple[str, Name | None]]:
    """Each sentence that the model tells, and what the object there is called; None where there is none."""
    for index in tqdm(range(len(dataset)), desc="tell", unit="image"):
        truth = dataset.regions(index)
        found = predictor.predict(dataset.image(index), threshold=SCORE).regions
        names = [name_of(text, str(dataset.records[index].file)) for text in truth.captions or []]
        for sentence, object_ in zip(found.captions, matches(found, truth), strict=True):
            yield sentence, None if object_ < 0 else names[object_]


def matches(found: Regions, truth: Regions) -> list[int]:
    """For each region found, the index of the annotated object that it overlaps most; -1 where that is below `IOU`."""
    if not len(truth):
        return [-1] * len(found)
    overlap, best = box_iou(found.boxes, truth.boxes).max(1)
    index: Tensor = best.where(overlap >= IOU, -1)
    return index.tolist()


def count(pairs: Iterable[tuple[str, Name | None]]) -> tuple[dict[str, Counts], int]:
    """The counts of all regions and of those of each category, and how many regions have no object."""
    rows: dict[str, Counts] = {}
    elsewhere = 0
    for sentence, true in pairs:
        if true is None:
            elsewhere += 1
            continue
        for key in ("all", str(true[1])):
            rows.setdefault(key, Counts()).add(named(sentence), true)
    return {key: rows[key] for key in ("all", *THINGS) if key in rows}, elsewhere


def named(sentence: str) -> Name:
    """The colour and category of a sentence's subject; a person's colour is that of the shirt.

    Only what stands before the first preposition counts, and for a person the clothes: "a small person in a dotted blue
    shirt and gray trousers behind a red car" is about a blue person.
    """
    words = tokenise(sentence)
    head = _until(words, ENDS)
    category = _only(head, THINGS)
    colors = head
    if category == "person" and words[len(head) : len(head) + 1] == ["in"]:
        colors = head + _until(words[len(head) + 1 :], ENDS | {"and"})
    return _only(colors, COLORS), category


def _until(words: Sequence[str], ends: frozenset[str]) -> list[str]:
    return list(takewhile(lambda word: word not in ends, words))


def _only(words: Sequence[str], known: Iterable[str]) -> str | None:
    """The one known word among some, which may occur again."""
    found = set(words) & set(known)
    return found.pop() if len(found) == 1 else None


def name_of(text: str, where: str) -> Name:
    """What the sentences of an annotated object, one per line, call it; raises `DataError` unless they agree."""
    names = Counter(named(line) for line in text.splitlines())
    if len(names) != 1 or None in next(iter(names)):
        raise DataError(f"no one colour and category in {text!r}", where=where, cure="use the captions of Toybox")
    return next(iter(names))


def table(rows: dict[str, Counts], elsewhere: int) -> list[str]:
    """Markdown: the shares in per cent."""
    lines = ["| object | regions | colour | category | both |", "| --- | --- | --- | --- | --- |"]
    for key, r in ((key, counts.row()) for key, counts in rows.items()):
        lines.append(f"| {key} | {r['regions']} | {r['color']:.1f} | {r['category']:.1f} | {r['both']:.1f} |")
    return [*lines, "", f"{elsewhere} more regions overlap no object by an IoU of {IOU}."]


if __name__ == "__main__":
    main()
