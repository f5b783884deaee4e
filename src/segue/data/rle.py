"""COCO segmentations (polygons and run lengths) to packed masks and back. Nothing in them is trusted.

A mask's runs count pixels column by column, off and on in turn, starting with off. The string form packs them five
bits to a character; from the fourth run on it stores the difference to the run two before (COCO API, ``maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hotcoco import mask as coco_mask
from numpy.typing import NDArray

from segue.errors import DataError
from segue.structures import Masks

Runs = NDArray[np.int64]
Size = tuple[int, int]

MAX_DIGITS = 7  # characters per run: 35 bits, more than any picture has pixels


def decode_segmentations(segmentations: Sequence[object], size: Size, where: str) -> Masks:
    """COCO ``segmentation`` values of one picture as N packed masks.

    Args:
        segmentations: N of: a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, or a run-length dict with ``size``
            [height, width] and ``counts`` (compressed string or list).
        size: (height, width) of the picture.
        where: what to name in errors; the number of the object is added.

    Raises:
        DataError: a value that is neither, or any of the faults in `segmentation_runs`.
    """
    boxes, bits = [], []
    for number, segmentation in enumerate(segmentations):
        try:
            box, window = _window(segmentation_runs(segmentation, size), size)
        except DataError as error:
            raise DataError(error.what, where=f"{where}, object {number}", cure=error.cure) from error
        boxes.append(box)
        bits.append(window)
    return Masks(
        size,
        torch.tensor(boxes, dtype=torch.int64).reshape(-1, 4),
        torch.from_numpy(np.concatenate([np.zeros(0, bool), *bits])),
    )


def encode_masks(masks: Masks) -> list[dict[str, Any]]:
    """Compressed run lengths of N masks: ``{"size": [height, width], "counts": string}`` each.

    Works on the packed windows; no dense mask is made.
    """
    windows, corners = masks.to("cpu").windows(), masks.boxes[:, :2].tolist()
    return [
        _compress(_runs_of(window.numpy(), corner, masks.size), masks.size)
        for window, corner in zip(windows, corners, strict=True)
    ]


def _runs_of(window: NDArray[np.bool_], corner: Sequence[int], size: Size) -> Runs:
    """The runs of a mask that is set in a window (h, w) only, whose ``corner`` lies at x, y of the picture."""
    h, w = window.shape
    columns = np.zeros((w, h + 2), np.int8)  # an unset pixel above and below each, so that no run goes on there
    columns[:, 1:-1] = window.T
    column, row = np.divmod(np.flatnonzero(np.diff(columns.ravel())), h + 2)
    edges = ((column + corner[0]) * size[0] + row + corner[1]).reshape(-1, 2)  # on from, off from
    on = np.flatnonzero(edges[1:, 0] != edges[:-1, 1]) + 1  # in a window of full height a run does go on
    edges = np.stack([edges[[0, *on], 0], edges[[*(on - 1), -1], 1]], axis=1) if len(edges) else edges
    return np.diff(edges.ravel(), prepend=0, append=size[0] * size[1])


def segmentation_runs(segmentation: object, size: Size) -> Runs:
    """The runs of one COCO ``segmentation``: (R,) int64, not negative, as many pixels in all as the picture has.

    Raises:
        DataError: not a segmentation; fewer than three points; an odd count of numbers; numbers that are NaN,
            infinite or far outside; runs of another size, negative runs, runs that do not fill the picture.
    """
    if isinstance(segmentation, dict):
        return rle_runs(segmentation, size)
    polygons = check_polygons(segmentation, size)
    return _decompress(coco_mask.merge(coco_mask.fr_py_objects(polygons, *size))["counts"])


def rle_runs(rle: dict[str, Any], size: Size) -> Runs:
    """`segmentation_runs` for a run-length dict."""
    if rle.get("size") != list(size):
        raise DataError(
            f"run lengths for a picture of size {rle.get('size')}, not {list(size)}", cure="encode it again"
        )
    counts = rle.get("counts")
    if isinstance(counts, (str, bytes)):
        runs = _decompress(counts.encode() if isinstance(counts, str) else counts)
    elif isinstance(counts, list) and all(type(c) is int and 0 <= c <= size[0] * size[1] for c in counts):
        runs = np.asarray(counts, dtype=np.int64)
    else:
        raise DataError("run lengths that are no whole numbers from 0 to the number of pixels", cure="encode it again")
    if (runs < 0).any() or int(runs.sum()) != size[0] * size[1]:
        raise DataError(
            f"run lengths cover {int(runs.sum())} pixels, the picture has {size[0] * size[1]}", cure="encode it again"
        )
    return runs


def check_polygons(polygons: object, size: Size) -> list[list[float]]:
    """The polygons unchanged, if it is a list of them, each of three or more finite points in or near the picture.

    Raises:
        DataError: otherwise.
    """
    if not isinstance(polygons, list) or not polygons or not all(isinstance(p, list) for p in polygons):
        raise DataError("a segmentation is neither a list of polygons nor run lengths", cure="draw the object again")
    for polygon in polygons:
        if not all(type(value) in (int, float) for value in polygon):
            raise DataError("a polygon holds something that is not a number", cure="draw the object again")
        if len(polygon) % 2 or len(polygon) < 6:
            raise DataError(
                f"a polygon of {len(polygon)} numbers", cure="write x and y of three points or more, or leave it out"
            )
        far = 10 * max(size)  # px; the rasteriser's time and memory grow with the length of the outline
        if not (min(polygon) >= -far and max(polygon) <= far) or any(value != value for value in polygon):
            raise DataError("a polygon has points that are not finite or far outside", cure="draw the object again")
    return polygons


def runs_box(runs: Runs, size: Size) -> tuple[int, int, int, int]:
    """The tight box x0, y0, x1, y1 (ends exclusive) of the mask in these runs; all 0 where it is empty."""
    h = size[0]
    ends = np.cumsum(runs)
    last, length = ends[1::2] - 1, runs[1::2]
    last, length = last[length > 0], length[length > 0]
    if not len(last):
        return 0, 0, 0, 0
    x0, y0 = np.divmod(last - length + 1, h)
    x1, y1 = np.divmod(last, h)
    turns = bool((x1 > x0).any())  # a run over the end of a column touches both the bottom and the top row
    top, bottom = (0, h) if turns else (int(y0.min()), int(y1.max()) + 1)
    return int(x0[0]), top, int(x1[-1]) + 1, bottom


def _window(runs: Runs, size: Size) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """The tight box, and the pixels in it row by row."""
    box = x0, y0, x1, y1 = runs_box(runs, size)
    edges = np.clip(np.cumsum(runs), x0 * size[0], x1 * size[0])  # only the columns of the box are ever filled
    lengths = np.diff(edges, prepend=x0 * size[0])
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(x1 - x0, size[0])
    return box, columns[:, y0:y1].T.ravel()


def _compress(runs: Runs, size: Size) -> dict[str, Any]:
    runs = runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
    plain = {"size": list(size), "counts": runs.tolist()}
    return {"size": list(size), "counts": coco_mask.rle_to_string(plain)}


def _decompress(text: bytes) -> Runs:
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    stops = np.flatnonzero(codes & 32 == 0)  # bit 5: more characters follow
    starts = np.concatenate([[0], stops[:-1] + 1])
    if codes.min() < 0 or codes.max() > 63 or not len(stops) or stops[-1] != len(codes) - 1:
        raise DataError("run lengths are cut off or no COCO string", cure="encode it again")
    digits = stops - starts + 1
    if digits.max() > MAX_DIGITS:
        raise DataError("run lengths hold a number beyond any picture", cure="encode it again")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, digits))
    runs: Runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= (codes[stops] >> 4 & 1) << (5 * digits)  # bit 4 of the last character: negative
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
