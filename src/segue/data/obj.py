"""Wavefront OBJ: vertices and faces, and nothing else.

trimesh's reader parts vertices wherever textures or materials change, which tears closed surfaces open. The text itself
says which faces share a vertex; that is all that is wanted here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from segue.errors import DataError

VERTEX = re.compile(r"^[ \t]*v[ \t]+([^#\n]*)", re.MULTILINE)
FACE = re.compile(r"^[ \t]*f[ \t]+([^#\n]*)", re.MULTILINE)
EITHER = re.compile(r"^[ \t]*([vf])[ \t]", re.MULTILINE)


def parse_obj(text: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All vertices (V, 3) and triangles (F, 3) of a text; polygons are cut into fans from their first corner.

    Groups, materials, normals and texture coordinates are passed over, and so are colours of vertices. Negative indices
    count back from the vertices before the face.

    Raises:
        DataError: a vertex without three numbers, or a face without three whole numbers.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ")
    vertices = _vertices(VERTEX.findall(text))
    corners, counts = _corners(FACE.findall(text))
    if (counts < 3).any():
        raise DataError("a face has fewer than three corners")
    if (corners < 0).any():
        is_vertex = np.array(EITHER.findall(text)) == "v"
        before = np.cumsum(is_vertex)[~is_vertex].repeat(counts)
        corners = np.where(corners < 0, corners + before + 1, corners)
    return vertices, fans(corners - 1, counts)


def fans(corners: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Polygons, their corners in one row, ``counts`` (N,) each -> triangles (F, 3) around their first corners."""
    start = (np.cumsum(counts) - counts).repeat(counts - 2)
    ahead = np.cumsum(counts - 2) - (counts - 2)  # triangles of the polygons before
    step = np.arange(len(start)) - ahead.repeat(counts - 2)
    return np.stack([corners[start], corners[start + step + 1], corners[start + step + 2]], axis=1)


def _vertices(rows: Sequence[str]) -> NDArray[np.float64]:
    words, counts = _words(rows)
    if (counts != 3).any():  # a weight or colours follow
        words = [word for row in rows for word in row.split()[:3]]
    try:
        values = np.array(list(map(float, words)), np.float64)
    except ValueError as error:
        raise DataError(f"a vertex is no three numbers ({error})") from error
    if (counts < 3).any():
        raise DataError("a vertex has fewer than three numbers")
    return values.reshape(-1, 3)


def _corners(rows: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vertices of all faces in one row, and how many each face has; texture and normal are left out."""
    if any("/" in row for row in rows):
        rows = [re.sub(r"/\S*", "", row) for row in rows]
    words, counts = _words(rows)
    try:
        return np.array(list(map(int, words)), np.int64), counts
    except (ValueError, OverflowError) as error:
        raise DataError(f"a face's corner is no whole number ({error})") from error


def _words(rows: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """All words of some rows, and the number in each."""
    words = " ; ".join([*rows, ""]).split()
    if len(words) == 4 * len(rows) and words[3::4].count(";") == len(rows):  # as in most files, and quicker
        del words[3::4]
        return words, np.full(len(rows), 3, np.int64)
    split = [row.split() for row in rows]
    return list(chain.from_iterable(split)), np.array([len(row) for row in split], np.int64)
