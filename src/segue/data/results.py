"""COCO results files: a list with one detection an entry. Hostile until checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segue.errors import DataError


def checked_results(rows: object, path: Path) -> list[dict[str, Any]]:
    """The content of the COCO results file at ``path`` (https://cocodataset.org/#format-results), entry by entry.

    Each entry has ``image_id``, ``category_id``, a finite ``score``, and some of ``bbox`` (x, y, width, height),
    ``segmentation`` (its own content not checked here), ``keypoints`` (K triples).

    Raises:
        DataError: anything else.
    """
    if not isinstance(rows, list):
        raise DataError("not a list of results", where=path, cure="write COCO's results format")
    for number, row in enumerate(rows):
        fault = result_fault(row)
        if fault:
            raise DataError(fault, where=f"{path}, result {number}", cure="write COCO's results format")
    return rows


def result_fault(row: object) -> str | None:
    """What is wrong with one entry, or None."""
    if not isinstance(row, dict):
        return "not an object with keys"
    for key in ("image_id", "category_id"):
        if type(row.get(key)) is not int:
            return f"{key} {row.get(key)!r} is no whole number"
    if not is_finite(row.get("score")):
        return f"score {row.get('score')!r} is no finite number"
    if not {"bbox", "segmentation", "keypoints"} & row.keys():
        return "neither bbox nor segmentation nor keypoints"
    if "bbox" in row and not is_box(row["bbox"]):
        return f"bbox {row['bbox']!r} is no finite x, y, width, height"
    if "keypoints" in row and not is_points(row["keypoints"]):
        return "keypoints are no triples of finite numbers"
    return None


def is_finite(value: object) -> bool:
    """Whether this is a number, neither NaN nor beyond any picture."""
    return type(value) in (int, float) and -1e9 < value < 1e9  # type: ignore[operator]


def is_box(value: object) -> bool:
    """Whether this is COCO's ``bbox``: finite x, y, width and height, the last two not negative."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite, value)) and min(value[2:]) >= 0


def is_points(value: object) -> bool:
    """Whether this is COCO's ``keypoints``: a list of triples of finite numbers, one after the other."""
    return isinstance(value, list) and len(value) % 3 == 0 and all(map(is_finite, value))
