"""Data sets by name, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from segue.data.coco import read_coco
from segue.data.layout import locate
from segue.data.records import Annotation, Dataset, Parser, Record

__all__ = ["Annotation", "Dataset", "Parser", "Record", "locate", "open_dataset", "statistics"]


def open_dataset(
    reference: str, parsers: Mapping[str, Parser], images: str | None = None, need_images: bool = True
) -> Dataset:
    """The data set that a reference means (see `locate`), checked, with the fields that ``parsers`` fill.

    Without ``need_images`` the pictures themselves may be missing.

    Raises:
        DataError: it does not exist, or has fatal faults.
    """
    path, folder = locate(reference, images)
    return read_coco(path, parsers, folder, name=reference, need_images=need_images)


def statistics(dataset: Dataset) -> str:
    """Numbers of a data set as text: pictures, regions, classes and sizes."""
    annotations = list(chain.from_iterable(dataset.annotations))
    counts = [len(entries) for entries in dataset.annotations]
    sides = [side for a in annotations if (side := (a["bbox"][2] * a["bbox"][3]) ** 0.5)]
    lines = [
        f"{dataset.name}: {len(dataset)} images, {len(annotations)} regions, {len(dataset.categories)} classes",
        f"  image height      {_quantiles([r.size[0] for r in dataset.records])} px",
        f"  image width       {_quantiles([r.size[1] for r in dataset.records])} px",
        f"  regions per image {_quantiles(counts)}; {counts.count(0)} images without any",
        f"  region size       {_quantiles(sides)} px (root of the box area)",
        f"  crowd regions     {sum(bool(a.get('iscrowd')) for a in annotations)}",
        "  regions per class",
    ]
    per_class = np.unique([a["category_id"] for a in annotations], return_counts=True)
    number = dict(zip(*(values.tolist() for values in per_class), strict=True))
    width = max([len(name) for name in dataset.categories.names], default=0)
    lines += [f"    {category.name:{width}} {number.get(category.id, 0)}" for category in dataset.categories]
    return "\n".join(lines)


def _quantiles(values: list[float] | list[int]) -> str:
    if not values:
        return "none"
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:.0f} to {high:.0f}, median {middle:.0f}"
