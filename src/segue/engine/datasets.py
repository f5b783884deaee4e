"""The jobs of `segue data`: look at a data set, list its faults."""

from __future__ import annotations

import io
from pathlib import Path

from segue.data.dataset import check_dataset, open_dataset, statistics
from segue.data.images import to_pil
from segue.drawing import contact_sheet
from segue.engine.picture import draw
from segue.files import atomic_write
from segue.tasks import all_tasks


def show(reference: str, images: str | None, out: Path | None, count: int = 12) -> str:
    """Statistics as text; with ``out``, a contact sheet of ``count`` pictures spread over the set."""
    dataset = open_dataset(reference, {task.name: task.parse for task in all_tasks()}, images)
    if out is not None and len(dataset):
        step = max(1, len(dataset) // count)
        chosen = range(0, min(len(dataset), step * count), step)
        pictures = [draw(dataset.scene(i), to_pil(dataset.image(i))) for i in chosen]
        titles = [dataset.records[i].file.name[:24] for i in chosen]
        buffer = io.BytesIO()
        contact_sheet(pictures, columns=4, titles=titles).save(buffer, "PNG")
        atomic_write(out, buffer.getvalue())
    return statistics(dataset)


def check(reference: str, images: str | None) -> tuple[str, int]:
    """Every fault of a data set as text, and how many are fatal."""
    report = check_dataset(reference, images)
    return report.to_text(), len([fault for fault in report.faults if fault.fatal])
