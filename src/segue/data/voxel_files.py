"""Files of filled voxels, MATLAB's and numpy's. Hostile until checked."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segue.errors import DataError

MAX_VOXELS = 512**3
NAME = "voxel"
CURE = "copy it again"


def read_voxels(path: Path) -> Tensor:
    """The centres of the filled voxels of a Pix3D model, in the axes and the scale of its mesh.

    Pix3D's grids go left, away from the front, and up; its models left, up and inwards. Their middle is the origin,
    and the farthest voxel is at one half, as in Mesh R-CNN's ``read_voxel``.

    Args:
        path: ``.mat`` or ``.npz``, with an array ``voxel`` (X, Y, Z) that is above 0 inside.

    Returns:
        (P, 3) float32.

    Raises:
        DataError: no such file, another format or content, or nothing is filled.
    """
    try:
        grid = _read(path)
    except DataError as error:
        raise DataError(error.what, where=path, cure=error.cure or CURE) from error
    except Exception as error:  # damaged files make the readers raise errors of every class
        told = " ".join(str(error).split())
        raise DataError(f"the voxels are damaged ({told:.100})", where=path, cure=CURE) from error
    index = np.argwhere(grid > 0)
    if not len(index):
        raise DataError("no voxel is filled", where=path, cure=CURE)
    points = index - (index.min(axis=0) + index.max(axis=0)) / 2
    farthest = np.linalg.norm(points, axis=1).max()
    points = points[:, [0, 2, 1]] * (1, 1, -1) / (2 * farthest or 1)
    return torch.from_numpy(points.astype(np.float32))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise DataError("no such file", cure="check the path")
    if path.suffix.lower() == ".mat":
        return _from_matlab(path)
    if path.suffix.lower() == ".npz":
        return _from_numpy(path)
    raise DataError("not voxels in a known format", cure="give .mat or .npz")


def _from_matlab(path: Path) -> Any:
    from scipy.io import loadmat, whosmat  # here, since few need it and it takes a while to import

    _check({name: shape for name, shape, kind in whosmat(path)})
    return _checked(loadmat(path, variable_names=[NAME])[NAME])


def _from_numpy(path: Path) -> Any:
    with zipfile.ZipFile(path) as parts:
        if sum(part.file_size for part in parts.infolist()) > 8 * MAX_VOXELS:
            raise DataError("it unpacks to more than can be read")
    with np.load(path, allow_pickle=False) as arrays:
        return _checked(arrays[NAME])


def _check(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse too many voxels before they are unpacked."""
    if NAME not in shapes:
        raise DataError(f"there is no array {NAME!r} in it")
    if np.prod([float(side) for side in shapes[NAME]]) > MAX_VOXELS:
        raise DataError(f"more than {MAX_VOXELS} voxels", cure="use a coarser grid")


def _checked(grid: Any) -> Any:
    if getattr(grid, "ndim", 0) != 3 or grid.dtype.kind not in "buif":
        raise DataError(f"{NAME!r} is no (X, Y, Z) array of numbers")
    return grid
