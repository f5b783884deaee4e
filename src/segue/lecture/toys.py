"""The pictures and the network that several pages show; nothing of it is downloaded."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from segue.data.geometry import Geometry
from segue.data.images import to_pil, to_tensor
from segue.data.toybox.bridge import to_scene
from segue.data.toybox.captions import caption
from segue.data.toybox.render import Sample, render
from segue.data.transforms import apply_geometry
from segue.engine.load import load_trained
from segue.engine.region_predictor import RegionPredictor
from segue.structures import Camera, Mesh, Scene
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
    predictor = load_trained("toybox")
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


def whole_truth(seed: int) -> Scene:
    """As `truth`, with the sentences and the meshes of the objects."""
    scene, known = truth(seed), sample(seed)
    camera = Camera(known.camera.focal, known.camera.centre)
    meshes = [Mesh(torch.from_numpy(t.vertices).float(), torch.from_numpy(t.faces), camera) for t in known.things]
    told = ["\n".join(each.text for each in sentences) for sentences in caption(known)]
    return replace(scene, regions=replace(scene.regions, meshes=meshes, captions=told))
