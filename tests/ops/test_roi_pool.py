import math

import torch
from torch import Tensor

from segue.ops import roi_align
from segue.ops.roi_pool import roi_pool


def slow_roi_pool(features: Tensor, boxes: Tensor, images: Tensor, output: int, scale: float) -> Tensor:
    """The published rule, bin by bin."""
    _, channels, height, width = features.shape
    pooled = torch.zeros(len(boxes), channels, output, output)
    for r, (box, image) in enumerate(zip(boxes.tolist(), images.tolist(), strict=True)):
        x0, y0, x1, y1 = (math.floor(v * scale + 0.5) for v in box)
        x0, x1, y0, y1 = min(x0, width - 1), min(x1, width - 1), min(y0, height - 1), min(y1, height - 1)
        w, h = max(x1 - x0, 0) + 1, max(y1 - y0, 0) + 1
        for i in range(output):
            for j in range(output):
                rows = slice(y0 + math.floor(i * h / output), y0 + math.ceil((i + 1) * h / output))
                columns = slice(x0 + math.floor(j * w / output), x0 + math.ceil((j + 1) * w / output))
                pooled[r, :, i, j] = features[image, :, rows, columns].amax((1, 2))
    return pooled


def test_every_bin_is_the_maximum_of_the_published_pixels() -> None:
    chance = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 12, 16, generator=chance)
    corners = torch.rand(40, 2, 2, generator=chance) * torch.tensor([64.0, 48.0])
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    images = torch.randint(0, 2, (40,), generator=chance)
    for output in (1, 2, 7):
        expected = slow_roi_pool(features, boxes, images, output, 0.25)
        assert torch.equal(roi_pool(features, boxes, images, output, 0.25), expected)


def test_a_box_that_moves_by_less_than_a_pixel_of_the_map_gives_the_same_unlike_with_roi_align() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # each pixel holds its column
    box, owner = torch.tensor([[64.0, 64, 128, 128]]), torch.zeros(1, dtype=torch.int64)
    moved = box + torch.tensor([[7.0, 0, 7, 0]])  # less than half of the stride of 16
    assert torch.equal(roi_pool(ramp, box, owner, 4, 1 / 16), roi_pool(ramp, moved, owner, 4, 1 / 16))
    align = [roi_align(ramp, b, owner, 4, 1 / 16, 2, aligned=True) for b in (box, moved)]
    torch.testing.assert_close(align[1] - align[0], torch.full((1, 1, 4, 4), 7 / 16))


def test_no_box() -> None:
    assert roi_pool(torch.zeros(1, 3, 4, 4), torch.zeros(0, 4), torch.zeros(0).long(), 7, 1.0).shape == (0, 3, 7, 7)
