"""DenseCap's localisation layer: regions worth a sentence (Johnson et al., CVPR 2016, section 3.2).

Unlike `segue.nn.rpn` it reads one map, matches objects with the boxes that it predicts, not with its anchors, and what
it draws goes on to the recognition network with gradients. Constants are those of the published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.losses import smooth_l1
from segue.nn.matching import BELOW, BETWEEN, gather_rows, match, sample
from segue.nn.rpn import Proposals
from segue.ops import box_iou, clip_boxes, decode_boxes, encode_boxes, grid_anchors, nms_keep

CODER = (1.0, 1.0, 1.0, 1.0)
FARTHEST = 10.0  # a box with a larger target in any coordinate is not learned from
OBJECT, NOTHING = 0, 1  # the two scores of an anchor

ANCHORS = (
    *((45.0, 90.0), (90.0, 45.0), (64.0, 64.0)),
    *((90.0, 180.0), (180.0, 90.0), (128.0, 128.0)),
    *((181.0, 362.0), (362.0, 181.0), (256.0, 256.0)),
    *((362.0, 724.0), (724.0, 362.0), (512.0, 512.0)),
)


@dataclass(frozen=True)
class LocalisationSettings:
    """Recipe values of the localisation layer.

    Attributes:
        anchors: width and height of the boxes that every cell starts from, in pixels.
        channels: of its 3x3 convolution.
        positive: a predicted box with this IoU or more answers for an object.
        negative: one below this IoU with every object is background.
        samples: boxes per image that are learned from.
        positive_share: at most this share of them has an object.
        nms: IoU above which the lesser of two proposals goes, in use.
        proposals: most of them per image, in use.
    """

    anchors: tuple[tuple[float, float], ...] = ANCHORS
    channels: int = 256
    positive: float = 0.7
    negative: float = 0.3
    samples: int = 256
    positive_share: float = 0.5
    nms: float = 0.7
    proposals: int = 1000

    def __post_init__(self) -> None:
        if not self.anchors or min(map(min, self.anchors)) <= 0:
            raise ValueError("anchors must be pairs of positive sides, one pair or more")
        for key in ("channels", "samples", "proposals"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1")
        if not 0 <= self.negative <= self.positive <= 1:
            raise ValueError("0 <= negative <= positive <= 1 must hold")
        if not 0 < self.positive_share <= 1:
            raise ValueError("positive_share must be in (0, 1]")


@dataclass(frozen=True)
class Candidates:
    """A box from every anchor.

    Attributes:
        scores: (B, A, 2) logits of `OBJECT` and `NOTHING`.
        deltas: (B, A, 4) what moves the anchors.
        anchors: (A, 4) xyxy in pixels.
        boxes: (B, A, 4) the moved anchors, with gradients.
    """

    scores: Tensor
    deltas: Tensor
    anchors: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class Drawn:
    """The candidates that are learned from, S per image; those with an object come first.

    Attributes:
        index: (B, S) int64 candidate.
        boxes: (B, S, 4) xyxy in pixels, with gradients.
        owners: (B, S) int64 slot of the object that it answers for; meaningless where not ``positive``.
        goals: (B, S, 4) box of that object.
        positive: (B, S) bool, it has an object.
        filled: (B, S) bool, it counts.
    """

    index: Tensor
    boxes: Tensor
    owners: Tensor
    goals: Tensor
    positive: Tensor
    filled: Tensor


class Localisation(nn.Module):
    """A 3x3 convolution, then for every anchor of every cell a score and how to move it; at first not at all."""

    def __init__(self, channels: int, stride: int, settings: LocalisationSettings) -> None:
        super().__init__()
        self.settings, self.stride = settings, stride
        self.conv = nn.Conv2d(channels, settings.channels, 3, padding=1)
        self.scores = nn.Conv2d(settings.channels, 2 * len(settings.anchors), 1)
        self.deltas = nn.Conv2d(settings.channels, 4 * len(settings.anchors), 1)
        for layer, std in ((self.conv, 0.01), (self.scores, 0.01), (self.deltas, 0.0)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Candidates:
        """(B, C, H, W) -> the candidates, A = H * W * anchors per cell."""
        b, _, h, w = features.shape
        x = F.relu(self.conv(features))
        scores = self.scores(x).permute(0, 2, 3, 1).reshape(b, -1, 2).float()
        deltas = self.deltas(x).permute(0, 2, 3, 1).reshape(b, -1, 4).float()
        anchors = self.anchors((h, w), features.device)
        return Candidates(scores, deltas, anchors, decode_boxes(deltas, anchors, CODER))

    def anchors(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        """(H * W * anchors, 4) around the centres of a grid's cells, in the order y, x, anchor."""
        half = torch.tensor(self.settings.anchors, device=device) / 2
        cells = torch.cat([-half, half], dim=1) + self.stride / 2
        return grid_anchors([grid], [self.stride], [cells])[0]

    @torch.no_grad()
    def propose(self, candidates: Candidates, sizes: Tensor) -> Proposals:
        """The best candidates per image, clipped to ``sizes`` (B, 2), height and width."""
        s = self.settings
        boxes, scores = clip_boxes(candidates.boxes, sizes[:, None, :]), lead(candidates.scores)
        valid = ((boxes[..., 2:] - boxes[..., :2]) > 1e-3).all(2)
        index, kept = strongest(boxes, scores, valid, s.nms, s.proposals)
        return Proposals(gather_rows(boxes, index), kept)

    def draw(
        self, candidates: Candidates, truth: Tensor, truth_valid: Tensor, sizes: Tensor, searched: Tensor
    ) -> Drawn:
        """Candidates at random, matched with padded true boxes (B, G, 4) with their validity (B, G).

        Only pictures that are ``searched`` (B,) for objects count.
        """
        s = self.settings
        truth, truth_valid = F.pad(truth, (0, 0, 0, 1)), F.pad(truth_valid, (0, 1))  # one that nobody answers for
        matched = assign(candidates.boxes.detach(), truth, truth_valid, sizes, s)
        index, positive, filled = full_sample(matched, s.samples, int(s.samples * s.positive_share))
        owners = matched.gather(1, index).clamp(min=0)
        positive, filled = positive & searched[:, None], filled & searched[:, None]
        boxes = gather_rows(candidates.boxes, index)
        return Drawn(index, boxes, owners, gather_rows(truth, owners), positive, filled)

    def losses(self, candidates: Candidates, drawn: Drawn) -> dict[str, Tensor]:
        """Box distance and objectness of what was drawn, and half the square of all deltas, per image.

        Targets are relative to the anchors. Objectness is a mean over objects plus a mean over background.
        """
        scores = gather_rows(candidates.scores, drawn.index)
        target = torch.where(drawn.positive, OBJECT, NOTHING)
        surprise = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")  # (B, S)
        deltas, anchors = gather_rows(candidates.deltas, drawn.index), candidates.anchors[drawn.index]
        background = drawn.filled & ~drawn.positive
        return {
            "proposals": box_distance(deltas, anchors, drawn.goals, drawn.positive),
            "proposal_objectness": mean_of(surprise, drawn.positive) + mean_of(surprise, background),
            "box_decay": 0.5 * candidates.deltas.square().sum() / max(len(candidates.deltas), 1),
        }


def lead(scores: Tensor) -> Tensor:
    """(..., 2) logits -> (...) the logit of an object against nothing."""
    return scores[..., OBJECT] - scores[..., NOTHING]


@torch.no_grad()
def assign(boxes: Tensor, truth: Tensor, truth_valid: Tensor, sizes: Tensor, settings: LocalisationSettings) -> Tensor:
    """As `segue.nn.matching.match`, for boxes (B, A, 4) in pictures of ``sizes`` (B, 2), height and width.

    Boxes that leave the picture are neither object nor background, but the best box of every object always answers.
    """
    overlaps = box_iou(truth, boxes).masked_fill(~truth_valid[..., None], -1.0)  # (B, G, A)
    matched = match(overlaps, truth_valid, settings.negative, settings.positive, keep_best=False)
    limits = sizes.flip(1)[:, None, :]  # width, height
    inside = (boxes[..., :2] >= 0).all(2) & (boxes[..., 2:] <= limits).all(2)
    matched = matched.masked_fill(~inside, BETWEEN)
    peak, best = overlaps.max(2)  # (B, G)
    is_best = torch.zeros_like(overlaps, dtype=torch.bool).scatter(2, best[..., None], (peak > 0)[..., None]).any(1)
    return torch.where(is_best, overlaps.argmax(1), matched)


@torch.no_grad()
def full_sample(matched: Tensor, count: int, positives: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `segue.nn.matching.sample`, with background drawn repeatedly where there is too little of it.

    Where there is none, any box without an object stands in; where there is no such box either, slots stay empty.
    """
    index, positive, filled = sample(matched, torch.ones_like(matched, dtype=torch.bool), count, positives)
    below = matched == BELOW
    others = torch.where(below.any(1, keepdim=True), below, matched < 0)
    some = others.any(1, keepdim=True)
    spare = torch.multinomial((others | ~some).float(), index.shape[1], replacement=True)
    return torch.where(filled, index, spare), positive, filled | some


def strongest(boxes: Tensor, scores: Tensor, valid: Tensor, iou: float, count: int) -> tuple[Tensor, Tensor]:
    """NMS within each image -> (B, K) int64 indices of at most ``count`` boxes, best first, and (B, K) bool, is one."""
    b, n = scores.shape
    images = torch.arange(b, device=boxes.device).repeat_interleave(n)
    keep = nms_keep(boxes.reshape(-1, 4), scores.reshape(-1), iou, images, valid.reshape(-1))
    ranked, order = scores.masked_fill(~keep.view(b, n), -torch.inf).topk(min(count, n), dim=1)
    return order, ranked > -torch.inf


def box_distance(deltas: Tensor, bases: Tensor, goals: Tensor, positive: Tensor) -> Tensor:
    """Mean smooth L1 distance of deltas (B, S, 4) from what moves ``bases`` onto ``goals``, over the positive boxes.

    Those with a target beyond 10 count as zero. Gradients reach the bases.
    """
    targets = encode_boxes(goals, bases, CODER)
    near = (targets.abs() <= FARTHEST).all(2)
    distance = smooth_l1(deltas, targets, 1.0).mean(2)
    return distance.where(near & positive, 0).sum() / positive.sum().clamp(min=1)


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of values (...) where ``counted`` (...); 0 where nothing is."""
    return values.where(counted, 0).sum() / counted.sum().clamp(min=1)
