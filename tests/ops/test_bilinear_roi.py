import pytest
import torch
from torch import Tensor

from segue.ops.bilinear_roi import bilinear_roi


def tap(plane: Tensor, y: int, x: int) -> Tensor:
    inside = 0 <= y < plane.shape[1] and 0 <= x < plane.shape[2]
    return plane[:, y, x] if inside else torch.zeros_like(plane[:, 0, 0])


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """(C, H, W) at one place, zeros around it."""
    y0, x0 = int(y // 1), int(x // 1)
    fy, fx = y - y0, x - x0
    top = tap(plane, y0, x0) * (1 - fx) + tap(plane, y0, x0 + 1) * fx
    return top * (1 - fy) + (tap(plane, y0 + 1, x0) * (1 - fx) + tap(plane, y0 + 1, x0 + 1) * fx) * fy


def naive(plane: Tensor, box: Tensor, size: tuple[int, int], output: int) -> Tensor:
    """One box on (C, H, W), sample by sample, with the published matrix for pixels that are counted from 1."""
    (h, w), (x0, y0, x1, y1) = size, box.tolist()
    result = plane.new_zeros(plane.shape[0], output, output)
    for i in range(output):
        for j in range(output):
            v, u = (2 * i / (output - 1) - 1, 2 * j / (output - 1) - 1)
            xc, yc = (x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5
            x = (x1 - x0) / w * u + (2 * xc - w - 1) / (w - 1)
            y = (y1 - y0) / h * v + (2 * yc - h - 1) / (h - 1)
            result[:, i, j] = bilinear(plane, (y + 1) / 2 * (plane.shape[1] - 1), (x + 1) / 2 * (plane.shape[2] - 1))
    return result


def random_boxes(b: int, s: int, size: float, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(b, s, 2, generator=g, dtype=torch.float64) * size
    half = torch.rand(b, s, 2, generator=g, dtype=torch.float64) * size / 2
    return torch.cat([centre - half, centre + half], dim=2)  # some reach over the edge


def test_equals_the_loops() -> None:
    g = torch.Generator().manual_seed(1)
    features = torch.randn(2, 3, 5, 6, generator=g, dtype=torch.float64)
    boxes = random_boxes(2, 7, 80.0)
    rois = bilinear_roi(features, boxes, (80, 96), 4)
    assert rois.shape == (2, 7, 3, 4, 4)
    for plane, own, found in zip(features, boxes, rois, strict=True):
        for box, roi in zip(own, found, strict=True):
            torch.testing.assert_close(roi, naive(plane, box, (80, 96), 4))


def test_the_whole_picture_gives_the_map_itself() -> None:
    features = torch.randn(1, 2, 7, 7)
    rois = bilinear_roi(features, torch.tensor([[[0.0, 0.0, 112.0, 112.0]]]), (112, 112))
    torch.testing.assert_close(rois[:, 0], features)


def test_on_a_ramp_samples_are_evenly_spaced_and_follow_the_box() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # the value is the column
    boxes = torch.tensor([[[32.0, 32, 96, 96], [40.0, 32, 104, 96]]])
    one, moved = bilinear_roi(ramp, boxes, (128, 128), 3)[0, :, 0]
    torch.testing.assert_close(one[:, 1], torch.full((3,), 3.5))  # the centre of the box is that of the picture
    torch.testing.assert_close(one.diff(dim=1), torch.full((3, 2), 7 * 0.5 / 2))
    torch.testing.assert_close(moved - one, torch.full((3, 3), 8 * 7 / 127))


def test_far_outside_is_zero() -> None:
    rois = bilinear_roi(torch.ones(1, 1, 4, 4), torch.tensor([[[-90.0, -90, -60, -60]]]), (64, 64))
    assert not rois.any()


def test_gradients_reach_features_and_boxes() -> None:
    g = torch.Generator().manual_seed(2)
    features = torch.randn(2, 2, 4, 5, generator=g, dtype=torch.float64, requires_grad=True)
    boxes = random_boxes(2, 3, 60.0, seed=3).requires_grad_()

    def pool(features: Tensor, boxes: Tensor) -> Tensor:
        return bilinear_roi(features, boxes, (64, 80), 3)

    assert torch.autograd.gradcheck(pool, (features, boxes))


def test_a_box_can_be_learned_through_the_pooling() -> None:
    """Descent on what is seen in it brings a box to where it sees the same as another."""
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    features = torch.stack([rows, columns])[None]
    goal = torch.tensor([[[40.0, 56, 88, 120]]])
    wanted = bilinear_roi(features, goal, (144, 144))
    box = torch.tensor([[[20.0, 30, 120, 100]]], requires_grad=True)
    optimizer = torch.optim.Adam([box], lr=3.0)
    for _ in range(100):
        optimizer.zero_grad()
        (bilinear_roi(features, box, (144, 144)) - wanted).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(box.detach(), goal, atol=1.0, rtol=0)


def test_no_boxes() -> None:
    assert bilinear_roi(torch.randn(2, 3, 4, 4), torch.zeros(2, 0, 4), (64, 64)).shape == (2, 0, 3, 7, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_of_half_precision_are_read_at_exact_places(dtype: torch.dtype) -> None:
    features, boxes = torch.randn(1, 2, 6, 6), random_boxes(1, 4, 90.0).float()
    rough = bilinear_roi(features.to(dtype), boxes, (96, 96))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, bilinear_roi(features, boxes, (96, 96)), atol=0.03, rtol=0.03)
