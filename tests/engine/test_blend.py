from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segue.engine.blend import blend_tiles, fade, spans


def whole(parts) -> torch.Tensor:
    rows = list(parts)
    assert [first for first, _ in rows] == torch.tensor([0, *(p.shape[1] for _, p in rows)]).cumsum(0)[:-1].tolist()
    return torch.cat([part for _, part in rows], 1)


@pytest.mark.parametrize(
    ("length", "side", "multiple"), [(100, 64, 8), (64, 64, 16), (65, 64, 32), (1000, 70, 16), (7, 64, 32)]
)
def test_spans_cover_start_on_the_grid_and_are_of_the_side_asked_for(length, side, multiple):
    tiles = spans(length, side, multiple)
    covered = {pixel for start, end in tiles for pixel in range(start, end)}
    assert covered == set(range(length))
    assert all(start % multiple == 0 and end - start < side + multiple for start, end in tiles)


@pytest.mark.parametrize(("length", "side", "multiple"), [(100, 64, 8), (130, 64, 32), (1000, 70, 16)])
def test_shares_add_up_to_one(length, side, multiple):
    tiles, total = spans(length, side, multiple), torch.zeros(length)
    for number, (start, end) in enumerate(tiles):
        total[start:end] += fade(tiles, number)
    assert torch.allclose(total, torch.ones(length))


def test_a_map_of_single_pixels_comes_out_as_if_from_one_piece():
    image = torch.randint(0, 256, (3, 150, 203), dtype=torch.uint8)
    blended = whole(blend_tiles(lambda part: part.float().cumsum(0), image, 64, 8))
    assert torch.allclose(blended, image.float().cumsum(0), atol=1e-3)


def test_away_from_seams_a_convolution_comes_out_as_if_from_one_piece():
    image = torch.randint(0, 256, (3, 200, 260), dtype=torch.uint8)
    kernel = torch.randn(4, 3, 5, 5)

    def look(part: torch.Tensor) -> torch.Tensor:
        return F.conv2d(part[None].float() / 255, kernel, padding=2)[0]

    difference = (whole(blend_tiles(look, image, 128, 8)) - look(image)).abs().amax(0)
    rows, columns = spans(200, 128, 8), spans(260, 128, 8)
    single = torch.zeros(200, 260)
    for top, bottom in rows:
        for left, right in columns:
            single[top:bottom, left:right] += 1
    near = F.max_pool2d((single > 1).float()[None], 9, 1, 4)[0] > 0
    assert difference[~near].max() < 1e-4
    assert difference.max() > 0.1  # at the seams the tiles' own borders do show


def test_only_a_band_of_tiles_is_held():
    image = torch.zeros(3, 1024, 64, dtype=torch.uint8)
    parts = [part.shape[1] for _, part in blend_tiles(lambda part: part.float(), image, 64, 8)]
    assert max(parts) <= 64
    assert len(parts) > 16
