"""A Toybox picture as the `Scene` that loaders make, metrics compare and drawing draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segue.data.toybox.categories import TOYBOX
from segue.data.toybox.render import Sample
from segue.structures import Masks, Regions, Scene, Segments

MOST_KEYPOINTS = max(len(category.keypoints) for category in TOYBOX)


def to_scene(sample: Sample, file: str | None = None) -> Scene:
    """The things with boxes, masks, areas and keypoints, the class and the segment of every pixel, the main label.

    Segments count from 1: first the things in their order, then the stuff in that of the categories.

    Args:
        sample: the picture.
        file: where it is.
    """
    panoptic, segments = _panoptic(sample)
    return Scene(
        size=sample.camera.size,
        categories=TOYBOX,
        regions=_regions(sample),
        semantic=torch.from_numpy(sample.semantic),
        panoptic=panoptic,
        segments=segments,
        label=sample.label,
        file=file,
    )


def _regions(sample: Sample) -> Regions:
    things = sample.things
    points = torch.zeros(len(things), MOST_KEYPOINTS, 3)
    for row, thing in zip(points, things, strict=True):
        row[: len(thing.keypoints)] = torch.from_numpy(thing.keypoints)
    return Regions(
        boxes=torch.from_numpy(np.array([thing.box for thing in things], np.float32).reshape(-1, 4)),
        labels=torch.tensor([thing.label for thing in things], dtype=torch.int64),
        areas=torch.tensor([thing.area for thing in things], dtype=torch.float32),
        masks=Masks.from_dense(torch.from_numpy(sample.masks)),
        keypoints=points,
    )


def _panoptic(sample: Sample) -> tuple[Tensor, Segments]:
    """(H, W) int32 segment of each pixel, and the segments."""
    things, labels = sample.instances, [thing.label for thing in sample.things]
    stuff = np.unique(sample.semantic[things < 0])
    behind = np.searchsorted(stuff, sample.semantic) + len(labels)
    panoptic = torch.from_numpy((np.where(things >= 0, things, behind) + 1).astype(np.int32))
    labels += stuff.tolist()
    ids = torch.arange(1, len(labels) + 1)
    return panoptic, Segments(ids, torch.tensor(labels, dtype=torch.int64))
