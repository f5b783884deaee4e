"""What the header of a mesh file promises, held against its content: trimesh takes part of a file for the whole."""

from __future__ import annotations

import json
import re
from typing import Any

from segue.errors import DataError

CUT = "the file is cut off or damaged"
AGAIN = "copy or export it again"
STL_HEADER, STL_FACE = 84, 50  # bytes


def check_promises(data: bytes, kind: str, max_faces: int, max_bytes: int) -> None:
    """Refuse what trimesh would read in part, wrongly, or with more memory than the file itself takes.

    Args:
        data: content of the file.
        kind: its format, any but OBJ, which promises nothing.
        max_faces: that are allowed.
        max_bytes: of all parts of a glTF file.

    Raises:
        DataError: the content is shorter than promised, or glTF is compressed, sparse or too large.
    """
    if kind == "stl" and not _is_binary_stl(data) and not _last_line(data).startswith(b"endsolid"):
        raise DataError(CUT, cure=AGAIN)
    if kind == "ply":
        _check_ply(data)
    if kind == "off":
        _check_off(data)
    if kind in ("glb", "gltf"):
        _check_gltf(_gltf_header(data, kind), max_faces, max_bytes)


def _is_binary_stl(data: bytes) -> bool:
    return len(data) == STL_HEADER + STL_FACE * int.from_bytes(data[80:STL_HEADER], "little")


def _last_line(data: bytes) -> bytes:
    return data.rstrip().rpartition(b"\n")[2].strip().lower()


def _check_ply(data: bytes) -> None:
    """Text has a line for each element; of binary files trimesh compares the length itself."""
    header, _, body = data.partition(b"end_header")
    promised = sum(map(int, re.findall(rb"element\s+\S+\s+(\d+)", header)))
    if not body or (b"ascii" in header and len(_lines(body)) < promised):
        raise DataError(CUT, cure=AGAIN)


def _check_off(data: bytes) -> None:
    lines = _lines(re.sub(rb"#[^\n]*", b"", data).partition(b"OFF")[2])
    counts = lines[0].split() if lines else []
    if len(counts) < 2 or not all(count.isdigit() for count in counts) or len(lines) <= sum(map(int, counts[:2])):
        raise DataError(CUT, cure=AGAIN)


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines() if line.strip()]


def _gltf_header(data: bytes, kind: str) -> Any:
    text = data[20 : 20 + int.from_bytes(data[12:16], "little")] if kind == "glb" else data
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"no glTF header in it ({error})", cure=AGAIN) from error


def _check_gltf(header: Any, max_faces: int, max_bytes: int) -> None:
    try:
        accessors, views = header.get("accessors", []), header.get("bufferViews", [])
        if any("bufferView" not in accessor or "sparse" in accessor for accessor in accessors):
            raise DataError("compressed and sparse glTF is not read", cure="export it without compression")
        values = sum(abs(accessor["count"]) for accessor in accessors)
        size = sum(abs(view["byteLength"]) for view in views)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError("its glTF header makes no sense", cure=AGAIN) from error
    if values > 8 * max_faces or size > max_bytes:  # three corners a face, and positions, normals and such a vertex
        raise DataError("it promises more than can be read", cure="reduce its faces")
