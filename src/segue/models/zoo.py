"""The models that can be asked for by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from segue.errors import CheckpointError, UsageError

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo.

    Attributes:
        name: to ask for it.
        tasks: what it fills in.
        classes: how many, and of what kind.
        metric: its published score, on what data.
        licence: of the weights.
        file: below the package, for bundled ones.
    """

    name: str
    tasks: str
    classes: str
    metric: str
    licence: str
    file: str

    @property
    def path(self) -> Path:
        """The bundled file."""
        return BUNDLED / self.file

    @property
    def megabytes(self) -> float:
        """Size of the file."""
        return self.path.stat().st_size / 1e6 if self.path.exists() else 0.0


ZOO = [
    ZooModel(
        name="nuclei",
        tasks="boxes, masks",
        classes="1 (nucleus)",
        metric="matching/AP50 0.783 on dsb2018:val",
        licence="Apache-2.0 (trained on CC0 data)",
        file="nuclei.safetensors",
    ),
    ZooModel(
        name="toybox",
        tasks="boxes, masks, keypoints, semantic, panoptic",
        classes="13 things, 6 stuff",
        metric="PQ 0.829, masks/AP 0.694 on toybox:val",
        licence="Apache-2.0 (trained on Toybox)",
        file="toybox.safetensors",
    ),
]


def find_model(name: str) -> Path:
    """The file behind a zoo name, a path of a file, or a run folder (its best weights, else its last)."""
    for model in ZOO:
        if model.name == name:
            return model.path
    path = Path(name)
    if path.is_dir():
        for candidate in (path / "best.safetensors", path / "last.safetensors"):
            if candidate.is_file():
                return candidate
        raise CheckpointError("no best.safetensors or last.safetensors in it", where=path, cure="name a run folder")
    if path.suffix or path.exists() or "/" in name:
        return path
    near = difflib.get_close_matches(name, [m.name for m in ZOO], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown model {name!r}", cure=f"{hint}see `segue models`, or give a file or run folder")
