"""The region operations, one case each. Everything in torchvision's conventions, on a picture of 800 by 1216."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import plain, vision
from benchmarks.timing import Case
from segue import ops
from segue.structures import Masks

RATIOS = (0.5, 1.0, 2.0)
ANCHOR_SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)
STRIDES = (4, 8, 16, 32)


def rival(name: str) -> tuple[str, Callable[..., Any]]:
    """The other side of a comparison: torchvision where it works and has this, else the plain reference."""
    if not vision.MISSING and hasattr(vision, name):
        return "torchvision", getattr(vision, name)
    return "plain", getattr(plain, name)


def canvas(quick: bool) -> tuple[int, int]:
    return (128, 192) if quick else (800, 1216)


def random_boxes(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """(count, 4) boxes with sides spread evenly over the scales from 1/64 to 1/2 of the canvas, inside it."""
    h, w = size
    chance = torch.Generator().manual_seed(seed)
    sides = 2 ** -(1 + 5 * torch.rand(count, 2, generator=chance)) * torch.tensor([w, h])
    corner = torch.rand(count, 2, generator=chance) * (torch.tensor([w, h]) - sides)
    return torch.cat([corner, corner + sides], dim=1)


def ellipses(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W) bool: the ellipse in each box."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    x = ((torch.arange(size[1]) + 0.5 - middle[:, :1]) / half[:, :1]).square()
    y = ((torch.arange(size[0]) + 0.5 - middle[:, 1:]) / half[:, 1:]).square()
    return y[:, :, None] + x[:, None, :] <= 1


def box_iou(quick: bool) -> Case:
    n, m = (20, 30) if quick else (100, 20_000)
    a, b = random_boxes(n, canvas(quick)), random_boxes(m, canvas(quick), seed=1)
    against, theirs = rival("box_iou")
    return Case(f"{n:,} × {m:,} boxes", against, lambda: ops.box_iou(a, b), lambda: theirs(a, b))


def nms(count: int) -> Callable[[bool], Case]:
    def make(quick: bool) -> Case:
        n = count // 20 if quick else count
        objects = random_boxes(n // 10, canvas(quick)).repeat(10, 1)  # ten proposals around each
        shift = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
        boxes = objects + 0.1 * shift * (objects[:, 2:] - objects[:, :2]).repeat(1, 2)
        boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], dim=1)
        scores = torch.rand(n, generator=torch.Generator().manual_seed(2))
        against, theirs = rival("nms")
        return Case(
            f"{n:,} boxes",
            against,
            lambda: ops.nms(boxes, scores, 0.5),
            lambda: theirs(boxes, scores, 0.5),
            _same_boxes,
        )

    return make


def _same_boxes(ours: Tensor, theirs: Tensor) -> str:
    both = len(set(ours.tolist()) & set(theirs.tolist()))
    return f"{len(ours) + len(theirs) - 2 * both} of {len(theirs):,} kept"


def roi_align(count: int, output: int, backward: bool) -> Callable[[bool], Case]:
    def make(quick: bool) -> Case:
        n, channels, size = (count // 20, 8, canvas(quick)) if quick else (count, 256, canvas(quick))
        boxes, images = random_boxes(n, size), torch.zeros(n, dtype=torch.int64)
        levels = ops.assign_levels(boxes, 2, 5, eps_inside=False)
        maps = [torch.randn(1, channels, size[0] // s, size[1] // s) for s in STRIDES]
        rest = ([1 / s for s in STRIDES], boxes, images, levels, output, 2, False)
        against, theirs = rival("multilevel_roi_align")
        # Each side gets the memory order that it likes: ours channels-last, as our networks make it.
        own = [m.to(memory_format=torch.channels_last) for m in maps]
        slope = torch.randn(n, channels, output, output) if backward else None
        return Case(
            f"{n:,} × {channels} × {output}², four levels",
            against,
            lambda: _pooled(ops.multilevel_roi_align, own, rest, slope),
            lambda: _pooled(theirs, maps, rest, slope),
        )

    return make


def _pooled(align: Callable[..., Tensor], maps: list[Tensor], rest: tuple[Any, ...], slope: Tensor | None) -> Any:
    """The bins; with a ``slope`` of the loss also the gradients of the maps."""
    if slope is None:
        with torch.inference_mode():
            return align(maps, *rest)
    leaves = [m.detach().requires_grad_() for m in maps]
    bins = align(leaves, *rest)
    return [bins.detach(), *torch.autograd.grad(bins, leaves, slope)]


def anchors(quick: bool) -> Case:
    h, w = canvas(quick)
    strides = [(s, s) for s in (*STRIDES, 64)]
    grids = [(-(-h // s), -(-w // s)) for s, _ in strides]
    strides = [(h // rows, w // columns) for rows, columns in grids]  # torchvision's rule

    def ours() -> Tensor:
        cells = [ops.cell_anchors([size], RATIOS, rounded=True) for size in ANCHOR_SIZES]
        return torch.cat(ops.grid_anchors(grids, strides, cells))

    against, theirs = rival("anchors")
    return Case(f"five levels of {h} × {w}", against, ours, lambda: theirs(grids, strides, ANCHOR_SIZES, RATIOS))


def paste_masks(quick: bool) -> Case:
    n, size = 5 if quick else 100, canvas(quick)
    boxes = random_boxes(n, size)
    rough = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    soft = torch.nn.functional.interpolate(rough, size=(28, 28), mode="bilinear")[:, 0]
    against, theirs = rival("paste_masks")
    return Case(
        f"{n} masks of 28² into {size[0]} × {size[1]}",
        against,
        lambda: ops.paste_masks(soft, boxes, size, at_centres=False),
        lambda: theirs(soft, boxes, size, at_centres=False),
    )


def mask_targets(quick: bool) -> Case:
    n, r, size = (3, 8, canvas(quick)) if quick else (40, 256, canvas(quick))
    truth = random_boxes(n, size)
    dense = ellipses(truth, size)
    index = torch.arange(r) % n
    boxes = truth[index] + random_boxes(r, (20, 20), seed=1) - 10
    packed = Masks.from_dense(dense)
    against, theirs = rival("mask_targets")
    return Case(
        f"{r} boxes to 28², {n} masks on {size[0]} × {size[1]}",
        against,
        lambda: ops.mask_targets(packed, index, boxes, 28, binary=False),
        lambda: theirs(dense, index, boxes, 28, binary=False),
    )


def mask_iou(quick: bool) -> Case:
    n, m, size = (4, 5, canvas(quick)) if quick else (100, 40, canvas(quick))
    a, b = (ellipses(random_boxes(k, size, seed=k), size) for k in (n, m))
    packed_a, packed_b = Masks.from_dense(a), Masks.from_dense(b)
    against, theirs = rival("mask_iou")
    return Case(
        f"{n} × {m} masks on {size[0]} × {size[1]}",
        against,
        lambda: ops.mask_iou(packed_a, packed_b),
        lambda: theirs(a, b),
    )


CASES: dict[str, Callable[[bool], Case]] = {
    "box_iou": box_iou,
    "nms_1k": nms(1_000),
    "nms_5k": nms(5_000),
    "nms_10k": nms(10_000),
    "roi_align_7": roi_align(1_000, 7, backward=False),
    "roi_align_7_backward": roi_align(1_000, 7, backward=True),
    "roi_align_14": roi_align(100, 14, backward=False),
    "roi_align_14_backward": roi_align(100, 14, backward=True),
    "anchors": anchors,
    "paste_masks": paste_masks,
    "mask_targets": mask_targets,
    "mask_iou": mask_iou,
}
"""By name: called with ``quick``, it makes the inputs and the two sides."""
