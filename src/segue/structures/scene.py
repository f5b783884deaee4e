"""One picture's content: the type that loaders make, models make, metrics compare and drawing draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.errors import DataError
from segue.structures.categories import Categories
from segue.structures.masks import Masks
from segue.structures.panoptic import Segments
from segue.structures.regions import Regions


@dataclass(frozen=True)
class Scene:
    """What a picture holds, as annotated or as predicted.

    Attributes:
        size: (height, width) of the picture in pixels, after its EXIF rotation.
        categories: what the labels mean.
        regions: the objects.
        semantic: (H, W) int16 category indices, -1 where unlabelled, or None.
        confidence: (H, W) float32 probability of the label in ``semantic``, in [0, 1], or None.
        panoptic: (H, W) int32 (or int64) segment ids, 0 where no segment is, or None.
        segments: what the ids in ``panoptic`` mean; there exactly where that is.
        label: the one word for the whole picture, or None.
        file: where the picture came from, or None.
    """

    size: tuple[int, int]
    categories: Categories
    regions: Regions
    semantic: Tensor | None = None
    confidence: Tensor | None = None
    panoptic: Tensor | None = None
    segments: Segments | None = None
    label: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise DataError(f"a scene of size {self.size} has no pixel", where=self.file)
        for name in ("semantic", "confidence", "panoptic"):
            plane = getattr(self, name)
            if plane is not None and tuple(plane.shape) != self.size:
                raise DataError(f"{name} map is {tuple(plane.shape)}, the picture {self.size}", where=self.file)
        masks = self.regions.masks
        if isinstance(masks, Masks) and len(masks) and masks.size != self.size:
            raise DataError(f"masks are on a {masks.size} canvas, the picture is {self.size}", where=self.file)
        if (self.panoptic is None) != (self.segments is None):
            raise DataError("of panoptic map and segments, one is missing", where=self.file, cure="give both")
        for labels in (self.regions.labels, *([self.segments.labels] if self.segments else [])):
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.categories):
                raise DataError(f"a label is outside the {len(self.categories)} categories", where=self.file)

    def with_field(self, name: str, value: Tensor | str | None) -> Scene:
        """A copy with one of the maps, or the label, set."""
        own: dict[str, Any] = {name: value}
        return replace(self, **own)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write scenes.json and, where ``file`` can still be read, an overlay into a folder, as `segue predict` does.

        Raises:
            UsageError: the folder cannot be written, or the file holds another picture now.
        """
        from segue.engine.picture import save  # these imports alone go up: drawing and writing know the tasks

        save(self, Path(folder))

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the scene over its picture, or over gray where ``file`` cannot be read any more."""
        from segue.engine.picture import shown

        return shown(self)

    def __repr__(self) -> str:
        h, w = self.size
        count = f", {len(self.regions)} regions" if len(self.regions) or self.semantic is None else ""
        label = f", label {self.label}" if self.label else ""
        lines = [f"Scene {w}x{h}{label}{count}{f' of {self.file}' if self.file else ''}"]
        scores = self.regions.scores
        for i in range(min(10, len(self.regions))):
            score = "" if scores is None else f" {float(scores[i]):.2f}"
            x0, y0, x1, y1 = (round(v, 1) for v in self.regions.boxes[i].tolist())
            lines.append(f"  {self.categories[int(self.regions.labels[i])].name}{score}  box {x0} {y0} {x1} {y1}")
        if len(self.regions) > 10:
            lines.append(f"  ... and {len(self.regions) - 10} more")
        return "\n".join(lines + [f"  {name} {100 * share:.1f} %" for name, share in self._shares()])

    def _shares(self) -> list[tuple[str, float]]:
        """The classes that occur in the semantic map with their share of the picture, the largest first."""
        if self.semantic is None:
            return []
        pixels = (self.semantic.flatten().long() + 1).bincount(minlength=len(self.categories) + 1)
        shares = zip(["unlabelled", *self.categories.names], (pixels / pixels.sum()).tolist(), strict=True)
        return sorted((pair for pair in shares if pair[1]), key=lambda pair: -pair[1])
