"""The way of one region through the network, step by step: proposal, level, samples, features, what the heads say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from segue.engine.predictor import Predictor
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.models.region_network import RegionNetwork
from segue.ops import clip_boxes, decode_boxes
from segue.ops.taps import roi_extent, sample_places
from segue.structures import Category, Scene
from segue.tasks import RegionHead
from segue.tasks.boxes import CODER, BoxHead
from segue.tasks.keypoints import KeypointHead
from segue.tasks.masks import MaskHead


@dataclass(frozen=True)
class Reading:
    """What RoIAlign reads for a head.

    Attributes:
        task: whose head.
        box: (4,) xyxy in pixels of the picture: the proposal for the head that chooses detections, else the detection.
        level: of the pyramid, counted from the finest.
        points: (N, 2) x, y in pixels of the picture, the centres of the samples; bin by bin in each line of samples.
        features: (C, P, P) means of the samples of each bin.
    """

    task: str
    box: Tensor
    level: int
    points: Tensor
    features: Tensor


@dataclass(frozen=True)
class Explanation:
    """One region of a picture, and how it came about.

    Attributes:
        scene: the picture's, with all its regions.
        number: index of the region among them.
        proposals: (P, 4) xyxy in pixels of the picture, by falling score.
        proposal: index of the one that became the region.
        levels: features of each pyramid level that heads read, finest first: (H_l, W_l) mean of their absolute values,
            without the padding.
        strides: pixels, of the picture as the network sees it, from one feature to the next, by level.
        readings: what is read of the pyramid, the proposal's first.
        classes: (K + 1,) probabilities of the thing classes and, last, of none.
        mask: (h, w) probability in the region's box that a place belongs to the object; None without a mask head.
        keypoints: (n, h, w) probability of each place in the box to be that keypoint, for the n keypoints of the
            region's category; None without a keypoint head.
    """

    scene: Scene
    number: int
    proposals: Tensor
    proposal: int
    levels: list[Tensor]
    strides: list[int]
    readings: list[Reading]
    classes: Tensor
    mask: Tensor | None
    keypoints: Tensor | None

    @property
    def category(self) -> Category:
        """The region's."""
        return self.scene.categories[int(self.scene.regions.labels[self.number])]

    @property
    def class_names(self) -> list[str]:
        """What the rows of ``classes`` mean."""
        return [*self.scene.categories.names[: len(self.classes) - 1], "background"]


@torch.no_grad()
def explain(
    predictor: Predictor, picture: Tensor, number: int, threshold: float = 0.5, file: str | None = None
) -> Explanation:
    """The way of the region with index ``number`` of a picture (3, H, W) uint8, best first, to the CPU.

    Raises:
        UsageError: the picture has no such region with a score of at least ``threshold``, or the model no proposals
            that a box head turns into detections.
    """
    if not isinstance(predictor, RegionPredictor):
        raise UsageError(f"{predictor.name} has no regions to explain", where="--explain", cure="name a region network")
    network = predictor.network
    head = network.heads[network.selector]
    if not isinstance(head, BoxHead):
        raise UsageError(f"cannot explain what {network.selector} selects", where="--explain", cure="use another model")
    scene = predictor.scenes([(picture, file)], threshold)[0]
    if not 0 <= number < len(scene.regions):
        what = f"there is no region {number + 1} of score {threshold:g} or more, only {len(scene.regions)}"
        raise UsageError(what, where="--explain", cure="choose a smaller number, or lower --threshold")
    x, sizes = predictor.inputs([predictor.resized(picture)])
    levels, found = network.find(x, sizes)
    proposals = network.rpn.propose(network.rpn(levels, (x.shape[2], x.shape[3])), sizes)
    boxes = proposals.boxes[0, proposals.valid[0]]  # (P, 4)
    rows = (found.valid[0] & (found.scores[0] >= threshold)).nonzero()[:, 0]  # in the order of the scene
    box, label = found.boxes[0, rows[number]], int(found.labels[0, rows[number]])
    logits, deltas = head(network.pool(levels, boxes, torch.zeros_like(boxes[:, 0]).long(), head.pooled))
    refined = clip_boxes(decode_boxes(deltas[:, label], boxes, CODER), sizes)
    proposal = int((refined - box).abs().amax(1).argmin())
    scale = boxes.new_tensor([scene.size[1], scene.size[0]]) / sizes[0].flip(0)  # pixels of the picture per pixel seen
    return Explanation(
        scene=scene,
        number=number,
        proposals=(boxes * scale.repeat(2)).cpu(),
        proposal=proposal,
        levels=[seen(level[0], size) for level, size in zip(levels[:-1], shown(sizes[0], network), strict=True)],
        strides=list(network.trunk.strides[:-1]),
        readings=list(readings(network, levels, boxes[proposal], box, scale)),
        classes=class_probabilities(logits[proposal], head),
        mask=mask_of(network, levels, box, label),
        keypoints=keypoint_maps(network, levels, box, label),
    )


def shown(size: Tensor, network: RegionNetwork) -> list[tuple[int, int]]:
    """Height and width of each pyramid level that heads read, without what stands for the padding of a picture."""
    h, w = size.tolist()
    return [(-(-h // stride), -(-w // stride)) for stride in network.trunk.strides[:-1]]


def seen(level: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of the absolute values of features (C, H, W): (h, w), on the CPU."""
    return level[:, : size[0], : size[1]].abs().mean(0).float().cpu()


def readings(
    network: RegionNetwork, levels: list[Tensor], proposal: Tensor, box: Tensor, scale: Tensor
) -> Iterator[Reading]:
    """What each head reads: the selector of the ``proposal`` (4,), the others of the detection's ``box`` (4,)."""
    names = [network.selector, *(name for name in network.heads if name != network.selector)]
    for name in names:
        own = proposal if name == network.selector else box
        pooled = cast(RegionHead, network.heads[name]).pooled
        for side in pooled if isinstance(pooled, tuple) else (pooled,):
            level = int(network.levels_of(own[None]))
            features = network.pool(levels, own[None], torch.zeros_like(own[:1]).long(), side)[0]
            points = sample_points(own, network.trunk.strides[level], side, network.conventions.roi_sampling,
                                   network.conventions.roi_aligned)  # fmt: skip
            yield Reading(name, (own * scale.repeat(2)).cpu(), level, (points * scale).cpu(), features.float().cpu())


def sample_points(box: Tensor, stride: int, side: int, sampling: int, aligned: bool) -> Tensor:
    """The places (N, 2) x, y, in pixels, of the samples that RoIAlign takes of a box (4,), line by line.

    Args:
        box: xyxy in pixels.
        stride: pixels from one feature to the next; the first one's centre is at half of that.
        side: bins per axis.
        sampling: samples per bin and axis; 0 takes as many as a bin has features, rounded up.
        aligned: as of `segue.ops.multilevel_roi_align`.
    """
    start, extent = roi_extent(box[None] / stride, aligned)
    counts = [sampling or max(1, int((extent[0, axis] / side).ceil())) for axis in (0, 1)]
    x, y = (sample_places(start[:, axis], extent[:, axis], side, counts[axis]).flatten() for axis in (0, 1))
    return (torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], dim=1) + 0.5) * stride


def class_probabilities(logits: Tensor, head: BoxHead) -> Tensor:
    """Class logits (K + 1 or more,) -> probabilities (K + 1,) of the classes and of none, on the CPU."""
    classes = logits.softmax(0)[head.first : head.first + head.classes]
    return torch.cat([classes, 1 - classes.sum(0, keepdim=True)]).cpu()


def mask_of(network: RegionNetwork, levels: list[Tensor], box: Tensor, label: int) -> Tensor | None:
    """What the mask head, if there is one, says of a box (4,) with this label: (h, w) in [0, 1]."""
    name = next((name for name, head in network.heads.items() if isinstance(head, MaskHead)), None)
    return None if name is None else _raw(network, levels, box, name)[label].sigmoid().cpu()


def keypoint_maps(network: RegionNetwork, levels: list[Tensor], box: Tensor, label: int) -> Tensor | None:
    """What the keypoint head, if there is one, says of a box (4,) with this label: (n, h, w), each map adds up to 1."""
    for name, head in network.heads.items():
        if isinstance(head, KeypointHead):
            maps = head.maps[label]
            own = _raw(network, levels, box, name)[maps[maps >= 0]]  # (n, h, w)
            return own.flatten(1).softmax(1).view_as(own).cpu()
    return None


def _raw(network: RegionNetwork, levels: list[Tensor], box: Tensor, name: str) -> Tensor:
    """The raw output of the head of this name for a box (4,), which is one tensor."""
    raw: Tensor = network.read(levels, box[None], torch.zeros_like(box[:1]).long(), [name])[name][0]
    return raw
