"""The job of `segue demo`: the bundled models on pictures that none of them has seen, and one page about it."""

from __future__ import annotations

from pathlib import Path

from segue.data.cells import write_cells
from segue.data.toybox.write import Order, write_toybox
from segue.engine.load import load
from segue.engine.page import NAME, PageWriter
from segue.engine.predict import PredictOptions, predict_files

SCENES, CELLS, SEED = 6, 3, 2026
"""The models were trained on other seeds."""


def show(folder: Path) -> Path:
    """Make toy scenes and nuclei in ``folder``, predict them into ``results``, and write a page; returns its path.

    Raises:
        UsageError: the folder cannot be written, or holds something else.
    """
    write_toybox(folder / "scenes", Order(train=0, val=SCENES, seed=SEED))
    write_cells(folder / "cells", CELLS, seed=SEED)
    page = PageWriter(folder, "What Segue sees", always=True)
    for model, pictures in (("toybox", folder / "scenes" / "images" / "val"), ("nuclei", folder / "cells")):
        predict_files(load(model), [str(pictures)], folder / "results" / model, PredictOptions(), page)
    page.close()
    return folder / NAME
