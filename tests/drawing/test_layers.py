"""What tasks paint, taken apart into layers; and the switches that turn them on a page."""

from __future__ import annotations

import re

import numpy as np
import torch
from PIL import Image, ImageDraw

from segue.drawing import draw_boxes
from segue.drawing.layers import layer, switches
from segue.drawing.page import page_of
from segue.structures import Categories, Regions, Scene

SCENE = Scene((40, 60), Categories.from_names(["mug"]), Regions.empty())


def half_red(image: Image.Image, scene: Scene) -> Image.Image:
    """The left half with as much red as picture, a line of white that hides it."""
    image = image.copy()
    image.paste(Image.blend(image, Image.new("RGB", image.size, (255, 0, 0)), 0.5).crop((0, 0, 30, 40)), (0, 0))
    ImageDraw.Draw(image).line((0, 20, 59, 20), fill="white")
    return image


def test_a_layer_over_any_picture_is_what_the_task_paints_there() -> None:
    found = layer(half_red, SCENE)
    alpha = np.asarray(found)[..., 3]
    assert set(np.unique(alpha).tolist()) <= {0, 127, 128, 255}
    assert (alpha[20] == 255).all()
    assert (alpha[:20, 30:] == 0).all()
    noise = torch.randint(0, 256, (40, 60, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    photo = Image.fromarray(noise)
    together = Image.alpha_composite(photo.convert("RGBA"), found).convert("RGB")
    painted = half_red(photo, SCENE)
    assert np.abs(np.asarray(together, np.int16) - np.asarray(painted, np.int16)).max() <= 2


def test_a_layer_of_boxes_is_clear_between_the_lines() -> None:
    boxes = torch.tensor([[10.0, 5.0, 50.0, 35.0]])
    found = layer(lambda image, scene: draw_boxes(image, boxes, [(255, 200, 0)], [""]), SCENE)
    alpha = np.asarray(found)[..., 3]
    assert alpha[20, 30] == 0
    assert alpha[20, 8:13].max() == 255


def test_each_task_has_a_switch_and_a_hostile_name_stays_a_name() -> None:
    page = page_of([switches({"masks": True, "panoptic": False, '"><script>alert(1)</script>': True})])
    assert re.findall(r'name="([^"]*)"( checked)?>', page)[:2] == [("masks", " checked"), ("panoptic", "")]
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
