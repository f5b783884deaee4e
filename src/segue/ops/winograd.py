"""3x3 convolutions with a quarter of the products (Winograd's F(4x4, 3x3), after Lavin and Gray 2016).

Four by four outputs need six by six inputs. In a base in which the kernel acts on each of these 36 numbers alone, the
convolution is 36 matrix products of tiles and weights, instead of 144 of pixels and weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""The three bases, of the interpolation points 0, 1, -1, 2, -2 and infinity: columns are places in the picture."""

BLOCK = 160  # tiles at a time: what is made of them stays in the cache


def winograd_weight(weight: Tensor) -> Tensor:
    """The kernel (O, C, 3, 3) of a convolution in Winograd's base: (36, C, O)."""
    base = torch.tensor(KERNEL, dtype=torch.float64)
    moved = torch.einsum("ia,ocab,jb->ijco", base, weight.double().cpu(), base)
    return moved.flatten(0, 1).to(weight).contiguous()


@torch.no_grad()
def winograd_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False, residual: Tensor | None = None
) -> Tensor:
    """A 3x3 convolution with padding 1 and stride 1, with what else is done to its result on the way.

    Differs from the direct one by about 1e-5 of the largest value.

    Args:
        x: (B, C, H, W); channels-last memory is read as it is, other is copied first.
        weight: (36, C, O) from `winograd_weight`.
        bias: (O,) or None.
        relu: clamp the result below at zero.
        residual: (B, O, H, W), added before that.

    Returns:
        (B, O, H, W) in channels-last memory.
    """
    (b, c, h, w), o = x.shape, weight.shape[2]
    down, across = -(-h // 4), -(-w // 4)  # tiles
    lines = x.permute(0, 2, 3, 1)
    out = x.new_empty(b, down, 4, across, 4, o)
    places = out.permute(2, 4, 0, 1, 3, 5)  # (4, 4, b, down, across, o)
    into, back = _base(INPUT, x), _base(OUTPUT, x)
    images, rows, columns = _block(down, across)
    for i in range(0, b, images):
        for j in range(0, down, rows):
            tiles = _tiles(lines[i : i + images], j, min(rows, down - j), across)
            for k in range(0, across, columns):
                tile = tiles[:, :, :, :, k : k + columns]
                values = torch.bmm((into @ tile.reshape(36, -1)).view(36, -1, c), weight)  # (36, tiles, o)
                result = (back @ values.view(36, -1)).view(16, -1, o)
                if bias is not None:
                    result += bias
                if relu and residual is None:
                    result.relu_()
                place = places[:, :, i : i + images, j : j + rows, k : k + columns]
                place.copy_(result.view(place.shape))
    result = out.view(b, 4 * down, 4 * across, o)[:, :h, :w].permute(0, 3, 1, 2)
    if residual is not None:
        result += residual
    return result.relu_() if relu and residual is not None else result


def _tiles(lines: Tensor, first: int, rows: int, across: int) -> Tensor:
    """Rows of tiles of pictures (b, H, W, C), with a border of zeros: (6, 6, b, rows, across, C), overlapping views.

    Only what they cover is padded: a copy of all would not stay in the cache.
    """
    _, h, w, c = lines.shape
    top, bottom = 4 * first - 1, 4 * (first + rows) + 1
    covered = lines[:, max(top, 0) : bottom]
    band = F.pad(covered, (0, 0, 1, 4 * across - w + 1, max(-top, 0), max(bottom - h, 0))).contiguous()
    b, height, width, _ = band.shape
    return band.as_strided((6, 6, b, rows, across, c), (width * c, c, height * width * c, 4 * width * c, 4 * c, 1))


def _base(matrix: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """A base of one axis -> that of both: (n * n, 36)."""
    one = torch.tensor(matrix, dtype=like.dtype, device=like.device)
    return torch.kron(one, one)


def _block(down: int, across: int) -> tuple[int, int, int]:
    """Images, rows and columns of tiles that make about a block."""
    columns = min(across, BLOCK)
    rows = min(down, max(1, BLOCK // columns))
    return max(1, BLOCK // (columns * rows)), rows, columns
