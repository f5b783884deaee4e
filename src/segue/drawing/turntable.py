"""Meshes on a turntable: a small moving picture that needs no 3-D program."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from segue.drawing.meshes import Surfaces, lit, projected
from segue.files import MARK
from segue.structures import Camera, Mesh
from segue.structures.categories import Color

PAPER = 250
"""Grey level of the ground."""
TILT = math.radians(15)
"""How far the camera looks down."""
DISTANCE = 5.0
"""Of the camera from the middle, in radii of the sphere around all vertices."""
MARGIN = 0.04
"""Share of the side that stays free at the border."""
SECONDS = 2.4
"""Of a full turn."""
COLORS = 64
"""In the palette of the file, which is one for all frames."""
SPARSE = 4
"""Of so many frames one is looked at for the palette: in a turn the colours hardly change."""


def turntable(meshes: Sequence[Mesh], colors: Sequence[Color], size: int = 240, frames: int = 24) -> list[Image.Image]:
    """RGB pictures of a full turn about the vertical axis through the middle of all meshes, seen from a little above.

    They turn so that their near side goes to the right.

    Args:
        meshes: N, standing to each other as in camera coordinates; their own cameras do not matter.
        colors: N RGB colours.
        size: side of the pictures in pixels.
        frames: their number.
    """
    points = torch.cat([mesh.vertices.detach().cpu() for mesh in meshes]) if meshes else torch.zeros(0, 3)
    if not len(points):
        return [Image.new("RGB", (size, size), (PAPER,) * 3) for _ in range(frames)]
    middle = (points.amin(dim=0) + points.amax(dim=0)) / 2
    radius = float((points - middle).norm(dim=1).max()) or 1.0
    focal = (0.5 - MARGIN) * size * math.sqrt(DISTANCE**2 - 1)  # the sphere fills the picture
    camera, ahead = Camera(focal, (size / 2, size / 2)), points.new_tensor([0.0, 0.0, DISTANCE])
    surfaces = Surfaces.of([mesh.moved((mesh.vertices.detach().cpu() - middle) / radius) for mesh in meshes], colors)
    pictures = []
    for frame in range(frames):
        turn = turning(2 * math.pi * frame / frames)
        places = projected(surfaces.meshes.vertices @ turn.T + ahead, camera)
        pictures.append(_on_paper(lit(surfaces, places, -ahead @ turn, (0, 0, size, size))))
    return pictures


def gif_bytes(pictures: Sequence[Image.Image], seconds: float = SECONDS) -> bytes:
    """RGB pictures of one size, at least one, as a GIF that plays them for ``seconds`` over and over."""
    some = pictures[::SPARSE]
    strip = Image.new("RGB", (pictures[0].width, sum(picture.height for picture in some)))
    for number, picture in enumerate(some):
        strip.paste(picture, (0, number * picture.height))
    palette = strip.quantize(COLORS)  # one for all, so that nothing flickers
    first, *rest = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    duration = round(1000 * seconds / len(pictures))
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=duration, loop=0, comment=MARK)
    return buffer.getvalue()


def turning(angle: float) -> Tensor:
    """(3, 3) rotation about the vertical axis (y), then by `TILT`, top towards the camera."""
    s, c = math.sin(angle), math.cos(angle)
    about = torch.tensor([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    s, c = math.sin(TILT), math.cos(TILT)
    tilt = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    return tilt @ about


def _on_paper(paint: Tensor) -> Image.Image:
    color = paint[:, :, :3] + PAPER * (1 - paint[:, :, 3:])
    return Image.fromarray(color.round().clamp(0, 255).to(torch.uint8).numpy())
