"""The package's operators said in ONNX, against the operators; and what compilers make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segue.export.check import Session
from segue.export.onnx_file import OPSET, quiet, serialised
from segue.export.onnx_ops import TRANSLATIONS
from segue.ops import keypoint_peaks, multilevel_roi_align, nms_keep

Run = Callable[..., Tensor]


class Suppression(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor) -> Tensor:
        return nms_keep(boxes, scores, 0.5, groups, valid)


class Pooling(nn.Module):
    def __init__(self, sampling: int, aligned: bool) -> None:
        super().__init__()
        self.sampling, self.aligned = sampling, aligned

    def forward(self, fine: Tensor, coarse: Tensor, boxes: Tensor, images: Tensor, levels: Tensor) -> Tensor:
        scales = [0.25, 0.125]
        return multilevel_roi_align([fine, coarse], scales, boxes, images, levels, 3, self.sampling, self.aligned)


def exported(module: nn.Module, inputs: tuple[Tensor, ...], dynamic: tuple[Any, ...]) -> Run:
    """The module in ONNX Runtime."""
    with quiet():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}
    session = Session(serialised(program.model))
    return lambda *values: next(iter(session.run(values).values()))


def crowd(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes over each other, many equal scores, groups, and which are there."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g) * 60
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=g) * 30 + 5], 1)
    scores = torch.rand(count, generator=g).mul(20).round() / 20
    return boxes, scores, torch.randint(-3, 3, (count,), generator=g), torch.rand(count, generator=g) > 0.2


def regions(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two maps of two pictures, and boxes inside, over the edge and outside."""
    g = torch.Generator().manual_seed(seed)
    centre, side = torch.rand(count, 2, generator=g) * 140 - 20, torch.rand(count, 2, generator=g) * 60
    images, levels = torch.randint(0, 2, (2, count), generator=g)
    maps = [torch.randn(2, 4, h, w, generator=g) for h, w in ((20, 24), (10, 12))]
    return maps[0], maps[1], torch.cat([centre - side / 2, centre + side / 2], 1), images, levels


class Peaks(nn.Module):
    def forward(self, logits: Tensor, boxes: Tensor) -> Tensor:
        return keypoint_peaks(logits, boxes)


@cache
def suppression() -> Run:
    rows = {0: torch.export.Dim.DYNAMIC}
    return exported(Suppression(), crowd(9, 0), (rows,) * 4)


@cache
def pooling(sampling: int, aligned: bool) -> Run:
    free = torch.export.Dim.DYNAMIC
    rows, maps = {0: free}, {0: free, 2: free, 3: free}
    return exported(Pooling(sampling, aligned), regions(9, 0), (maps, maps, rows, rows, rows))


@pytest.mark.parametrize("count", [0, 1, 2, 13, 700])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nms_in_onnx_keeps_the_same(count: int, seed: int) -> None:
    boxes = crowd(count, seed)
    assert torch.equal(suppression()(*boxes), nms_keep(boxes[0], boxes[1], 0.5, *boxes[2:]))


def test_nms_in_onnx_leaves_out_what_is_not_there_or_has_no_score() -> None:
    boxes, scores, groups, valid = crowd(20, 4)
    assert not suppression()(boxes, scores, groups, torch.zeros_like(valid)).any()
    scores[3:9] = torch.nan
    kept = suppression()(boxes, scores, groups, torch.ones_like(valid))
    assert not kept[3:9].any()
    assert torch.equal(kept, nms_keep(boxes, scores, 0.5, groups))


@pytest.mark.parametrize(("sampling", "aligned"), [(2, True), (2, False), (0, True)])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_roi_align_in_onnx_gives_the_same(sampling: int, aligned: bool, count: int) -> None:
    values = regions(count, count)
    torch.testing.assert_close(
        pooling(sampling, aligned)(*values), Pooling(sampling, aligned)(*values), rtol=1e-5, atol=1e-5
    )


def test_keypoint_peaks_in_onnx_are_the_same() -> None:
    logits, boxes = torch.randn(6, 3, 14, 14, generator=torch.Generator().manual_seed(1)), regions(6, 2)[2]
    boxes[0, 2:] = boxes[0, :2] - 3  # turned inside out
    rows = {0: torch.export.Dim.DYNAMIC}
    peaks = exported(Peaks(), (logits, boxes), (rows, rows))
    torch.testing.assert_close(peaks(logits, boxes), keypoint_peaks(logits, boxes), rtol=1e-5, atol=1e-4)
    assert peaks(logits[:0], boxes[:0]).shape == (0, 3, 3)


@pytest.mark.parametrize("sampling", [0, 2])
def test_operators_compile_with_their_gradients(sampling: int) -> None:
    def step(fine: Tensor, coarse: Tensor, boxes: Tensor, images: Tensor, levels: Tensor) -> Tensor:
        pooled = Pooling(sampling, True)(fine, coarse, boxes, images, levels)
        return (pooled * nms_keep(boxes, boxes[:, 0], 0.5)[:, None, None, None]).square().sum()

    fine, coarse, *rest = regions(30, 5)
    gradients = []
    for function in (step, torch.compile(step, backend="aot_eager", fullgraph=True)):
        maps = [fine.clone().requires_grad_(), coarse.clone().requires_grad_()]
        gradients.append(torch.autograd.grad(function(*maps, *rest), maps))
    for eager, compiled in zip(*gradients, strict=True):
        assert eager.any()
        torch.testing.assert_close(compiled, eager)


@pytest.mark.parametrize("operator", ["nms_keep", "multilevel_roi_align"])
def test_operators_keep_what_torch_asks_of_them(operator: str) -> None:
    boxes, scores, groups, valid = crowd(30, 6)
    fine, coarse, rois, images, levels = regions(30, 7)
    maps = [fine.requires_grad_(), coarse.requires_grad_()]
    arguments = {
        "nms_keep": (boxes, scores, 0.5, groups, valid),
        "multilevel_roi_align": (maps, [0.25, 0.125], rois, images, levels, 2, 2, True),
    }[operator]
    torch.library.opcheck(getattr(torch.ops.segue, operator).default, arguments)
