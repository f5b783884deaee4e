"""The jobs of `segue data`: look at a data set, list its faults."""

from __future__ import annotations

import io
from pathlib import Path

from segue.data.dataset import Dataset, check_dataset, open_dataset, statistics
from segue.data.images import to_pil
from segue.data.joined import beside
from segue.drawing import contact_sheet
from segue.engine.picture import draw
from segue.files import atomic_write
from segue.tasks import all_tasks

BESIDE = ("person_keypoints", "panoptic", "visual_genome", "pix3d", "labels")
"""Kinds of files that are read together with the instances of the same pictures."""


def show(reference: str, images: str | None, out: Path | None, count: int = 12) -> str:
    """Statistics as text; with ``out``, a contact sheet of ``count`` pictures spread over the set.

    The pictures show panoptic maps and labels of files beside the instances, too; the text speaks of those alone.
    """
    parsers = {task.name: task.parse for task in all_tasks()}
    dataset = open_dataset(reference, parsers, images)
    if out is not None and len(dataset):
        write_sheet(open_dataset(reference, parsers, images, panoptic=True, labels=True), out, count)
    return statistics(dataset)


def write_sheet(dataset: Dataset, out: Path, count: int) -> None:
    """Write a contact sheet of up to ``count`` pictures with what is known of them."""
    step = max(1, len(dataset) // count)
    chosen = range(0, min(len(dataset), step * count), step)
    pictures = [draw(dataset.scene(i), to_pil(dataset.image(i))) for i in chosen]
    titles = [dataset.records[i].file.name[:24] for i in chosen]
    buffer = io.BytesIO()
    contact_sheet(pictures, columns=4, titles=titles).save(buffer, "PNG")
    atomic_write(out, buffer.getvalue())


def check(reference: str, images: str | None) -> tuple[str, int]:
    """Every fault of a data set as text, and how many are fatal; also of the files beside it about the same pictures.

    Raises:
        DataError: there is no such set, or a panoptic file beside it makes no sense.
    """
    first = check_dataset(reference, images)
    others = [file for kind in BESIDE if (file := beside(first.path, kind))]
    reports = [first, *(check_dataset(str(file), images) for file in others)]
    fatal = [fault for report in reports for fault in report.faults if fault.fatal]
    return "\n".join(report.to_text() for report in reports), len(fatal)
