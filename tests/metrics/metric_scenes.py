"""Small scenes for the tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segue.structures import Categories, Masks, Regions, Scene

CLASSES = Categories.from_names(["cell", "mug"])
SIZE = (100, 200)

Box = tuple[float, float, float, float]


def scene(
    boxes: Sequence[Box],
    scores: Sequence[float] | None = None,
    labels: Sequence[int] | None = None,
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float] | None = None,
    size: tuple[int, int] = SIZE,
    file: str = "a.png",
) -> Scene:
    """Rectangles ``x0, y0, x1, y1`` in whole pixels, with masks that fill them."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    windows = corners.nan_to_num(0.0, 0.0, 0.0).long()
    masks = Masks.empty_windows(size, windows)
    regions = Regions(
        boxes=corners,
        labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        scores=None if scores is None else torch.tensor(scores, dtype=torch.float32),
        crowd=None if crowd is None else torch.tensor(crowd),
        areas=None if areas is None else torch.tensor(areas, dtype=torch.float32),
        masks=Masks(size, windows, torch.ones_like(masks.bits)),
    )
    return Scene(size, CLASSES, regions, file=file)
