"""Narrow networks in detectron2's layout, what the originals computed with them, and files that must be refused.

The stored stages come from ``tools/parity_detectron2.py --fixtures``.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segue.engine.load import build
from segue.engine.region_predictor import RegionPredictor
from segue.errors import CheckpointError
from segue.models.checkpoints import convert
from segue.models.checkpoints.seeded import seeded_picture
from segue.models.weights import load_state
from tools.detectron2_stages import seeded_detector
from tools.parity_detectron2 import PICTURE

FIXTURES = Path(__file__).parent / "fixtures"

Changes = Mapping[str, tuple[int, ...] | None]
"""Weights to put in place of those of a name, by their shape; None to leave one out."""


@cache
def stored(kind: str) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """The original's stages, and the shapes of its weights."""
    with np.load(FIXTURES / f"detectron2_{kind}.npz", allow_pickle=False) as file:
        shapes = json.loads(file["shapes"].tobytes())
        stages = {name: torch.from_numpy(file[name]) for name in file.files if name != "shapes"}
    whole = {name: t.long() if t.dtype == torch.int16 else t for name, t in stages.items()}
    return {**whole, "picture": seeded_picture("fixture", PICTURE)}, shapes


def state_of(kind: str, std: float = 1.0) -> dict[str, Tensor]:
    """The weights of which the stages are."""
    return seeded_detector(stored(kind)[1], std)


def saved(folder: Path, state: Any, name: str = "model_final.pth") -> Path:
    """A file with the state."""
    path = folder / name
    torch.save(state, path)
    return path


def loaded(path: Path) -> RegionPredictor:
    """What Segue makes of a file."""
    file = convert(path)
    predictor = build(file, str(path))
    load_state(predictor.network, file.state, path)
    assert isinstance(predictor, RegionPredictor)
    return predictor


def refused_in_one_line(path: Path, state: dict[str, Tensor], changes: Changes, message: str) -> None:
    """Weights with these changes are not converted, and the error says why."""
    zeros = {name: torch.zeros(shape) for name, shape in changes.items() if shape is not None}
    kept = {name: tensor for name, tensor in state.items() if name not in changes}
    torch.save({"model": {**kept, **zeros}}, path)
    with pytest.raises(CheckpointError, match=message) as error:
        convert(path)
    assert "\n" not in str(error.value)
