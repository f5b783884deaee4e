import math
from importlib import import_module

import pytest
import torch
from torch import Tensor

from segue.ops import assign_levels, multilevel_roi_align, roi_align

NONE = torch.zeros(0, dtype=torch.int64)


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """(C, H, W) at one place; zero further out than a pixel, the edge nearer by."""
    _, h, w = plane.shape
    if not (-1 <= y <= h and -1 <= x <= w):
        return torch.zeros_like(plane[:, 0, 0])
    y, x = min(max(y, 0.0), h - 1), min(max(x, 0.0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    fy, fx = y - y0, x - x0
    top = plane[:, y0, x0] * (1 - fx) + plane[:, y0, x1] * fx
    return top * (1 - fy) + (plane[:, y1, x0] * (1 - fx) + plane[:, y1, x1] * fx) * fy


def naive(plane: Tensor, box: Tensor, output: int, scale: float, sampling: int, aligned: bool) -> Tensor:
    """RoIAlign of one box on (C, H, W), sample by sample -> (C, P, P)."""
    x0, y0, x1, y1 = (float(v) * scale - (0.5 if aligned else 0.0) for v in box)
    w, h = x1 - x0, y1 - y0
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    gy = sampling or max(0, math.ceil(h / output))
    gx = sampling or max(0, math.ceil(w / output))
    result = plane.new_zeros(plane.shape[0], output, output)
    for p in range(output):
        for q in range(output):
            for i in range(gy):
                for j in range(gx):
                    y = y0 + (p + (i + 0.5) / gy) * h / output
                    x = x0 + (q + (j + 0.5) / gx) * w / output
                    result[:, p, q] += bilinear(plane, y, x) / (gy * gx)
    return result


def boxes_of_all_kinds(n: int, size: float, seed: int = 0) -> Tensor:
    """Inside, over the edge, far outside, tiny, without area, turned inside out."""
    g = torch.Generator().manual_seed(seed)
    centre = (torch.rand(n, 2, generator=g, dtype=torch.float64) * 2 - 0.5) * size
    half = torch.rand(n, 2, generator=g, dtype=torch.float64) ** 2 * size * 0.7
    half[n // 2] = 0
    half[n // 3] *= -1
    return torch.cat([centre - half, centre + half], dim=1)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 1, 2, 3])
def test_known_answer(aligned: bool, sampling: int) -> None:
    plane = torch.arange(16.0).view(1, 1, 4, 4)
    bins = roi_align(plane, torch.tensor([[0.5, 0.5, 2.5, 2.5]]), NONE.new_zeros(1), 2, 1.0, sampling, aligned)
    torch.testing.assert_close(bins.flatten(), torch.tensor([2.5, 3.5, 6.5, 7.5] if aligned else [5.0, 6, 9, 10]))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 2, 3])
def test_equals_the_loops(aligned: bool, sampling: int) -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 12, generator=g, dtype=torch.float64)
    boxes, images = boxes_of_all_kinds(24, 40.0), torch.randint(0, 2, (24,), generator=g)
    bins = roi_align(features, boxes, images, 3, 0.25, sampling, aligned)
    for box, image, result in zip(boxes, images, bins, strict=True):
        torch.testing.assert_close(result, naive(features[image], box, 3, 0.25, sampling, aligned))


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_levels_equal_one_map_each(sampling: int, memory: torch.memory_format) -> None:
    g = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 5, 16 // k, 24 // k, generator=g).contiguous(memory_format=memory) for k in (1, 2, 4)]
    scales = [1 / 4, 1 / 8, 1 / 16]
    boxes, images = boxes_of_all_kinds(40, 80.0).float(), torch.randint(0, 2, (40,), generator=g)
    levels = torch.randint(0, 3, (40,), generator=g)
    together = multilevel_roi_align(features, scales, boxes, images, levels, 4, sampling, True)
    assert together.shape == (40, 5, 4, 4)
    for level, (plane, scale) in enumerate(zip(features, scales, strict=True)):
        own = levels == level
        alone = roi_align(plane, boxes[own], images[own], 4, scale, sampling, True)
        torch.testing.assert_close(together[own], alone)


def test_adaptive_sampling_in_small_portions_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, boxes = torch.randn(1, 2, 30, 30), boxes_of_all_kinds(50, 30.0).float()
    whole = roi_align(features, boxes, NONE.new_zeros(50), 3, 1.0, 0, True)
    monkeypatch.setattr(import_module("segue.ops.roi_align"), "MOST_TAPS", 100)  # the function has the same name
    torch.testing.assert_close(roi_align(features, boxes, NONE.new_zeros(50), 3, 1.0, 0, True), whole)


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_gradient_reaches_the_features(sampling: int, aligned: bool) -> None:
    g = torch.Generator().manual_seed(0)
    fine = torch.randn(2, 2, 6, 5, generator=g, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 2, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    boxes, images = boxes_of_all_kinds(6, 12.0), torch.tensor([0, 1, 1, 0, 1, 0])
    levels = torch.tensor([0, 1, 0, 1, 0, 0])

    def pool(fine: Tensor, coarse: Tensor) -> Tensor:
        return multilevel_roi_align([fine, coarse], [0.5, 0.25], boxes, images, levels, 2, sampling, aligned)

    assert torch.autograd.gradcheck(pool, (fine, coarse))


@pytest.mark.parametrize("sampling", [0, 2])
def test_no_boxes(sampling: int) -> None:
    features = torch.randn(2, 3, 8, 8, requires_grad=True)
    bins = roi_align(features, torch.zeros(0, 4), NONE, 7, 0.5, sampling, True)
    assert bins.shape == (0, 3, 7, 7)
    bins.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize("sampling", [0, 2])
def test_boxes_that_are_no_numbers_read_zeros(sampling: int) -> None:
    boxes = torch.tensor([[torch.nan] * 4, [0, 0, torch.inf, torch.inf], [1, 1, 3, 3]])
    bins = roi_align(torch.ones(1, 1, 4, 4), boxes, NONE.new_zeros(3), 2, 1.0, sampling, True)
    assert not bins[0].any()
    assert bins[2].eq(1).all()


def test_half_precision_features_are_close() -> None:
    features, boxes = torch.randn(1, 8, 10, 10), boxes_of_all_kinds(20, 10.0).float()
    exact = roi_align(features, boxes, NONE.new_zeros(20), 3, 1.0, 2, True)
    rough = roi_align(features.bfloat16(), boxes, NONE.new_zeros(20), 3, 1.0, 2, True)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("eps_inside", [False, True])
def test_levels_of_sizes(eps_inside: bool) -> None:
    sides = torch.tensor([0.0, 1, 111.9, 112, 223.9, 224, 447.9, 448, 5000])
    boxes = torch.stack([sides * 0 + 3, sides * 0 + 5, sides + 3, sides + 5], dim=1)
    assert assign_levels(boxes, 2, 5, eps_inside).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert assign_levels(boxes, 3, 4, eps_inside).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_level_of_no_number_is_the_finest() -> None:
    assert assign_levels(torch.full((1, 4), torch.nan), 2, 5, eps_inside=True).tolist() == [0]
    assert assign_levels(torch.zeros(0, 4), 2, 5, eps_inside=True).shape == (0,)


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("large", [0, 1 << 30])
def test_with_and_without_gradients_it_reads_the_same(
    sampling: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without, it goes level by level where maps are large, and some boxes after the other."""
    module = import_module("segue.ops.roi_align")
    monkeypatch.setattr(module, "LARGE", large)
    monkeypatch.setattr(module, "TOGETHER", 4)
    chance = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 64 // s, 48 // s, generator=chance, dtype=torch.float64) for s in (1, 2, 8)]
    boxes = boxes_of_all_kinds(17, 48)
    images, levels = torch.arange(17) % 2, torch.arange(17) % 2 * 2  # no box is on the second level
    rest = [1, 0.5, 0.125], boxes, images, levels, 3, sampling, True
    expected = multilevel_roi_align([each.requires_grad_() for each in maps], *rest)
    with torch.no_grad():
        torch.testing.assert_close(multilevel_roi_align(maps, *rest), expected)
