"""What the zoo says of one model."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from segue.files import user_cache
from segue.models.download import WebFile

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo: a file of the package, or public weights of another framework.

    Attributes:
        name: to ask for it; that of public weights begins with their framework.
        tasks: what it fills in.
        classes: how many, and of what kind.
        metric: its published score, on what data.
        input: the order of colours, what normalises them, and the size that pictures are brought to.
        licence: of the weights.
        file: below the package, for bundled ones.
        web: the public file.
        published_megabytes: its size, if that is known before the server tells it.
    """

    name: str
    tasks: str
    classes: str
    metric: str
    input: str
    licence: str
    file: str | None = None
    web: WebFile | None = None
    published_megabytes: float | None = None

    @property
    def source(self) -> str:
        """The framework that public weights are of; empty for bundled models."""
        return self.name.partition("/")[0] if self.web else ""

    @property
    def weights(self) -> Path | None:
        """Where the public file is or would be, by its own name."""
        return user_cache() / "models" / self.name / self.web.name if self.web else None

    @property
    def path(self) -> Path:
        """The model file: bundled, or converted by this version of Segue from the public weights."""
        if self.weights:
            return self.weights.with_suffix(f".segue-{version('segue')}.safetensors")
        return BUNDLED / str(self.file)

    @property
    def megabytes(self) -> float | None:
        """Size of the file, None where it is not known."""
        place = self.weights or self.path
        return place.stat().st_size / 1e6 if place.is_file() else self.published_megabytes

    @property
    def state(self) -> Literal["bundled", "downloaded", "to download"]:
        """Where the model is."""
        if self.weights is None:
            return "bundled"
        return "downloaded" if self.path.is_file() or self.weights.is_file() else "to download"
