"""Meshes as files that any 3-D program opens: glTF (`.glb`) and OBJ.

Both have glTF's axes, x to the right, y up and z towards the viewer, in metres, the camera in the origin. A turn about
x by half a circle makes them of camera coordinates, so faces keep their outside.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue.errors import DataError, UsageError
from segue.files import MARK
from segue.structures import Camera, Mesh
from segue.structures.categories import Color

GLTF = torch.tensor([1.0, -1.0, -1.0])
"""Times camera coordinates: those of the files, and the other way."""

BEHIND = 1.25
"""Where the photo stands, in depths of the farthest vertex."""

UNLIT = "KHR_materials_unlit"
"""The extension of glTF by which the photo keeps its own colours; programs that lack it light it as a grey wall."""

PHOTO = "photo"


class Part(NamedTuple):
    """An object of a glTF file: its mesh, its RGB colour and its name."""

    mesh: Mesh
    color: Color
    name: str


@dataclass(frozen=True)
class Backdrop:
    """A photo behind the objects, where it fills the view of the camera that took it.

    Attributes:
        image: the photo, of the size that the camera's pixels mean.
        camera: of the photo.
    """

    image: Image.Image
    camera: Camera


def glb_bytes(parts: Sequence[Part], backdrop: Backdrop | None = None) -> bytes:
    """A binary glTF 2.0 file with objects where they stand, and maybe the photo behind them.

    Names that come again get a number. The photo is inside, as JPEG.

    Args:
        parts: the objects; those without faces are left out.
        backdrop: the photo.

    Raises:
        DataError: a vertex is not finite.
        UsageError: there is nothing to show.
    """
    import trimesh  # here, since it takes longer to import than all the rest

    scene = trimesh.Scene()
    shown = [part for part in parts if len(part.mesh.faces)]
    for name, part in zip(_distinct([part.name for part in shown]), shown, strict=True):
        scene.add_geometry(_solid(part), node_name=name, geom_name=name)
    if backdrop is not None:
        farthest = max([1.0 / BEHIND, *(float(part.mesh.vertices[:, 2].max()) for part in shown)])
        scene.add_geometry(_wall(backdrop, BEHIND * farthest), node_name=PHOTO, geom_name=PHOTO)
    if scene.is_empty:
        raise UsageError("neither an object with faces nor a photo to write", cure="pass one")
    content: bytes = scene.export(file_type="glb", tree_postprocessor=_complete)
    return content


def obj_text(mesh: Mesh) -> str:
    """An OBJ file of one mesh; raises `DataError` where a vertex is not finite."""
    text = io.StringIO()
    text.write(f"# {MARK.decode()}; metres, x right, y up, z towards the camera in the origin\n")
    np.savetxt(text, _points(mesh).numpy(), "v %.6g %.6g %.6g")
    np.savetxt(text, (mesh.faces.cpu() + 1).numpy(), "f %d %d %d")
    return text.getvalue()


def _points(mesh: Mesh) -> Tensor:
    """(V, 3) float32 in the axes of the files."""
    points = mesh.vertices.detach().cpu()
    if not points.isfinite().all():
        raise DataError("a vertex of a mesh is not finite", cure="mend the model")
    return points * GLTF


def _solid(part: Part) -> Any:
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    color = [*_linear(part.color), 255]
    paint = PBRMaterial(name=part.name, baseColorFactor=color, metallicFactor=0.0, roughnessFactor=0.8)
    faces = part.mesh.faces.cpu().numpy()
    return Trimesh(_points(part.mesh).numpy(), faces, process=False, visual=TextureVisuals(material=paint))


def _wall(backdrop: Backdrop, depth: float) -> Any:
    """The photo on two triangles at a depth in metres; its corners are those of the camera's view."""
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    photo, camera = backdrop.image.convert("RGB"), backdrop.camera
    photo.format = "JPEG"  # trimesh keeps the kind of file that a picture came from
    share = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.float64)  # of the picture: right and down
    places = (share * photo.size - camera.centre) / camera.focal * depth
    corners = np.column_stack([places, np.full(4, depth)]) * GLTF.numpy()
    uv = share * [1, -1] + [0, 1]  # trimesh counts from the bottom
    visual = TextureVisuals(uv=uv, material=PBRMaterial(name=PHOTO, baseColorTexture=photo, metallicFactor=0.0))
    return Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False, visual=visual)


def _complete(tree: dict[str, Any]) -> None:
    """Sign a glTF's JSON in front, and light no photo; in place."""
    rest = dict(tree)
    tree.clear()
    tree["asset"] = {"version": "2.0", "generator": MARK.decode()}
    tree.update({key: value for key, value in rest.items() if key != "asset"})
    for material in tree.get("materials", []):
        if "baseColorTexture" in material["pbrMetallicRoughness"]:
            material["extensions"] = {UNLIT: {}}
            tree["extensionsUsed"] = [UNLIT]


def _linear(color: Color) -> list[int]:
    """An sRGB colour in amounts of light, as glTF wants it, in [0, 255]."""
    shares = [value / 255 for value in color]
    return [round(255 * (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4)) for s in shares]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, each with a number where it has come before or is the photo's."""
    taken, result = {PHOTO}, list[str]()
    for name in names:
        number, own = 1, name
        while own in taken:
            number += 1
            own = f"{name} {number}"
        taken.add(own)
        result.append(own)
    return result
