"""Scoring saved predictions, and metrics as a table or file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from segue.data.check import load_json
from segue.data.panoptic import is_panoptic
from segue.data.records import UNLABELLED, Dataset, PanopticReader, Parser
from segue.data.results import checked_results
from segue.data.rle import runs_box, segmentation_runs
from segue.engine.evaluate import Scores, compute, metrics_of, pictures_of
from segue.engine.output import checked_entries, label_indices, parse_regions
from segue.engine.predicted_maps import map_beside, maps_in, read_map
from segue.engine.predicted_panoptic import no_segments, panoptic_beside, panoptic_maps
from segue.errors import DataError, UsageError
from segue.files import atomic_write
from segue.structures import Category, Scene
from segue.tasks import ImageTask, PixelTask, Task, parsers_of

SUPPORTED = "give a scenes.json, a COCO results JSON, a COCO panoptic JSON or a folder of index PNGs"


@dataclass(frozen=True)
class Saved:
    """What is saved of one picture, checked but not decoded.

    Attributes:
        labels: indices into the data set's categories.
        rows: for each region ``bbox``, ``score`` and what tasks parse.
        where: what to name in errors.
        semantic: the file of the semantic map, if there is one.
        panoptic: reads the panoptic map, if there is one.
        label: the word for the whole picture, if there is one.
    """

    labels: list[int]
    rows: list[dict[str, Any]]
    where: str
    semantic: Path | None = None
    panoptic: PanopticReader | None = None
    label: str | None = None


def evaluate_predictions(predictions: Path, dataset: Dataset, tasks: Sequence[Task]) -> Scores:
    """Every metric of the tasks that both the predictions and the data set carry, by ``group/name``.

    Args:
        predictions: a scenes.json, whose scenes are matched to the data set's pictures by file name (without its
            extension; by folders, too, where that leaves a choice), a COCO results or panoptic JSON, matched by image
            id, or a folder of index PNGs, matched by file name.
        dataset: the truth; opened with ``panoptic=True`` where `carries_maps` says that there are maps.
        tasks: what may be scored.

    Returns:
        The metrics and their pictures; ``images`` of the data set; ``images_missing``, of which the predictions do not
        speak and which count as pictures where nothing was found, if there are any; ``seconds``.

    Raises:
        UsageError: another kind of predictions.
        DataError: a broken file; a picture, class or size that is not the data set's; nothing to score.
    """
    start = time.perf_counter()
    saved = read_predictions(predictions, dataset)
    scored = [task for task in tasks if _carried(task, saved, dataset)]
    if not scored:
        raise DataError("holds nothing that the data set has truth for", where=predictions, cure=SUPPORTED)
    metrics = metrics_of(scored, dataset.categories)
    parsers = parsers_of(scored)
    nothing = Saved([], [], str(predictions))
    for index in sorted(range(len(dataset)), key=lambda index: dataset.records[index].id):  # pycocotools' order
        found = saved.get(index, nothing)
        predicted = _scene(found, dataset, index, parsers)
        for metric in metrics:
            metric.update(predicted, dataset.scene(index))
    missing = {"images_missing": len(dataset) - len(saved)} if len(saved) < len(dataset) else {}
    seconds = round(time.perf_counter() - start, 3)
    numbers = compute(metrics) | {"images": len(dataset), **missing, "seconds": seconds}
    return Scores(numbers, pictures_of(scored, metrics))


def read_predictions(path: Path, dataset: Dataset) -> dict[int, Saved]:
    """What is saved, by index of the picture in the data set; raises as `evaluate_predictions`."""
    if path.is_dir():
        return {index: Saved([], [], str(file), file) for index, file in maps_in(path, dataset).items()}
    content = load_json(path)
    if isinstance(content, list):
        return _from_results(content, path, dataset)
    if isinstance(content, dict) and "scenes" not in content and "annotations" in content:
        if not is_panoptic(path):
            raise UsageError("annotations are no predictions", where=path, cure=SUPPORTED)
        return {i: Saved([], [], str(path), panoptic=read) for i, read in panoptic_maps(path, dataset).items()}
    return _from_scenes(content, path, dataset)


def format_table(metrics: Mapping[str, float]) -> str:
    """Plain text, a group of metrics after the other: names to the left, values to the right."""
    rows = [
        (*_split(name), f"{value:.4f}" if isinstance(value, float) else str(value)) for name, value in metrics.items()
    ]
    names, values = (max((len(row[column]) for row in rows), default=0) for column in (1, 2))
    lines: list[str] = []
    for group, members in groupby(sorted(rows, key=lambda row: row[0] == ""), key=lambda row: row[0]):
        lines += [""] * bool(lines) + [group] * bool(group)
        lines += [f"  {name:{names}}  {value:>{values}}" for _, name, value in members]
    return "\n".join(lines)


def write_metrics(path: Path, metrics: Mapping[str, float], pictures: Mapping[str, Image.Image] | None = None) -> None:
    """One flat JSON object, and pictures beside it; what is not finite becomes null.

    Raises:
        UsageError: they cannot be written.
    """
    valid = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    atomic_write(path, (json.dumps(valid, indent=2) + "\n").encode())
    for ending, image in (pictures or {}).items():
        buffer = BytesIO()
        image.save(buffer, "PNG")
        atomic_write(path.with_name(f"{path.stem}.{ending}"), buffer.getvalue())


def _from_scenes(content: object, path: Path, dataset: Dataset) -> dict[int, Saved]:
    saved: dict[int, Saved] = {}
    records: dict[str, list[int]] = {}
    for index, record in enumerate(dataset.records):
        records.setdefault(record.file.stem, []).append(index)
    for entry in checked_entries(content, path):
        where = f"{path}, {entry['file']}"
        index = _picture(Path(entry["file"]), records, dataset, where)
        if index in saved:
            raise DataError("a second scene for this picture", where=where, cure="leave one of them out")
        h, w = dataset.records[index].size
        if (entry["height"], entry["width"]) != (h, w):
            raise DataError(
                f"predicted on {entry['width']}x{entry['height']} pixels, the data set's picture has {w}x{h}",
                where=where,
                cure="predict on the data set's own pictures",
            )
        labels = label_indices(entry["regions"], dataset.categories, where)
        for label, row in zip(labels, entry["regions"], strict=True):
            _check_keypoints(row, dataset.categories[label], where, shorter=True)
        semantic = map_beside(path, entry.get("semantic"), "semantic")
        panoptic = panoptic_beside(path, entry, dataset, index)
        label_indices([entry] if "label" in entry else [], dataset.categories, where)  # raises for unknown ones
        saved[index] = Saved(labels, entry["regions"], where, semantic, panoptic, entry.get("label"))
    return saved


def _picture(file: Path, records: Mapping[str, list[int]], dataset: Dataset, where: str) -> int:
    """The index of the one picture whose path agrees with ``file`` for the longest, seen from the end."""
    candidates = records.get(file.stem, [])
    agreement = {index: _shared_tail(file, dataset.records[index].file) for index in candidates}
    best = [index for index in candidates if agreement[index] == max(agreement.values())]
    if len(best) == 1:
        return best[0]
    fault = f"could be any of {len(best)} pictures" if best else "is no picture"
    raise DataError(f"{fault} of {dataset.name}", where=where, cure="predict on the data set's own pictures")


def _shared_tail(a: Path, b: Path) -> int:
    pairs = zip(reversed(a.parts), reversed(b.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _from_results(content: object, path: Path, dataset: Dataset) -> dict[int, Saved]:
    pictures = {record.id: index for index, record in enumerate(dataset.records)}
    labels = {category.id: label for label, category in enumerate(dataset.categories)}
    saved: dict[int, Saved] = {}
    for number, row in enumerate(checked_results(content, path)):
        where = f"{path}, result {number}"
        for key, known in (("image_id", pictures), ("category_id", labels)):
            if row[key] not in known:
                raise DataError(f"{key} {row[key]} is not in {dataset.name}", where=where, cure="use its numbers")
        index = pictures[row["image_id"]]
        category = dataset.categories[labels[row["category_id"]]]
        _check_keypoints(row, category, where)
        picture = saved.setdefault(index, Saved([], [], f"{path}, image {row['image_id']}"))
        picture.labels.append(labels[row["category_id"]])
        picture.rows.append(_with_box(row, category, dataset.records[index].size, where))
    return saved


def _check_keypoints(row: Mapping[str, Any], category: Category, where: str, shorter: bool = False) -> None:
    """Raise `DataError` for another number of keypoints than the category's; ``shorter`` lists may be allowed."""
    values, count = row.get("keypoints"), len(category.keypoints)
    if not isinstance(values, list) or not count or (shorter and len(values) < 3 * count):
        return
    if len(values) != 3 * count:
        what = f"{len(values) / 3:g} keypoints, while a {category.name} has {count}"
        raise DataError(what, where=where, cure="give x, y, score for each")


def _with_box(row: dict[str, Any], category: Category, size: tuple[int, int], where: str) -> dict[str, Any]:
    """The row with a ``bbox``, else that of its mask or its keypoints, as in pycocotools' ``loadRes``."""
    if "bbox" in row:
        return row
    if "segmentation" not in row and "keypoints" in row and category.keypoints:
        xs, ys = row["keypoints"][0::3], row["keypoints"][1::3]
        return {**row, "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]}
    if "segmentation" not in row:
        raise DataError("neither bbox nor segmentation", where=where, cure="write one of them")
    try:
        x0, y0, x1, y1 = runs_box(segmentation_runs(row["segmentation"], size), size)
    except DataError as error:
        raise DataError(error.what, where=where, cure=error.cure) from None
    return {**row, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _scene(found: Saved, dataset: Dataset, index: int, parsers: Mapping[str, Parser]) -> Scene:
    """What is saved of a picture, decoded."""
    record = dataset.records[index]
    panoptic, segments = None, None
    if dataset.panoptic is not None:
        panoptic, segments = found.panoptic(record.id, record.size) if found.panoptic else no_segments(record.size)
    return Scene(
        record.size,
        dataset.categories,
        parse_regions(found.rows, found.labels, record.size, parsers, found.where),
        semantic=_semantic(found, dataset, index),
        panoptic=panoptic,
        segments=segments,
        label=found.label,
        file=str(record.file),
    )


def _semantic(found: Saved, dataset: Dataset, index: int) -> Tensor | None:
    """The saved map of a picture, where the data set has maps; no class anywhere where nothing is saved."""
    size = dataset.records[index].size
    if dataset.maps is None:
        return None
    if found.semantic is None:
        return torch.full(size, UNLABELLED, dtype=torch.int16)
    return read_map(found.semantic, dataset.categories, size)


def _carried(task: Task, saved: Mapping[int, Saved], dataset: Dataset) -> bool:
    """Whether the data set and some prediction have what the task reads; no region at all is a prediction, too."""
    if not task.annotated(dataset):
        return False
    if isinstance(task, PixelTask | ImageTask):
        return any(getattr(found, task.name, None) is not None for found in saved.values())
    if dataset.maps is not None and not any(found.rows for found in saved.values()):
        return False
    parser = {task.name: task.parse}
    examples = [
        parse_regions([row], [label], size, parser, where) for row, label, size, where in _kinds(saved, dataset)
    ]
    return not examples or any(regions.field(task.name) is not None for regions in examples)


def _kinds(saved: Mapping[int, Saved], dataset: Dataset) -> list[tuple[dict[str, Any], int, tuple[int, int], str]]:
    """One saved region for each set of keys that any has: its row, its label, its picture's size, what to name."""
    found: dict[frozenset[str], tuple[dict[str, Any], int, tuple[int, int], str]] = {}
    for index, picture in saved.items():
        for row, label in zip(picture.rows, picture.labels, strict=True):
            found.setdefault(frozenset(row), (row, label, dataset.records[index].size, picture.where))
    return list(found.values())


def _split(name: str) -> tuple[str, str]:
    group, _, rest = name.rpartition("/")
    return group, rest
