"""`segue predict`: reading, looking and writing side by side, against one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.networks import own_picture
from benchmarks.timing import Case
from segue.data.images import to_pil
from segue.engine.load import load
from segue.engine.predict import PredictOptions, predict_files

PICTURES, SIDE = 12, 1024


@cache
def folder(quick: bool) -> TemporaryDirectory[str]:
    """JPEG photos of cells, as a microscope gives them; they go with the folder."""
    held = TemporaryDirectory()
    _, picture = own_picture("nuclei", quick)
    side = picture.shape[1]
    for number in range(2 if quick else PICTURES):
        shifted = torch.roll(picture, (13 * number, 7 * number), (1, 2))
        tiles = 1 if quick else SIDE // side
        to_pil(shifted.repeat(1, tiles, tiles)).save(Path(held.name) / f"{number:02}.jpg", quality=90)
    return held


def predict(quick: bool) -> Case:
    held, model = folder(quick), load("nuclei", "cpu", "fast")
    count = len(list(Path(held.name).iterdir()))

    def run() -> Tensor:
        with TemporaryDirectory() as out:
            predict_files(model, [held.name], Path(out), PredictOptions())
            scenes = json.loads((Path(out) / "scenes.json").read_text())["scenes"]
        return torch.tensor([len(scene["regions"]) for scene in scenes])

    def in_turn() -> Tensor:
        with patch("segue.engine.predict.ahead", one_after_the_other):
            return run()

    what = f"{count} JPEG files, bundled nuclei, fast, files written"
    return Case(what, "one after the other", run, in_turn, fewest=3)


def one_after_the_other(items: Iterable[object], count: int = 2) -> Iterator[object]:
    """In place of `segue.engine.ahead.ahead`."""
    return iter(items)


CASES: dict[str, Callable[[bool], Case]] = {"predict_files": predict}
"""By name: called with ``quick``, it makes the files and the two sides."""
