"""Maps of large pictures from overlapping tiles that fade into each other, a band of rows in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def blend_tiles(
    look: Callable[[Tensor], Tensor], image: Tensor, side: int, multiple: int
) -> Iterator[tuple[int, Tensor]]:
    """Bands of a map, top to bottom: the number of the first row, and (K, h, W).

    Tiles overlap by about a quarter. Inside an overlap a tile's share falls linearly towards its own edge, where it
    knows least of its surroundings; where only one tile lies, its values stand unchanged.

    Args:
        look: a tile (3, h, w) uint8 -> its map (K, h, w).
        image: (3, H, W) uint8.
        side: of a tile in pixels; the last ones may be larger by less than ``multiple``.
        multiple: tiles start at multiples of it: the period of the network, so that it sees the grid of the whole.
    """
    rows, columns = (spans(length, side, multiple) for length in image.shape[1:])
    carried = torch.zeros(0)
    for number, (y0, y1) in enumerate(rows):
        band = _band(look, image[:, y0:y1], columns)
        band *= fade(rows, number)[:, None]
        if carried.numel():
            band[:, : carried.shape[1]] += carried
        end = rows[number + 1][0] if number + 1 < len(rows) else y1
        carried = band[:, end - y0 :].clone()
        yield y0, band[:, : end - y0]


def label_tiles(
    look: Callable[[Tensor], Tensor],
    label: Callable[[Tensor], tuple[Tensor, Tensor]],
    image: Tensor,
    side: int,
    multiple: int,
) -> tuple[Tensor, Tensor]:
    """The label of every pixel, (H, W), and its probability, (H, W), with probabilities from `blend_tiles`.

    Args:
        look: as of `blend_tiles`, a tile's probabilities.
        label: probabilities (K, h, W) of a band -> its labels and their probability, each (h, W).
        image: as of `blend_tiles`, as ``side`` and ``multiple`` are.
        side: of a tile.
        multiple: where tiles start.
    """
    bands = [label(probabilities) for _, probabilities in blend_tiles(look, image, side, multiple)]
    return torch.cat([labels for labels, _ in bands]), torch.cat([confidence for _, confidence in bands])


def _band(look: Callable[[Tensor], Tensor], image: Tensor, columns: list[tuple[int, int]]) -> Tensor:
    """(3, h, W) -> (K, h, W) from one row of tiles."""
    band = torch.zeros(0)
    for number, (x0, x1) in enumerate(columns):
        part = look(image[:, :, x0:x1])
        if not band.numel():
            band = torch.zeros(*part.shape[:2], image.shape[2])
        band[:, :, x0:x1] += part * fade(columns, number)
    return band


def spans(length: int, side: int, multiple: int) -> list[tuple[int, int]]:
    """First and last pixel (exclusive) of tiles of about ``side`` pixels, starting at multiples of ``multiple``."""
    side = max(side // multiple, 1) * multiple
    if length <= side:
        return [(0, length)]
    step = max((side - side // 4) // multiple, 1) * multiple
    starts = list(range(0, length - side, step))
    starts.append((length - side) // multiple * multiple)
    starts = sorted(set(starts))
    return [(start, length if start == starts[-1] else start + side) for start in starts]


def fade(tiles: list[tuple[int, int]], number: int) -> Tensor:
    """The share of a tile in each of its pixels along one axis; the shares of all tiles add up to 1 everywhere."""
    first, last = tiles[0][0], tiles[-1][1]
    pixels = torch.arange(tiles[number][0], tiles[number][1]) + 0.5
    own, total = torch.zeros(()), torch.zeros(len(pixels))
    for i, (start, end) in enumerate(tiles):
        below = pixels - start if start > first else torch.full_like(pixels, torch.inf)
        above = end - pixels if end < last else torch.full_like(pixels, torch.inf)
        height = torch.minimum(below, above).clamp(min=0, max=last - first)
        own = height if i == number else own
        total = total + height
    return own / total
