"""Public weights of other frameworks as Segue's model files: one file per family, and this list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import segue.models.checkpoints.detectron2 as detectron2
import segue.models.checkpoints.meshrcnn as meshrcnn
import segue.models.checkpoints.torchvision as torchvision
import segue.models.checkpoints.torchvision_semantic as torchvision_semantic
from segue.errors import CheckpointError, UsageError
from segue.models.checkpoints.foreign import Foreign, read_foreign
from segue.models.weights import ModelFile


@dataclass(frozen=True)
class Family:
    """Weights that share their names and their conventions.

    Attributes:
        source: the framework.
        recognises: whether names and shapes are of this family.
        convert: weights of this family as a model file; raises `CheckpointError` where some do not fit.
    """

    source: str
    recognises: Callable[[Mapping[str, Tensor]], bool]
    convert: Callable[[Foreign], ModelFile]


SOURCES = ("torchvision", "detectron2", "meshrcnn")

FAMILIES = [
    Family("meshrcnn", meshrcnn.recognises, meshrcnn.convert_meshrcnn),  # has all that detectron2's has
    Family("detectron2", detectron2.recognises, detectron2.convert_detectron2),
    Family("torchvision", torchvision.recognises, torchvision.convert_detector),
    Family("torchvision", torchvision_semantic.recognises, torchvision_semantic.convert_semantic),
]
"""In the order in which they are asked."""


def convert(path: Path, source: str | None = None) -> ModelFile:
    """Read a weights file and turn it into a model file; which family it is of follows from its names.

    Args:
        path: of the file.
        source: one of `SOURCES`, to admit only its families.

    Raises:
        CheckpointError: the file is damaged, of no known family (of this source), or does not fit its family.
        UsageError: there is no such source.
    """
    return convert_foreign(read_foreign(path), source)


def convert_foreign(foreign: Foreign, source: str | None = None) -> ModelFile:
    """As `convert`, of what was read."""
    if source is not None and source not in SOURCES:
        raise UsageError(f"unknown source {source!r}", where="--from", cure=f"allowed are {', '.join(SOURCES)}")
    for family in FAMILIES:
        if source in (None, family.source) and family.recognises(foreign.state):
            return family.convert(foreign)
    first = next(iter(foreign.state))
    raise CheckpointError(
        f"weights of no known {source or 'public'} network (the first is called {first!r})",
        where=foreign.path,
        cure=f"known are detectors and semantic networks of {', '.join(SOURCES)}",
    )


__all__ = ["FAMILIES", "SOURCES", "Family", "Foreign", "convert", "convert_foreign", "read_foreign"]
