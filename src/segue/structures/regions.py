"""The objects of a picture: boxes and whatever is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from segue.errors import DataError
from segue.structures.masks import Masks
from segue.structures.meshes import Mesh

Field = Tensor | Masks | list[Any]
"""What a task knows of N regions: a tensor (N, ...), `Masks`, or a list of N values."""


@dataclass(frozen=True)
class Regions:
    """N objects of one picture, annotated or predicted; or of a whole batch, one picture after the other.

    Attributes:
        boxes: (N, 4) float32, ``x0, y0, x1, y1`` in pixels; pixel centres lie at halves, so a mask that covers
            pixels 3 to 5 has a box from 3.0 to 6.0.
        labels: (N,) int64 indices into `Categories`.
        scores: (N,) float32 in [0, 1]; None for annotations.
        crowd: (N,) bool, COCO's ``iscrowd``; None means that none is.
        areas: (N,) float32 areas as annotated, in pixels; None means that they follow from masks or boxes.
        masks: `Masks`, one each.
        keypoints: (N, K, 3) float32, ``x, y, score or visibility``, K as of the category with the most; zeros where a
            category has fewer, and for points that are not labelled. Visibility is 1 (occluded) or 2.
        captions: one sentence each.
        meshes: `Mesh`, one each.
        extra: fields of tasks from outside the package, by the task's name.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    crowd: Tensor | None = None
    areas: Tensor | None = None
    masks: Masks | None = None
    keypoints: Tensor | None = None
    captions: list[str] | None = None
    meshes: list[Mesh] | None = None
    extra: Mapping[str, Field] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or not self.boxes.is_floating_point():
            raise DataError(f"boxes must be (N, 4) floats, not {tuple(self.boxes.shape)} {self.boxes.dtype}")
        if self.labels.shape != (len(self),) or self.labels.dtype != torch.int64:
            raise DataError(f"labels must be ({len(self)},) int64, not {tuple(self.labels.shape)} {self.labels.dtype}")
        for name, value in self.fields().items():
            if len(value) != len(self):
                raise DataError(f"{len(self)} regions but {len(value)} {name}")

    def __len__(self) -> int:
        return self.boxes.shape[0]

    def fields(self) -> dict[str, Field]:
        """Every per-region value that is there, by name, ``extra`` included."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {name: value for name, value in {**own, **self.extra}.items() if value is not None}

    def field(self, name: str) -> Field | None:
        """The field that a task of this name fills, or None."""
        return self.fields().get(name)

    def with_field(self, name: str, value: Field | None) -> Regions:
        """A copy with one field set; names that are no attribute go to ``extra``."""
        if name in {f.name for f in fields(self)} - {"extra"}:
            own: dict[str, Any] = {name: value}
            return replace(self, **own)
        extra = {k: v for k, v in self.extra.items() if k != name}
        return replace(self, extra=extra if value is None else {**extra, name: value})

    def select(self, index: Tensor) -> Regions:
        """The regions at ``index``: (M,) int64, or (N,) bool."""
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        return self._rebuilt({name: select(value, index) for name, value in self.fields().items()})

    def to(self, device: torch.device | str) -> Regions:
        """The same regions with tensors on another device."""
        moved = {n: v if isinstance(v, list) else v.to(device) for n, v in self.fields().items()}
        return self._rebuilt(moved)

    def _rebuilt(self, values: dict[str, Field]) -> Regions:
        own: dict[str, Any] = {name: v for name, v in values.items() if name not in self.extra}
        return Regions(**own, extra={name: v for name, v in values.items() if name in self.extra})

    @classmethod
    def empty(cls) -> Regions:
        """No region at all."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def cat(cls, parts: list[Regions]) -> Regions:
        """All regions of ``parts`` in order. A field stays where every part with regions has it."""
        parts = [part for part in parts if len(part)] or parts[:1] or [cls.empty()]
        names = [n for n in parts[0].fields() if all(n in part.fields() for part in parts)]
        return parts[0]._rebuilt({name: cat([part.fields()[name] for part in parts]) for name in names})


def select(value: Field, index: Tensor) -> Field:
    """The entries of a field at ``index`` (M,) int64."""
    if isinstance(value, Masks):
        return value.select(index)
    return value[index] if isinstance(value, Tensor) else [value[i] for i in index.tolist()]


def cat(values: list[Field]) -> Field:
    """The entries of several fields of one kind, in order."""
    if isinstance(values[0], Masks):
        return Masks.cat([v for v in values if isinstance(v, Masks)])
    if isinstance(values[0], Tensor):
        return torch.cat([v for v in values if isinstance(v, Tensor)])
    return [entry for v in values if isinstance(v, list) for entry in v]
