"""The files of meshes beside scenes.json, and what its entries say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from segue.data.mesh_files import read_mesh
from segue.data.mesh_write import GLTF, Backdrop, Part, glb_bytes, obj_text
from segue.data.pix3d import read_meshes
from segue.data.results import is_finite
from segue.drawing import gif_bytes, object_colors, turntable
from segue.errors import DataError
from segue.structures import Camera, Mesh, Regions, Scene
from segue.tasks.task import File, RegionFiles


def mesh_files(scene: Scene, image: Image.Image | None) -> RegionFiles:
    """Each mesh as ``.glb`` and ``.obj``; with the picture, also all in front of it, and a turntable.

    Meshes without faces have no file.

    Args:
        scene: with meshes.
        image: its plain picture.

    Raises:
        DataError: a vertex is not finite.
    """
    meshes, labels = scene.regions.meshes or [], scene.regions.labels.tolist()
    names = [scene.categories[label].name for label in labels]
    parts = [Part(*part) for part in zip(meshes, object_colors(scene), names, strict=True)]
    regions = [_own_files(part) if len(part.mesh.faces) else {} for part in parts]
    shown = [part for part in parts if len(part.mesh.faces)]
    return RegionFiles(regions, {} if image is None or not shown else _scene_files(shown, image))


def mesh_entries(regions: Regions) -> list[dict[str, Any]]:
    """What a region's entry says of its mesh besides the file.

    ``camera`` is focal length and principal point in pixels, ``span`` the nearest and the farthest depth assumed.
    """
    return [_entry(mesh) for mesh in regions.meshes or []]


def parse_meshes(rows: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[Mesh] | None:
    """The meshes of annotations (`segue.data.pix3d.read_meshes`), or those that entries of scenes.json name.

    Raises:
        DataError: a file is missing or damaged, or camera or span make no sense.
    """
    if any(isinstance(row.get("mesh"), Path) for row in rows):
        return [_saved(row) for row in rows]
    return read_meshes(rows)


def _own_files(part: Part) -> dict[str, File]:
    return {"mesh": File("glb", glb_bytes([part])), "mesh_obj": File("obj", obj_text(part.mesh).encode())}


def _scene_files(parts: Sequence[Part], image: Image.Image) -> dict[str, File]:
    camera = next((part.mesh.camera for part in parts if part.mesh.camera is not None), None)
    placed = glb_bytes(parts, None if camera is None else Backdrop(image, camera))
    turning = gif_bytes(turntable([part.mesh for part in parts], [part.color for part in parts]))
    return {"meshes": File("scene.glb", placed), "turntable": File("turntable.gif", turning)}


def _entry(mesh: Mesh) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if mesh.camera is not None:
        entry["camera"] = [round(value, 4) for value in (mesh.camera.focal, *mesh.camera.centre)]
    if mesh.span is not None:
        entry["span"] = [round(depth, 6) for depth in mesh.span]
    return entry


def _saved(row: Mapping[str, Any]) -> Mesh:
    seen, depths = _numbers(row, "camera", 3), _numbers(row, "span", 2)
    camera = None if seen is None else Camera(seen[0], (seen[1], seen[2]))
    span = None if depths is None else (depths[0], depths[1])
    if not isinstance(row.get("mesh"), Path):
        return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), camera, span)
    vertices, faces = read_mesh(row["mesh"])
    return Mesh(vertices * GLTF, faces, camera, span)


def _numbers(row: Mapping[str, Any], key: str, count: int) -> list[float] | None:
    """Finite numbers of which the first is above 0, as focal lengths and depths are; None where there are none."""
    values = row.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != count or not all(map(is_finite, values)) or values[0] <= 0:
        raise DataError(f"{key} {values!r:.80} is no list of {count} numbers, the first above 0", cure="predict again")
    return [float(value) for value in values]
