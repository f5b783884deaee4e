"""COCO's captions: sentences about whole pictures (Chen et al., arXiv:1504.00325; cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segue.data.check import Fault, content_faults, file_faults, load_json
from segue.data.coco import OWN_KEYS
from segue.data.layout import CAPTIONS, find_images
from segue.data.records import Annotation, Record
from segue.data.sentences import SentenceSet, sentence_fault, sentence_set

LONGEST = 100
"""Words of a sentence; longer ones are left out. COCO's own have at most some fifty."""


def is_captions(path: Path) -> bool:
    """Whether a file is called like one of captions."""
    return path.name.startswith(CAPTIONS) and path.is_file()


def read_captions(path: Path, images: Path | None = None, need_images: bool = True) -> SentenceSet:
    """The sentences of a ``captions_SPLIT.json``: in each picture one region, the whole, of the class "image".

    Sentences without a word or with more than `LONGEST` are left out, and so are pictures without a sentence.

    Args:
        path: the JSON file.
        images: folder of the pictures; None guesses as `find_images` does.
        need_images: without, the pictures may be missing.

    Raises:
        DataError: not JSON, or the pictures are not found.
    """
    content = load_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        fault = Fault("structure", "the file holds no object with images and annotations", "top level")
        return sentence_set(path, "image", [], [], [fault])
    read = [_sentence(row, f"annotations[{i}]") for i, row in enumerate(content["annotations"])]
    told: dict[int, list[str]] = {}
    for picture, text in (sentence for sentence in read if not isinstance(sentence, Fault)):
        told.setdefault(picture, []).append(text)
    faults = [fault for fault in read if isinstance(fault, Fault)] + _content_faults(content.get("images"), told)
    if any(fault.fatal for fault in faults):
        return sentence_set(path, "image", [], [], faults)
    pictures = sorted((row for row in content["images"] if row["id"] in told), key=lambda row: int(row["id"]))
    folder = images or path.parent
    if need_images:
        folder = images or find_images(path, [row["file_name"] for row in pictures])
        missing = [[*file_faults([row], folder)] for row in pictures]
        pictures = [row for row, own in zip(pictures, missing, strict=True) if not own]
        faults += [fault for own in missing for fault in own]
    records = [_record(row, folder) for row in pictures]
    return sentence_set(path, "image", records, [[_whole(row, told)] for row in pictures], faults)


def _sentence(row: object, where: str) -> tuple[int, str] | Fault:
    """The picture's id and the sentence."""
    if not isinstance(row, dict) or type(row.get("image_id")) is not int or not isinstance(row.get("caption"), str):
        return Fault("key", "no object with a whole number 'image_id' and a text 'caption'", where)
    return sentence_fault(row["caption"], LONGEST, where) or (row["image_id"], row["caption"])


def _content_faults(pictures: object, told: Mapping[int, Sequence[str]]) -> list[Fault]:
    """What is wrong with the pictures, as if each was annotated with one object, and sentences about no picture."""
    all_rows = [row for row in pictures if isinstance(row, dict)] if isinstance(pictures, list) else []
    rows = [row for row in all_rows if _is_sound(row)]
    whole = [{**_whole(row, told), "id": i, "image_id": row["id"], "category_id": 1} for i, row in enumerate(rows, 1)]
    content = {"images": pictures, "annotations": whole, "categories": [{"id": 1, "name": "image"}]}
    strangers = sorted(told.keys() - {row["id"] for row in all_rows if type(row.get("id")) is int})
    unknown = [Fault("unknown-image", f"there is no image {number}", "annotations") for number in strangers]
    silent = [row["id"] for row in rows if row["id"] not in told]
    quiet = [Fault("no-sentence", "it has no sentence; left out", f"image {n}", fatal=False) for n in silent]
    return content_faults(content) + unknown + quiet


def _is_sound(row: Mapping[str, Any]) -> bool:
    return all(type(row.get(key)) is int for key in ("id", "height", "width"))


def _whole(row: Mapping[str, Any], told: Mapping[int, Sequence[str]]) -> Annotation:
    """The whole picture with its sentences."""
    return {"bbox": [0, 0, row["width"], row["height"]], "captions": [*told.get(row["id"], ())]}


def _record(row: Mapping[str, Any], folder: Path) -> Record:
    info = {key: value for key, value in row.items() if key not in OWN_KEYS}
    return Record(folder / row["file_name"], (row["height"], row["width"]), row["id"], info)
