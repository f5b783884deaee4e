"""Meshes on a page: beside the picture, a view in space to turn about. WebGL and nothing else, so it works offline."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue.data.mesh_write import BEHIND
from segue.drawing.colors import mix, object_colors
from segue.drawing.mesh_viewer import SCRIPT, STYLE
from segue.drawing.meshes import AMBIENT, CLAY, CREASE, TINT
from segue.drawing.page import Part, check_size, data_uri
from segue.structures import Camera, Mesh, Scene
from segue.structures.categories import Color

MOST_FACES = 200_000
"""Of all meshes of a picture; those that have no more room are only in the still picture."""
BACKDROP = 512
"""Pixels of the longer side of the photo behind the meshes."""
STEPS = 65535
"""Of a vertex's coordinate between the mesh's ends: 16 bits."""


def mesh_part(scene: Scene, image: Image.Image) -> Part:
    """The meshes to turn, with the photo behind them.

    The view begins where the camera stood. Dragging and arrow keys turn, + and - and, once it was clicked, the wheel
    come nearer, a double click goes back. A browser without WebGL says so.

    Args:
        scene: with meshes; those without camera, faces or place before the camera are left out.
        image: its plain picture.

    Raises:
        UsageError: the picture is not of the scene's size.
    """
    check_size(scene, image)
    h, w = scene.size
    view = _view(scene)
    told = "This browser shows no view in space: that needs WebGL." if view else "There is no mesh in this picture."
    canvas = (
        f'<canvas class="mesh" hidden tabindex="0" role="img" aria-label="the meshes, to turn with the arrow keys" '
        f'width="{w}" height="{h}" data-view="{html.escape(json.dumps(view))}" '
        f'data-photo="{data_uri(image, BACKDROP)}"></canvas>'
    )
    return Part("", f"{canvas if view else ''}<p>{told}</p>", STYLE, SCRIPT)


def _view(scene: Scene) -> dict[str, Any] | None:
    """What the script needs: the camera and size, how surfaces are lit, and the meshes; None without any mesh."""
    pairs = list(zip(scene.regions.meshes or [], object_colors(scene), strict=False))
    seen = _within([(mesh, color) for mesh, color in pairs if _is_placed(mesh)], MOST_FACES)
    camera = seen[0][0].camera if seen else None
    if camera is None:
        return None
    h, w = scene.size
    return {
        "size": [w, h],
        "camera": _camera(camera),
        "wall": round(BEHIND * max(float(mesh.vertices[:, 2].max()) for mesh, _ in seen), 4),
        "light": [AMBIENT, CREASE],
        "meshes": [_packed(mesh, mix(CLAY, color, TINT)) for mesh, color in seen],
    }


def _is_placed(mesh: Mesh) -> bool:
    return bool(mesh.camera and len(mesh.faces) and mesh.vertices.isfinite().all() and (mesh.vertices[:, 2] > 0).all())


def _within(pairs: Sequence[tuple[Mesh, Color]], faces: int) -> list[tuple[Mesh, Color]]:
    """The first meshes that have no more faces together."""
    ends = np.cumsum([len(mesh.faces) for mesh, _ in pairs])
    return [pair for pair, end in zip(pairs, ends, strict=True) if end <= faces]


def _camera(camera: Camera) -> list[float]:
    return [round(value, 4) for value in (camera.focal, *camera.centre)]


def _packed(mesh: Mesh, color: Color) -> dict[str, Any]:
    """Vertices as whole steps from the lower end, of 16 bits; indices of 16 bits or, where they do not fit, of 32."""
    points = mesh.vertices.detach().cpu().double()
    low, high = points.amin(dim=0), points.amax(dim=0)
    step = (high - low) / STEPS
    whole = ((points - low) / torch.where(step > 0, step, 1)).round()
    kind = "<u2" if len(points) <= STEPS + 1 else "<u4"
    return {
        "color": list(color),
        "low": _short(low),
        "step": _short(step),
        "vertices": _base64(whole.numpy().astype("<u2")),
        "faces": _base64(mesh.faces.cpu().numpy().astype(kind)),
        "wide": kind == "<u4",
    }


def _short(values: Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def _base64(values: np.ndarray[Any, np.dtype[Any]]) -> str:
    return base64.b64encode(values.tobytes()).decode()
