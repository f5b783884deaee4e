"""The pictures and the network that several pages show; nothing of it is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segue.data.geometry import Geometry
from segue.data.images import to_pil, to_tensor
from segue.data.toybox.bridge import to_scene
from segue.data.toybox.render import Sample, render
from segue.data.transforms import apply_geometry
from segue.engine.load import load
from segue.engine.region_predictor import RegionPredictor
from segue.structures import Scene
from segue.tasks import TASKS

SQUARE = torch.tensor([[1.0, 2], [3, 4]])
"""The input of the slides about upsampling."""

STREET, PAIR = 2006, 2009
"""Scenes of Toybox that no network here was trained on: many kinds of things; two people behind a ring."""

LARGER = 2
"""Toybox's pictures are shown so many times larger."""


@cache
def sample(seed: int) -> Sample:
    """The picture of Toybox with this number and all that is known of it."""
    return render(seed)


def pixels(seed: int) -> Tensor:
    """(3, H, W) uint8 of a picture."""
    return to_tensor(sample(seed).image)


def truth(seed: int) -> Scene:
    """The annotation of a picture."""
    return to_scene(sample(seed))


@cache
def toybox() -> RegionPredictor:
    """The bundled network with all heads, on the CPU."""
    predictor = load("toybox", "cpu")
    assert isinstance(predictor, RegionPredictor)  # what the bundled file holds
    return predictor


@cache
def found(seed: int) -> Scene:
    """What the bundled network finds in a picture."""
    scene: Scene = toybox().predict(sample(seed).image)
    return scene


def enlarged(seed: int, scene: Scene) -> tuple[Image.Image, Scene]:
    """A picture and a scene of it, both `LARGER`, so that there is room for names."""
    size = (LARGER * scene.size[0], LARGER * scene.size[1])
    geometry, transforms = Geometry.resize(scene.size, size), {task.name: task.transform for task in TASKS}
    image, regions = apply_geometry(pixels(seed), scene.regions, geometry, transforms, 0.0)
    semantic = None if scene.semantic is None else geometry.label_map(scene.semantic, -1)
    panoptic = None if scene.panoptic is None else geometry.label_map(scene.panoptic, 0)
    larger = replace(scene, size=size, regions=regions, semantic=semantic, panoptic=panoptic, confidence=None)
    return to_pil(image), larger


def blown_up(image: Image.Image, side: int) -> Image.Image:
    """A small picture with its pixels as squares, about ``side`` pixels wide."""
    factor = max(1, round(side / image.width))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def multiply_adds(function: Callable[..., Any], *inputs: Any) -> int:
    """Of the convolutions and matrix products of a call, counted as it runs."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*inputs)
    return int(counter.get_total_flops()) // 2
