"""Anchors: the boxes from which proposals start (Faster R-CNN, section 3.1.1; FPN, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float], rounded: bool) -> Tensor:
    """The anchors of one grid cell, centred on the origin: (len(ratios) * len(sizes), 4) float32, ratios outside.

    Args:
        sizes: square roots of the areas, in pixels.
        ratios: height to width.
        rounded: round the corners to whole pixels, as torchvision does.
    """
    size = torch.tensor(sizes, dtype=torch.float32)
    tall = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]  # height to side of the square
    w, h = (size / tall).flatten(), (size * tall).flatten()
    anchors = torch.stack([-w, -h, w, h], dim=1) / 2
    return anchors.round() if rounded else anchors


def grid_anchors(
    grids: Sequence[tuple[int, int]], strides: Sequence[tuple[int, int] | int], cells: Sequence[Tensor]
) -> list[Tensor]:
    """Cell anchors repeated over the grid of each level: (H * W * A, 4) each, in the order y, x, anchor.

    They are centred on the top left corner of their cell, as in Detectron and all that follow it.

    Args:
        grids: (height, width) of each level in cells.
        strides: pixels per cell of each level, (down, right) or one number.
        cells: (A, 4) anchors of each level, from `cell_anchors`.
    """
    return [_grid(h, w, stride, cell) for (h, w), stride, cell in zip(grids, strides, cells, strict=True)]


def _grid(h: int, w: int, stride: tuple[int, int] | int, cell: Tensor) -> Tensor:
    down, right = (stride, stride) if isinstance(stride, int) else stride
    y = torch.arange(h, dtype=cell.dtype, device=cell.device) * down
    x = torch.arange(w, dtype=cell.dtype, device=cell.device) * right
    y, x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1)[:, :, None]  # (H, W, 1, 4)
    return (shifts + cell).reshape(-1, 4)
