"""Whole networks: prediction and one training step.

Where torchvision is missing, the other side is the same network the straightforward way: memory in NCHW order and the
operations of `plain` in place of ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks import plain, vision
from benchmarks.ops import canvas, ellipses, random_boxes
from benchmarks.timing import Case
from segue.data.cells import make_cells
from segue.data.images import to_tensor
from segue.data.toybox import render
from segue.engine.calibrate import to_int8
from segue.engine.load import load, load_trained
from segue.engine.predictor import Predictor
from segue.engine.region_predictor import RegionPredictor
from segue.models.batch import Batch
from segue.models.inference import Speed, optimise
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings
from segue.nn.fpn import PyramidSettings
from segue.nn.normalise import normalise
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Masks, Regions, Scene
from segue.tasks import BOXES, MASKS, Task

CLASSES = Categories.from_names([f"class {i}" for i in range(90)])  # as many as COCO's label map has
CANDIDATES = 1000  # boxes above the score threshold, before NMS
BITS: dict[Speed, str] = {"exact": "", "fast": ", in 16 bits against 32", "int8": ", in 8 bits against 32"}

TWINS: dict[str, Callable[..., Any]] = {
    "segue.models.region_network.box_iou": plain.box_iou,
    "segue.models.region_network.multilevel_roi_align": plain.multilevel_roi_align,
    "segue.nn.rpn.box_iou": plain.box_iou,
    "segue.nn.rpn.nms_keep": plain.nms_keep,
    "segue.tasks.boxes.nms_keep": plain.nms_keep,
    "segue.tasks.masks.mask_targets": lambda masks, *rest: plain.mask_targets(masks.dense(), *rest),
    "segue.tasks.masks.paste_masks": lambda *given: Masks.from_dense(plain.paste_masks(*given)),
}


@contextmanager
def plain_ops() -> Iterator[None]:
    """The networks compute with the plain operations inside this block."""
    with ExitStack() as stack:
        for name, twin in TWINS.items():
            stack.enter_context(patch(name, twin))
        yield


def plain_network(network: RegionNetwork) -> RegionNetwork:
    """A copy that works in NCHW memory order whatever comes in."""
    twin = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    twin.trunk.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
    return twin


def inference_form(network: RegionNetwork, dtype: torch.dtype = torch.float32) -> RegionNetwork:
    """A copy as `segue.load` gives it."""
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)
    optimise(twin, dtype)
    return twin


def random_network(
    settings: NetworkSettings,
    classes: Categories,
    picture: Tensor,
    candidates: int,
    tasks: Sequence[Task] = (BOXES, MASKS),
) -> RegionNetwork:
    """Random weights in which the picture has objects: layer outputs of ordinary size, scores that differ.

    The score threshold is set so that ``candidates`` boxes pass it.
    """
    torch.manual_seed(0)
    network = RegionNetwork(settings, classes, tasks).eval()
    heads: Any = network.heads
    norms = [m for name, m in network.trunk.backbone.named_modules() if name.endswith(("norm2", "norm3"))]
    for norm in norms:
        nn.init.constant_(norm.weight, 0.3)  # residual branches do not pile up
    sizes = torch.tensor([picture.shape[1:]])
    x = normalise(picture[None], sizes, network.conventions)
    with torch.no_grad():
        for layer, level in zip(network.trunk.pyramid.output, network.trunk(x), strict=False):
            _rescale(layer, level, 1.0)
        levels = network.trunk(x)
        raw = network.rpn(levels, tuple(x.shape[-2:]))
        _rescale(network.rpn.logits, raw.logits, 1.0)
        _rescale(network.rpn.deltas, raw.deltas, 0.3)
        boxes = random_boxes(100, tuple(picture.shape[1:]))
        owners = torch.zeros(100, dtype=torch.int64)
        logits, deltas = heads.boxes(network.pool(levels, boxes, owners, heads.boxes.pooled))
        _rescale(heads.boxes.logits, logits, 2.0)
        _rescale(heads.boxes.deltas, deltas, 1.0)
        masks = heads.masks(network.pool(levels, boxes, owners, heads.masks.pooled))
        _rescale(heads.masks.logits, masks, 2.0)
        heads.boxes.settings = replace(heads.boxes.settings, score=_threshold(network, x, sizes, candidates))
    return network


def _rescale(layer: nn.Module, output: Tensor, spread: float) -> None:
    """Make the standard deviation of a linear layer's output ``spread``."""
    for parameter in layer.parameters():
        parameter.mul_(spread / output.std())


def _threshold(network: RegionNetwork, x: Tensor, sizes: Tensor, candidates: int) -> float:
    """The score that ``candidates`` pairs of a proposal and a class reach."""
    head: Any = network.heads["boxes"]
    levels = network.trunk(x)
    boxes = network.rpn.propose(network.rpn(levels, tuple(x.shape[-2:])), sizes).boxes[0]
    logits, _ = head(network.pool(levels, boxes, torch.zeros(len(boxes), dtype=torch.int64), head.pooled))
    scores = logits.softmax(1)[:, head.first : head.first + head.classes].flatten()
    return float(scores.topk(min(candidates, len(scores))).values[-1])


def clouds(size: tuple[int, int], seed: int = 0) -> Tensor:
    """(3, H, W) uint8: smooth colours with some noise."""
    chance = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, 3, 12, 18, generator=chance)
    smooth = nn.functional.interpolate(rough, size=size, mode="bicubic")[0]
    return (smooth + 0.1 * torch.randn(3, *size, generator=chance)).mul(255).clamp(0, 255).byte()


def mask_rcnn(quick: bool) -> NetworkSettings:
    """Mask R-CNN with ResNet-50 and FPN as torchvision has it; ``quick`` looks at fewer boxes."""
    if not quick:
        return NetworkSettings(conventions="torchvision")
    few = ProposalSettings(pre_nms=40, post_nms=40, pre_nms_train=40, post_nms_train=40)
    boxes = {"detections": 5}
    if not vision.MISSING:  # it has ResNet-50 only
        return NetworkSettings(conventions="torchvision", proposals=few, tasks={"boxes": boxes, "masks": {}})
    return NetworkSettings(
        conventions="torchvision",
        backbone=BackboneSettings(depth=18, width=8),
        pyramid=PyramidSettings(channels=16),
        proposals=few,
        tasks={"boxes": {**boxes, "channels": 32}, "masks": {"channels": 16}},
    )


def title(settings: NetworkSettings) -> str:
    return f"Mask R-CNN R{settings.backbone.depth}-FPN"


def limits(settings: NetworkSettings) -> dict[str, float]:
    """The settings' numbers of boxes in torchvision's words."""
    s, boxes = settings.proposals, settings.head(BOXES)
    return {
        "rpn_pre_nms_top_n_train": s.pre_nms_train,
        "rpn_pre_nms_top_n_test": s.pre_nms,
        "rpn_post_nms_top_n_train": s.post_nms_train,
        "rpn_post_nms_top_n_test": s.post_nms,
        "box_detections_per_img": boxes.detections,
    }


def predict(speed: Speed) -> Callable[[bool], Case]:
    """A whole prediction, ours at that speed."""

    def make(quick: bool) -> Case:
        size = canvas(quick)
        picture, settings = clouds(size), mask_rcnn(quick)
        network = random_network(settings, CLASSES, picture, 50 if quick else CANDIDATES)
        ours = at_speed(network, speed)
        text, apart = f"{title(settings)}, {size[0]} × {size[1]}{BITS[speed]}", comparison(speed)
        if vision.MISSING:
            trained = RegionPredictor("", network, CLASSES, [BOXES, MASKS])
            return replace(against_plain(text, ours, trained, picture), difference=apart)
        score = network.heads["boxes"].settings.score
        limit = limits(settings)
        model = vision.network(network.state_dict(), len(CLASSES), size, box_score_thresh=score, **limit).eval()

        def theirs() -> Any:
            with torch.inference_mode():
                return model([picture.float() / 255])[0]

        return Case(text, "torchvision", lambda: ours.predict(picture, threshold=0.0), theirs, apart)

    return make


def at_speed(network: RegionNetwork, speed: Speed) -> RegionPredictor:
    """A copy as `segue.load` gives it at that speed."""
    form = inference_form(network, torch.float32 if speed == "exact" else torch.bfloat16)
    predictor = RegionPredictor("", form, CLASSES, [BOXES, MASKS])
    if speed == "int8":
        to_int8(predictor, [clouds((800, 1216), seed=1)])
    return predictor


def predict_int8_fast(quick: bool) -> Case:
    """A whole prediction in 8 bits, against ours in 16."""
    size = canvas(quick)
    picture, settings = clouds(size), mask_rcnn(quick)
    network = random_network(settings, CLASSES, picture, 50 if quick else CANDIDATES)
    text = f"{title(settings)}, {size[0]} × {size[1]}, in 8 bits"
    return versus(text, "itself, fast", at_speed(network, "int8"), at_speed(network, "fast"), picture, 0.0)


def versus(text: str, against: str, ours: Predictor, theirs: Predictor, picture: Tensor, threshold: float) -> Case:
    """Two forms of one model."""
    return Case(
        text,
        against,
        lambda: ours.predict(picture, threshold=threshold),
        lambda: theirs.predict(picture, threshold=threshold),
        lambda *_: "see speeds.md for AP",
    )


def bundled_int8(name: str, other: Speed) -> Callable[[bool], Case]:
    """A bundled model in 8 bits, on its own kind of picture, against itself at another speed."""

    def make(quick: bool) -> Case:
        side, picture = own_picture(name, quick)
        ours, theirs = load(name, "cpu", "int8", picture), load(name, "cpu", other)
        return versus(f"bundled {name}, {side} × {side}, in 8 bits", f"itself, {other}", ours, theirs, picture, 0.5)

    return make


def own_picture(name: str, quick: bool) -> tuple[int, Tensor]:
    """A picture (3, side, side) of the kind that a bundled model was trained on."""
    side = 128 if quick else 512 if name == "nuclei" else 256
    if name == "toybox":
        return side, to_tensor(render(5_000_000, (side, side)).image)
    return side, make_cells(0, (side, side), (10, 20) if quick else (150, 200))[0]


def bundled(name: str, speed: Speed) -> Callable[[bool], Case]:
    """A bundled model with all its heads, on its own kind of picture, against the plain form of its trained network."""

    def make(quick: bool) -> Case:
        side, picture = own_picture(name, quick)
        ours = load(name, "cpu", speed)
        text = f"bundled {name}, {side} × {side}{BITS[speed]}"
        return replace(against_plain(text, ours, load_trained(name), picture, 0.5), difference=comparison(speed))

    return make


def comparison(speed: Speed) -> Callable[[Any, Any], str]:
    """What is said of the results: in 16 bits random weights amplify rounding, so that only trained ones tell."""
    return alike if speed == "exact" else lambda ours, theirs: "see speeds.md for AP"


def against_plain(text: str, ours: Predictor, trained: Predictor, picture: Tensor, threshold: float = 0.0) -> Case:
    """A model's prediction against the plain form of the same."""
    other = copy.copy(trained)
    other.network = plain_network(trained.network)

    def theirs() -> Any:
        with plain_ops():
            return other.predict(picture, threshold=threshold)

    return Case(text, "plain", lambda: ours.predict(picture, threshold=threshold), theirs, alike)


def alike(ours: Any, theirs: Any) -> str:
    """How many detections find their like on the other side, and how far boxes and masks of these differ."""
    (boxes, labels, masks), (other, other_labels, other_masks) = _found(ours), _found(theirs)
    overlap = plain.box_iou(boxes, other) * (labels[:, None] == other_labels)
    if overlap.numel() == 0:
        return f"{len(boxes)} and {len(other)} objects"
    best, partner = overlap.max(1)
    index = (best > 0.9).nonzero()[:, 0]
    partner = partner[index]
    pixels = float((boxes[index] - other[partner]).abs().max()) if len(index) else 0.0
    changed = (masks[index] ^ other_masks[partner]).sum() / masks[index].sum().clamp(min=1)
    text = f"{len(index)} of {max(len(boxes), len(other))} objects alike"
    return f"{text}, boxes {pixels:.1e} px, masks {float(changed):.2%}"


def _found(result: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (N, 4), labels (N,) from 0, masks (N, H, W) bool."""
    if isinstance(result, Scene):
        regions = result.regions
        assert isinstance(regions.masks, Masks)
        return regions.boxes, regions.labels, regions.masks.dense()
    return result["boxes"], result["labels"] - 1, result["masks"][:, 0] >= 0.5


def training(speed: Speed) -> Callable[[bool], Case]:
    """Forward, backward and an SGD step on two pictures with twenty objects each, ours in mixed precision if asked."""

    def make(quick: bool) -> Case:
        side, settings = 64 if quick else 512, mask_rcnn(quick)
        pictures = torch.stack([clouds((side, side), seed) for seed in range(2)])
        network = random_network(settings, CLASSES, pictures[0], 50).train()
        batch = make_batch(network, pictures, 2 if quick else 20)
        text = f"{title(settings)}, 2 × {side} × {side}{BITS[speed]}"
        if vision.MISSING:
            twin = training_step(plain_network(network))

            def theirs() -> Tensor:
                with plain_ops():
                    return twin(batch)

            against, apart = "plain", same_losses
        else:
            model = vision.network(network.state_dict(), len(CLASSES), (side, side), **limits(settings)).train()
            step = training_step(model)

            def theirs() -> Tensor:
                return step([p.float() / 255 for p in pictures], targets(batch))

            against, apart = "torchvision", other_samples
        dtype = torch.float32 if speed == "exact" else torch.bfloat16
        ours = training_step(network.to(memory_format=torch.channels_last), dtype)
        channels_last = batch.to(torch.device("cpu"), channels_last=True)
        return Case(text, against, lambda: ours(channels_last), theirs, apart)

    return make


def same_losses(ours: Tensor, theirs: Tensor) -> str:
    return f"losses {float(ours):.4f} and {float(theirs):.4f}"


def other_samples(ours: Tensor, theirs: Tensor) -> str:
    return f"{same_losses(ours, theirs)}, of proposals drawn differently"


def make_batch(network: RegionNetwork, pictures: Tensor, objects: int) -> Batch:
    b, _, h, w = pictures.shape
    boxes = random_boxes(b * objects, (h, w)) + torch.tensor([-2.0, -2.0, 2.0, 2.0])  # none without a pixel
    boxes = boxes.clamp(min=0, max=min(h, w))
    truth = Regions(boxes, torch.arange(len(boxes)) % len(CLASSES), masks=Masks.from_dense(ellipses(boxes, (h, w))))
    sizes = torch.tensor([[h, w]] * b)
    owners = torch.arange(b).repeat_interleave(objects)
    return Batch(normalise(pictures, sizes, network.conventions), sizes, truth, owners, [""] * b)


def targets(batch: Batch) -> list[dict[str, Tensor]]:
    """The truth in torchvision's form."""
    parts = [batch.truth.select(batch.owners == i) for i in range(len(batch.sizes))]
    return [{"boxes": p.boxes, "labels": p.labels + 1, "masks": p.masks.dense().byte()} for p in parts]


def training_step(network: nn.Module, dtype: torch.dtype = torch.float32) -> Callable[..., Tensor]:
    """Returns the sum of the losses. The rate is tiny, so that both sides go on doing the same; the work is not."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-9, momentum=0.9)

    def step(*given: Any) -> Tensor:
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            total = torch.stack([loss.float() for loss in network(*given).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        return total.detach()

    return step


CASES: dict[str, Callable[[bool], Case]] = {
    "predict": predict("exact"),
    "predict_fast": predict("fast"),
    "predict_int8": predict("int8"),
    "predict_int8_fast": predict_int8_fast,
    "nuclei": bundled("nuclei", "exact"),
    "nuclei_fast": bundled("nuclei", "fast"),
    "nuclei_int8": bundled_int8("nuclei", "fast"),
    "toybox": bundled("toybox", "exact"),
    "toybox_fast": bundled("toybox", "fast"),
    "toybox_int8": bundled_int8("toybox", "fast"),
    "training": training("exact"),
    "training_mixed": training("fast"),
}
"""By name: called with ``quick``, it makes the network and the two sides."""
