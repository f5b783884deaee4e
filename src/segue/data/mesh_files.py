"""Files of triangle meshes: OBJ, PLY, STL, glTF and OFF. Hostile until checked."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.data.layout import contained
from segue.data.mesh_promises import check_promises
from segue.data.obj import parse_obj
from segue.data.quiet import without_warnings
from segue.errors import DataError

FORMATS = ("obj", "ply", "stl", "glb", "gltf", "off")
"""What is read, by the ending of the file's name."""

MAX_FACES = 5_000_000
MAX_BYTES = 2**30
"""Larger files are refused before they are read."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def read_mesh(path: str | os.PathLike[str]) -> tuple[Tensor, Tensor]:
    """The surface in a file: all of its objects as one mesh, where the file places them, in the file's own axes.

    Polygons become triangles. Vertices that no face has, and faces that have a vertex twice, are left out. In all
    formats but OBJ, vertices at exactly the same place become one: those formats repeat them wherever normals or
    textures change. Textures and materials are never looked for. A glTF file may name buffers in its own folder or
    below, and nothing else is opened. The surface may be open, and an edge may have any number of faces.

    Returns:
        vertices (V, 3) float32; faces (F, 3) int64.

    Raises:
        DataError: no such file, another format, damaged or cut off, NaN or infinite vertices, faces with vertices that
            do not exist, no face, or more than `MAX_FACES`.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    try:
        if kind not in FORMATS:
            raise DataError("not a mesh in a known format", cure=f"give one of {', '.join(FORMATS)}")
        data = _content(path)
        return _checked(*(_from_obj(data) if kind == "obj" else _through_trimesh(data, kind, path.parent)))
    except DataError as error:
        raise DataError(error.what, where=path, cure=error.cure or "export the mesh again") from error
    except MemoryError as error:
        raise DataError("the mesh does not fit into memory", where=path, cure="reduce its faces") from error


class _Neighbours:
    """The files that a glTF file may name: those in its own folder and below."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> bytes:
        """The content of a file; raises `DataError` where there is none, or it lies elsewhere."""
        file = contained(self.folder, name)
        if file is None or not file.is_file():
            what = f"it names {name!r:.80}, which is no file in its own folder"
            raise DataError(what, cure="put all parts into one folder, or save the mesh as one .glb file")
        return _content(file)


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError("no such file", cure="check the path")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"larger than {MAX_BYTES // 2**20} MiB", cure="reduce the faces")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", cure="check the path") from error
    if not data:
        raise DataError("the file is empty", cure="copy it again")
    return data


def _from_obj(data: bytes) -> tuple[Floats, Ints]:
    return parse_obj(data.decode("utf-8-sig", errors="replace"))


def _through_trimesh(data: bytes, kind: str, folder: Path) -> tuple[Floats, Ints]:
    check_promises(data, kind, MAX_FACES, MAX_BYTES)
    import trimesh  # here, since it takes longer to import than all the rest

    neighbours: Any = _Neighbours(folder)  # of all that a resolver can do, trimesh's readers want this only
    try:
        with _strict(trimesh.util.log):
            options: dict[str, Any] = {"process": False, "skip_materials": True}
            return _merged(trimesh.load_scene(BytesIO(data), file_type=kind, resolver=neighbours, **options))
    except (DataError, MemoryError):
        raise
    except Exception as error:  # damaged files make its readers raise errors of every class
        told = " ".join(str(error).split())
        raise DataError(f"the mesh is damaged ({told:.100})", cure="export it again") from error


@contextmanager
def _strict(log: logging.Logger) -> Iterator[None]:
    """Numbers that numpy only half understands are errors; whatever else trimesh remarks concerns nobody."""
    with without_warnings():  # one thread at a time, as the log wants it, too
        warnings.filterwarnings("error", message="string or file could not be read")  # numpy 2.4 raises by itself
        before, log.disabled = log.disabled, True
        try:
            yield
        finally:
            log.disabled = before


def _merged(scene: Any) -> tuple[Floats, Ints]:
    """All meshes of a trimesh scene as one, each where the scene has it."""
    vertices, faces, first, total = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], 0, 0
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        own = np.asarray(getattr(mesh, "faces", ()), np.int64).reshape(-1, 3)  # lines and points have none
        total += len(own)
        if not len(own):
            continue
        _refuse_many(total)
        _refuse_strangers(own, len(mesh.vertices))
        mirrored = np.linalg.det(matrix[:3, :3]) < 0  # which turns faces inside out
        vertices.append(np.asarray(mesh.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3])
        faces.append((own[:, ::-1] if mirrored else own) + first)
        first += len(mesh.vertices)
    return _welded(np.concatenate(vertices), np.concatenate(faces))


def _welded(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Vertices at the same place made one."""
    vertices = vertices + 0.0  # no "-0"
    order = np.lexsort(vertices.T)
    ordered = vertices[order]
    new = np.ones(len(vertices), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    place = np.empty(len(vertices), np.int64)
    place[order] = np.cumsum(new) - 1
    return ordered[new], place[faces]


def _checked(vertices: Floats, faces: Ints) -> tuple[Tensor, Tensor]:
    with np.errstate(over="ignore"):
        points = vertices.astype(np.float32)
    if not np.isfinite(points).all():
        raise DataError("a vertex is NaN or infinite", cure="mend the mesh where it was made")
    _refuse_many(len(faces))
    _refuse_strangers(faces, len(points))
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    if not len(faces):
        raise DataError("the mesh has no faces", cure="export it with triangles, not only points or lines")
    used = np.zeros(len(points), bool)
    used[faces] = True
    return torch.from_numpy(points[used]), torch.from_numpy((np.cumsum(used) - 1)[faces])


def _refuse_many(faces: int) -> None:
    if faces > MAX_FACES:
        raise DataError(f"more than {MAX_FACES} faces", cure="reduce them in a 3-D program")


def _refuse_strangers(faces: Ints, vertices: int) -> None:
    if faces.size and not 0 <= faces.min() <= faces.max() < vertices:
        raise DataError(f"a face names a vertex outside of the {vertices} that there are")
