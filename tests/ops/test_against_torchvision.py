"""The same numbers as torchvision on thousands of random cases, where it and its compiled operators are there."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from segue import ops
from segue.structures import Masks


@pytest.fixture(scope="module")
def tv() -> ModuleType:
    """torchvision; skips where it is missing or its operators do not fit this torch."""
    try:
        import torchvision.ops
        from torchvision.models.detection import roi_heads  # noqa: F401

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        pytest.skip(f"torchvision with its compiled operators is not usable here: {error}")
    return torchvision


def boxes_of(g: torch.Generator, n: int, size: float = 100.0) -> Tensor:
    corner = torch.rand(n, 2, generator=g) * size * 1.2 - size * 0.1
    return torch.cat([corner, corner + torch.rand(n, 2, generator=g) ** 2 * size + 0.01], dim=1)


def test_box_iou(tv: ModuleType) -> None:
    g = torch.Generator().manual_seed(0)
    a, b = boxes_of(g, 2000), boxes_of(g, 500)
    torch.testing.assert_close(ops.box_iou(a, b), tv.ops.box_iou(a, b), atol=1e-6, rtol=0)


def test_nms(tv: ModuleType) -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(1000):
        n = int(torch.randint(1, 60, (1,), generator=g))
        boxes, scores, groups = boxes_of(g, n), torch.rand(n, generator=g), torch.randint(0, 4, (n,), generator=g)
        threshold = float(torch.rand(1, generator=g))
        assert torch.equal(ops.nms(boxes, scores, threshold), tv.ops.nms(boxes, scores, threshold))
        ours = ops.batched_nms(boxes, scores, groups, threshold)
        theirs = tv.ops.boxes._batched_nms_vanilla(boxes, scores, groups, threshold)
        assert torch.equal(ours, theirs)


def test_large_nms(tv: ModuleType) -> None:
    g = torch.Generator().manual_seed(2)
    boxes, scores = boxes_of(g, 5000, 800.0), torch.rand(5000, generator=g)
    assert torch.equal(ops.nms(boxes, scores, 0.5), tv.ops.nms(boxes, scores, 0.5))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [0, 2])
def test_roi_align(tv: ModuleType, aligned: bool, sampling: int) -> None:
    g = torch.Generator().manual_seed(3)
    for output in (1, 3, 7):
        features = torch.randn(3, 4, 20, 27, generator=g)
        boxes, images = boxes_of(g, 700), torch.randint(0, 3, (700,), generator=g)
        ours = ops.roi_align(features, boxes, images, output, 0.25, sampling, aligned)
        rois = torch.cat([images[:, None].float(), boxes], dim=1)
        theirs = tv.ops.roi_align(features, rois, output, 0.25, sampling or -1, aligned)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_mask_targets(tv: ModuleType) -> None:
    from torchvision.models.detection.roi_heads import project_masks_on_boxes

    g = torch.Generator().manual_seed(4)
    dense = torch.rand(20, 100, 120, generator=g) < 0.5
    boxes, index = boxes_of(g, 1000), torch.randint(0, 20, (1000,), generator=g)
    ours = ops.mask_targets(Masks.from_dense(dense), index, boxes, 28, binary=False)
    theirs = project_masks_on_boxes(dense.float(), boxes, index, 28)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_paste(tv: ModuleType) -> None:
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    g = torch.Generator().manual_seed(5)
    probabilities, boxes, size = torch.rand(1000, 28, 28, generator=g), boxes_of(g, 1000), (90, 80)
    boxes = ops.clip_boxes(boxes, size)  # torchvision pastes only such
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)]
    probabilities = probabilities[: len(boxes)]
    theirs = paste_masks_in_image(probabilities[:, None], boxes, size)[:, 0]
    windows, values = ops.paste_soft(probabilities, boxes, size, at_centres=False)
    owner, x, y = Masks.empty_windows(size, windows).coordinates()
    ours = torch.zeros_like(theirs)
    ours[owner, y, x] = values
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
