"""A class for each picture as a whole, in a file beside the instances: read, checked, joined.

``labels_SPLIT.json`` is a list of ``{"image_id", "file_name", "label"}``: the id of a picture in
``instances_SPLIT.json``, its file's name (which may be left out), and the name of a thing category or null. Pictures
may be left out, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from segue.data.check import Fault, Report, load_json
from segue.data.coco import read_coco
from segue.data.layout import LABELS, PREFIX
from segue.data.records import Dataset, Record
from segue.errors import DataError
from segue.structures import Categories


def join_labels(dataset: Dataset, path: Path) -> Dataset:
    """The instances with the ``labels`` of a file about the same pictures.

    Raises:
        DataError: the file has fatal faults; it names the first.
    """
    content = load_json(path)
    fatal = [fault for fault in label_faults(content, dataset) if fault.fatal]
    if fatal:
        cure = f"to see all run: segue data check {path}"
        raise DataError(f"{fatal[0].where}: {fatal[0].message}", where=path, cure=cure)
    names = {row["image_id"]: row["label"] for row in content}
    return replace(dataset, labels=[names.get(record.id) for record in dataset.records])


def is_labels(path: Path) -> bool:
    """Whether this is a file of labels beside the instances of the same pictures."""
    return path.name.startswith(LABELS) and path.is_file() and _instances(path).is_file()


def check_labels(path: Path, images: Path | None = None) -> Report:
    """Every fault of a file as of `is_labels`; raises `DataError` where the instances cannot be read."""
    dataset = read_coco(_instances(path), {}, images, need_images=False)
    try:
        return Report(path, list(label_faults(load_json(path), dataset)))
    except DataError as error:
        return Report(path, [Fault("json", error.what, str(path))])


def label_faults(content: object, dataset: Dataset) -> Iterator[Fault]:
    """What is wrong with labels of a data set's pictures."""
    if not isinstance(content, list):
        yield Fault("structure", "not a list of labels", "top level")
        return
    records = {record.id: record for record in dataset.records}
    seen: set[int] = set()
    for i, row in enumerate(content):
        message = _key_fault(row)
        if message:
            yield Fault("key", message, f"entry {i}")
            continue
        number = row["image_id"]
        yield from _row_faults(row, records, dataset.categories, f"entry {i}")
        if number in seen:
            yield Fault("image-twice", f"image {number} has a label before", f"entry {i}")
        seen.add(number)
    if records and not seen & records.keys():
        yield Fault("images-unknown", f"no label is of a picture of {dataset.name}", "top level")


def _key_fault(row: object) -> str | None:
    if not isinstance(row, dict):
        return "not an object"
    if type(row.get("image_id")) is not int:
        return f"'image_id' must be a whole number, not {row.get('image_id')!r:.40}"
    if "label" not in row or not isinstance(row["label"], str | None):
        return f"'label' must be the name of a category or null, not {row.get('label')!r:.40}"
    return None if isinstance(row.get("file_name", ""), str) else "'file_name' must be a text"


def _row_faults(
    row: Mapping[str, object], records: Mapping[int, Record], categories: Categories, where: str
) -> Iterator[Fault]:
    """What is wrong with a label that has sound keys."""
    things = [category.name for category in categories if category.isthing]
    record = records.get(int(str(row["image_id"])))
    if record is None:
        yield Fault("unknown-image", f"there is no image {row['image_id']}; it is left out", where, fatal=False)
    elif Path(str(row.get("file_name", record.file.name))).name != record.file.name:
        what = f"image {row['image_id']} is {record.file.name}, not {row['file_name']!r:.80}"
        yield Fault("file-name", what, where)
    if row["label"] is not None and row["label"] not in things:
        yield Fault("unknown-category", f"{row['label']!r:.80} is no thing category", where)


def _instances(path: Path) -> Path:
    return path.with_name(PREFIX + path.name.removeprefix(LABELS))
