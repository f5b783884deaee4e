"""Keypoints of given boxes, averaged over quarter turns and mirrors of the picture (test-time augmentation)."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from segue.data.geometry import Geometry
from segue.data.transforms import resized_size
from segue.engine.given_boxes import decoded, given_scene, raw_outputs
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.structures import Categories, Regions, Scene


@torch.no_grad()
def read_keypoints(predictor: RegionPredictor, image: Tensor, given: Regions, file: str | None = None) -> Scene:
    """As `read_boxes`, but keypoints only, each from the mean of its map's probabilities over the eight views.

    This suits models that were trained with quarter turns.

    Raises:
        UsageError: the model knows no keypoints.
        DataError: a label outside the model's categories.
    """
    if "keypoints" not in predictor.network.heads:
        raise UsageError(f"{predictor.name} finds no keypoints", cure="take a model with the task keypoints")
    head: Any = predictor.network.heads["keypoints"]
    scene = given_scene(predictor, image, given, file)
    partners = mirrored_maps(head.maps, predictor.categories)
    maps = []
    for geometry in views(scene.size, predictor.resize):
        raw = raw_outputs(predictor, image, given.boxes, geometry)["keypoints"]
        maps.append(seen_back(raw, geometry, partners).flatten(2).log_softmax(2).view_as(raw))
    return decoded(predictor, scene, {"keypoints": torch.stack(maps).logsumexp(0)})


def views(size: tuple[int, int], resize: tuple[int, int] | None) -> list[Geometry]:
    """The four quarter turns of a picture of ``size`` (height, width), and each in a looking glass, plain one first.

    All are brought to the size that ``resize`` says (`resized_size`).
    """
    h, w = resized_size(size, resize)
    return [
        Geometry(size, t, x, y, (w, h) if t else (h, w), (0, 0, h, w) if t else (0, 0, w, h))
        for t, x, y in product((False, True), repeat=3)
    ]


def seen_back(maps: Tensor, geometry: Geometry, partners: Tensor) -> Tensor:
    """Keypoint maps (N, M, S, S) of a view -> those of the picture itself; ``partners`` as of `mirrored_maps`."""
    maps = maps.flip(2) if geometry.mirror_y else maps
    maps = maps.flip(3) if geometry.mirror_x else maps
    maps = maps.mT if geometry.transpose else maps
    return maps[:, partners] if geometry.mirrored else maps


def mirrored_maps(maps: Tensor, categories: Categories) -> Tensor:
    """(M,) which of all maps takes each one's part in a looking glass, from the map of each keypoint (C, K)."""
    partners = torch.arange(int(maps.max()) + 1, device=maps.device)
    for own, category in zip(maps, categories, strict=False):  # heads have things only, which come first
        for a, b in category.flip_pairs:
            partners[own[a]], partners[own[b]] = own[b], own[a]
    return partners
