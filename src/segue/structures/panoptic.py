"""What the numbers in a panoptic map mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segue.errors import DataError

ID_LIMIT = 2**24
"""Segment numbers lie below it: files store them as colours, R + 256 G + 65536 B."""


@dataclass(frozen=True)
class Segments:
    """The N segments of one panoptic map, things and stuff, in the order of their file; 0 in the map is no segment.

    Attributes:
        ids: (N,) int64 numbers in the map, 1 to 2**24 - 1, each once.
        labels: (N,) int64 indices into `Categories`.
        scores: (N,) float32 in [0, 1]; None for annotations.
        crowd: (N,) bool, COCO's ``iscrowd``; None means that none is.
        areas: (N,) int64 areas as annotated, in pixels; None means that they follow from the map.
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor | None = None
    crowd: Tensor | None = None
    areas: Tensor | None = None

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.ids.dtype != torch.int64:
            raise DataError(f"segment ids must be (N,) int64, not {tuple(self.ids.shape)} {self.ids.dtype}")
        for name in ("labels", "scores", "crowd", "areas"):
            values = getattr(self, name)
            if values is not None and values.shape != self.ids.shape:
                raise DataError(f"{len(self)} segments but {name} of shape {tuple(values.shape)}")
        if self.labels.dtype != torch.int64:
            raise DataError(f"segment labels must be int64, not {self.labels.dtype}")
        ordered = self.ids.sort().values
        if len(self) and not 0 < int(ordered[0]) <= int(ordered[-1]) < ID_LIMIT:
            raise DataError(f"segments {int(ordered[0])} to {int(ordered[-1])}", cure=f"count 1 to {ID_LIMIT - 1}")
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise DataError(f"segment {int(twice[0])} occurs more than once", cure="give each its own number")

    def __len__(self) -> int:
        return self.ids.shape[0]

    def places(self, ids: Tensor) -> Tensor:
        """Where these ids, int64 of any shape, stand among the segments: -1 for 0; `DataError` for unknown ones.

        All on the CPU.
        """
        known, wanted = np.append(0, self.ids.numpy()), ids.numpy()
        order = known.argsort()
        known = known[order]
        place = np.searchsorted(known, wanted).clip(max=len(self))
        unknown = known[place] != wanted
        if unknown.any():
            what = f"number {wanted[unknown][0]} is in the panoptic map, but is none of its segments"
            raise DataError(what, cure="list it among the segments, or set its pixels to 0")
        return torch.from_numpy(order[place] - 1)

    def is_crowd(self) -> Tensor:
        """(N,) bool: ``crowd``, or all False."""
        return torch.zeros_like(self.ids, dtype=torch.bool) if self.crowd is None else self.crowd

    def to(self, device: torch.device | str) -> Segments:
        """The same segments with tensors on another device."""
        scores, crowd, areas = (v if v is None else v.to(device) for v in (self.scores, self.crowd, self.areas))
        return Segments(self.ids.to(device), self.labels.to(device), scores, crowd, areas)
