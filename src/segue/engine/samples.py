"""Pictures of targets beside predictions, written while a model trains."""

from __future__ import annotations

import io
from pathlib import Path

from segue.data.dataset import Dataset
from segue.data.images import to_pil
from segue.drawing import contact_sheet, side_by_side
from segue.engine.picture import draw
from segue.engine.predictor import Predictor
from segue.files import atomic_write


def write_samples(predictor: Predictor, dataset: Dataset, path: Path, count: int = 4, threshold: float = 0.5) -> None:
    """Target and prediction of ``count`` pictures spread over a data set, as one PNG."""
    step = max(1, len(dataset) // count)
    sheets = []
    for index in range(0, min(len(dataset), step * count), step):
        pixels = dataset.image(index)
        image = to_pil(pixels)
        truth = dataset.scene(index)
        predicted = predictor.scenes([(pixels, truth.file)], threshold)[0]
        pair = [draw(scene, image, predictor.tasks) for scene in (truth, predicted)]
        sheets.append(side_by_side(pair[0], pair[1], ("target", "prediction")))
    buffer = io.BytesIO()
    contact_sheet(sheets, columns=1).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
