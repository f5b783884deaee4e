"""Pix3D: meshes of furniture, and where they stand in photos (Sun et al., CVPR 2018; github.com/xingyuansun/pix3d).

``pix3d.json`` lists objects with picture, mask, model, pose and focal length; ``pix3d_s1_train.json`` and its like are
the splits of Mesh R-CNN (Gkioxari et al., ICCV 2019), the same in COCO's form. All paths start at the folder that they
are in. Pix3D's camera looks along z, with x to the left and y up; a turn about z by half a circle makes it ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch

from segue.data.layout import contained
from segue.data.mesh_files import read_mesh
from segue.data.records import Annotation
from segue.data.results import is_finite
from segue.data.voxel_files import read_voxels
from segue.errors import DataError
from segue.structures.meshes import Camera, Mesh

SENSOR = 32.0
"""mm, the width of film that Pix3D's focal lengths refer to."""

OURS = torch.tensor([-1.0, -1.0, 1.0])
"""Times Pix3D's camera coordinates: those of `Mesh`."""

BEFORE = "correct its pose, or leave its mesh out: no picture shows what is behind"

LOOSE = 1e-3  # how far the axes of a rotation may be from orthonormal


class Placed(TypedDict):
    """The ``mesh`` of an annotation: a model and where it stands before the camera, in Pix3D's axes.

    Attributes:
        file: of the model.
        rotation: 3x3, by rows.
        translation: added after the rotation.
        focal: in pixels.
        centre: x and y of the principal point in pixels.
        voxels: file of its inside.
    """

    file: str
    rotation: list[list[float]]
    translation: list[float]
    focal: float
    centre: list[float]
    voxels: NotRequired[str]


def read_meshes(annotations: Sequence[Annotation]) -> list[Mesh] | None:
    """The mesh of each annotation (see `Placed`), read from its file; an empty one where an annotation has none.

    Each lies before the camera as a whole: what is beside or behind it has no place in the picture, since that is found
    by dividing by the depth, and with the place go the features of a vertex and the frustum that holds the object.

    Returns:
        one each, in the camera coordinates of `Mesh`; None where no annotation has any.

    Raises:
        DataError: a file is missing or damaged, or a part of the object is not before the camera.
    """
    if not any("mesh" in annotation for annotation in annotations):
        return None
    return [_read(a["mesh"]) if "mesh" in a else _unknown() for a in annotations]


def place(row: Mapping[str, Any], size: tuple[int, int], folder: Path) -> Placed:
    """What an entry of Pix3D says about a mesh.

    Args:
        row: with ``model``, ``rot_mat``, ``trans_mat``, maybe ``voxel``, and ``K``, which is focal length and
            principal point in pixels, or ``focal_length`` in mm on 32 mm of film, the principal point in the middle.
        size: (height, width) of the picture.
        folder: where paths start.

    Raises:
        DataError: something is missing or makes no sense, a path leads out of the folder, or there is no such file.
    """
    focal, *centre = _camera(row, size)
    placed = Placed(
        file=existing(row.get("model"), "model", folder),
        rotation=_rotation(row.get("rot_mat")),
        translation=_numbers(row.get("trans_mat"), 3, "trans_mat"),
        focal=focal,
        centre=centre,
    )
    if row.get("voxel"):
        placed["voxels"] = existing(row["voxel"], "voxel", folder)
    return placed


def existing(name: object, key: str, folder: Path) -> str:
    """The path of a file that an entry names; raises `DataError` where there is none, or it is outside the folder."""
    if not isinstance(name, str) or not name:
        raise DataError(f"no {key!r}, the path of a file", cure="give one")
    file = contained(folder, name)
    if file is None:
        raise DataError(f"{key} {name!r:.80} leads out of {folder}", cure="put the file inside")
    if not file.is_file():
        raise DataError(f"there is no {key} {file}", cure="put the file there")
    return str(file)


def _camera(row: Mapping[str, Any], size: tuple[int, int]) -> list[float]:
    h, w = size
    if row.get("K") is not None:
        values = _numbers(row["K"], 3, "K")
    elif is_finite(row.get("focal_length")):
        values = [row["focal_length"] * w / SENSOR, w / 2, h / 2]
    else:
        raise DataError("no focal length: neither 'K' nor 'focal_length'", cure="give one, in pixels or in mm")
    if values[0] <= 0:
        raise DataError(f"the focal length is {values[0]:g}", cure="give one above 0")
    return values


def _rotation(value: object) -> list[list[float]]:
    if not isinstance(value, list) or len(value) != 3:
        raise DataError("'rot_mat' is no 3x3 matrix", cure="give a rotation by rows")
    rows = [_numbers(row, 3, "rot_mat") for row in value]
    matrix = np.array(rows)
    if abs(matrix @ matrix.T - np.eye(3)).max() > LOOSE or np.linalg.det(matrix) < 0:
        raise DataError("'rot_mat' is no rotation: its axes are not orthonormal and right-handed", cure="correct it")
    return rows


def _numbers(value: object, count: int, key: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count or not all(map(is_finite, value)):
        raise DataError(f"{key!r} is no list of {count} finite numbers", cure="correct it")
    return [float(number) for number in value]


def _read(placed: Placed) -> Mesh:
    vertices, faces = read_mesh(placed["file"])
    rotation, translation = torch.tensor(placed["rotation"]), torch.tensor(placed["translation"])
    vertices = (vertices @ rotation.T + translation) * OURS
    if vertices[:, 2].min() <= 0:
        raise DataError("a part of the object is not before the camera", where=placed["file"], cure=BEFORE)
    filling = None
    if "voxels" in placed:
        filling = (read_voxels(Path(placed["voxels"])) @ rotation.T + translation) * OURS
    x, y = placed["centre"]
    return Mesh(vertices, faces, Camera(placed["focal"], (x, y)), filling=filling)


def _unknown() -> Mesh:
    """What stands for a mesh that nobody knows."""
    return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
