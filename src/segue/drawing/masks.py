"""Masks as a tint with a crisp contour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue.drawing.colors import mix
from segue.errors import UsageError
from segue.structures import Masks
from segue.structures.categories import Color


def draw_masks(
    image: Image.Image, masks: Masks, colors: Sequence[Color], alpha: float = 0.4, outline: int | None = None
) -> Image.Image:
    """A copy of an RGB picture with masks over it; small ones lie above large ones.

    Args:
        image: of the size of the masks' canvas.
        masks: N masks.
        colors: N RGB colours.
        alpha: how much of the tint covers the inside, in [0, 1].
        outline: width in pixels of the contour, inside the mask; None takes one that suits the picture, 0 draws none.

    Raises:
        UsageError: sizes or numbers differ.
    """
    if masks.size != (image.height, image.width):
        raise UsageError(f"masks on {masks.size} over a picture of {(image.height, image.width)}", cure="use its own")
    if len(colors) != len(masks):
        raise UsageError(f"{len(colors)} colours for {len(masks)} masks", cure="pass one each")
    if not len(masks):
        return image.convert("RGB")
    order = masks.area.argsort(descending=True, stable=True)
    masks = masks.select(order).to("cpu")
    outline = max(1, round(min(masks.size) / 500)) if outline is None else outline
    owner, x, y = masks.coordinates()
    edge = contours(masks, outline)[masks.bits]
    owner, x, y = owner[masks.bits], x[masks.bits], y[masks.bits]

    tints = torch.tensor([colors[i] for i in order.tolist()], dtype=torch.float32)  # (N, 3)
    lines = torch.tensor([mix(colors[i], (255, 255, 255), 0.3) for i in order.tolist()], dtype=torch.float32)
    canvas = np.array(image.convert("RGB"))
    under = torch.from_numpy(canvas[y.numpy(), x.numpy()]).float()  # (P, 3)
    tinted = under + alpha * (tints[owner] - under)
    painted = torch.where(edge[:, None], lines[owner], tinted).round().to(torch.uint8)
    canvas[y.numpy(), x.numpy()] = painted.numpy()  # where masks overlap, the last and smallest stays
    return Image.fromarray(canvas)


def contours(masks: Masks, width: int = 1) -> Tensor:
    """(P,) bool over ``masks.bits``: set, and less than ``width`` steps to the side, up or down from unset.

    The picture's own border counts as set, so that a mask cut off by it stays open there.
    """
    owner, x, y = masks.coordinates()
    box, stride = masks.boxes[owner], masks.widths[owner]
    place = torch.arange(masks.bits.numel(), device=masks.bits.device)
    height, canvas_width = masks.size
    sides = (
        (x > box[:, 0], x == 0, place - 1),
        (x < box[:, 2] - 1, x == canvas_width - 1, place + 1),
        (y > box[:, 1], y == 0, place - stride),
        (y < box[:, 3] - 1, y == height - 1, place + stride),
    )
    inner = masks.bits
    for _ in range(width):
        eroded = inner
        for inside, border, neighbour in sides:
            eroded = eroded & torch.where(inside, inner[neighbour.where(inside, place)], border)
        inner = eroded
    return masks.bits & ~inner
