"""Region proposal network (Ren et al. 2015): where something is, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.conventions import Conventions
from segue.nn.losses import smooth_l1
from segue.nn.matching import gather_rows, match, sample
from segue.ops import box_iou, cell_anchors, clip_boxes, decode_boxes, encode_boxes, grid_anchors, nms_keep

CODER = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ProposalSettings:
    """Recipe values of the proposal network.

    Attributes:
        sizes: side of the anchors in pixels, one per pyramid level, finest first.
        ratios: height to width of the anchors.
        positive: an anchor with this IoU or more answers for an object.
        negative: an anchor below this IoU with every object is background.
        ignored: but not an anchor below this one.
        samples: anchors per image in the loss.
        positive_share: at most this share of them has an object.
        pre_nms_train: best proposals per level before NMS, in training.
        pre_nms: the same in use.
        post_nms_train: proposals per image after NMS, in training.
        post_nms: the same in use.
        nms: IoU above which the lesser of two proposals of a level goes.
        convolutions: 3x3 layers before the two outputs.
    """

    sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    positive: float = 0.7
    negative: float = 0.3
    ignored: float = 0.0
    samples: int = 256
    positive_share: float = 0.5
    pre_nms_train: int = 2000
    pre_nms: int = 1000
    post_nms_train: int = 2000
    post_nms: int = 1000
    nms: float = 0.7
    convolutions: int = 1


@dataclass(frozen=True)
class Proposals:
    """Padded proposals of a batch.

    Attributes:
        boxes: (B, P, 4) xyxy in pixels, by falling score.
        valid: (B, P) bool, the slot is filled.
    """

    boxes: Tensor
    valid: Tensor


@dataclass(frozen=True)
class RawProposals:
    """Every anchor of every level in one row: logits (B, A), deltas and boxes (B, A, 4), anchors (A, 4)."""

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    counts: list[int] = field(default_factory=list)


class RPN(nn.Module):
    """3x3 convolutions and two 1x1, shared by all levels; then the best boxes of every level without doubles."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        strides: Sequence[int],
        settings: ProposalSettings,
        conventions: Conventions,
    ) -> None:
        super().__init__()
        self.settings, self.conventions, self.strides = settings, conventions, list(strides)
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1)
        self.logits = nn.Conv2d(channels, len(settings.ratios), 1)
        self.deltas = nn.Conv2d(channels, 4 * len(settings.ratios), 1)
        self.further = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(settings.convolutions - 1)
        )
        for layer in (self.conv, self.logits, self.deltas, *self.further):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, levels: Sequence[Tensor], padded: tuple[int, int]) -> RawProposals:
        """Pyramid maps (B, C, H_i, W_i) of images padded to (height, width) -> logits and deltas of every anchor."""
        logits, deltas, grids = [], [], []
        for level in levels:
            b, _, h, w = level.shape
            x = self.conv(level).relu_()
            for convolution in self.further:
                x = convolution(x).relu_()
            logits.append(self.logits(x).permute(0, 2, 3, 1).reshape(b, -1))  # (B, H * W * A)
            d = self.deltas(x).view(b, -1, 4, h, w)  # (B, A, 4, H, W)
            deltas.append(d.permute(0, 3, 4, 1, 2).reshape(b, -1, 4))
            grids.append((h, w))
        anchors = self.anchors(grids, padded, levels[0].device)
        return RawProposals(
            torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors), [a.shape[0] for a in anchors]
        )

    def anchors(self, grids: list[tuple[int, int]], padded: tuple[int, int], device: torch.device) -> list[Tensor]:
        """The anchors (H * W * A, 4) of each level. Strides by the conventions."""
        rounded = self.conventions.round_anchors
        cells = [cell_anchors([size], self.settings.ratios, rounded).to(device) for size in self.settings.sizes]
        strides = [(s, s) for s in self.strides]
        if self.conventions.anchors_span_grid:
            strides = [(padded[0] // h, padded[1] // w) for h, w in grids]
        return grid_anchors(grids, strides, cells)

    @torch.no_grad()
    def propose(self, raw: RawProposals, sizes: Tensor) -> Proposals:
        """The best boxes per image, clipped to ``sizes`` (B, 2), height and width."""
        s = self.settings
        before = s.pre_nms_train if self.training else s.pre_nms
        after = s.post_nms_train if self.training else s.post_nms
        picked, groups, start = [], [], 0
        for level, count in enumerate(raw.counts):
            top = raw.logits[:, start : start + count].topk(smaller(before, count), dim=1).indices + start
            picked.append(top)
            groups.append(torch.full_like(top, level))
            start += count
        index, group = torch.cat(picked, 1), torch.cat(groups, 1)  # (B, N)
        scores = raw.logits.gather(1, index).float()
        boxes = decode_boxes(gather_rows(raw.deltas.float(), index), raw.anchors[index], CODER)
        boxes = clip_boxes(boxes, sizes[:, None, :])
        valid = ((boxes[..., 2:] - boxes[..., :2]) > 1e-3).all(2) & scores.isfinite()
        image = torch.arange(scores.shape[0], device=scores.device)[:, None] * len(raw.counts)
        return _best(boxes, scores, group + image, valid, s.nms, after)

    def losses(self, raw: RawProposals, truth: Tensor, truth_valid: Tensor, searched: Tensor) -> dict[str, Tensor]:
        """Objectness and box losses against padded true boxes (B, G, 4) with their validity (B, G).

        Only pictures that are ``searched`` (B,) for objects count.
        """
        s, c = self.settings, self.conventions
        with torch.no_grad():
            matched = match(box_iou(truth, raw.anchors), truth_valid, s.negative, s.positive, True, s.ignored)
            usable = searched[:, None].expand_as(matched)
            index, positive, filled = sample(matched, usable, s.samples, int(s.samples * s.positive_share))
            owners = matched.gather(1, index).clamp(min=0)
            anchors = raw.anchors[index]
            goals = encode_boxes(gather_rows(truth, owners), anchors, CODER) if truth.shape[1] else anchors
        count = (filled.sum() if c.rpn_per_sampled else s.samples * searched.sum()).clamp(min=1)
        objectness = F.binary_cross_entropy_with_logits(
            raw.logits.gather(1, index).float(), positive.float(), reduction="none"
        )
        distance = smooth_l1(gather_rows(raw.deltas, index).float(), goals, c.rpn_beta).sum(2)
        return {
            "objectness": (objectness * filled).sum() / count,
            "proposals": distance.where(positive, torch.zeros_like(distance)).sum() / count,
        }


def _best(boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float, count: int) -> Proposals:
    """NMS within each group, an image's level, then the ``count`` best per image over all levels."""
    b, n = scores.shape
    keep = nms_keep(boxes.reshape(-1, 4), scores.reshape(-1), iou, group.reshape(-1), valid.reshape(-1))
    ranked, order = scores.masked_fill(~keep.view(b, n), -torch.inf).topk(smaller(count, n), dim=1)
    return Proposals(gather_rows(boxes, order), ranked > -torch.inf)


def smaller(a: int, b: int) -> int:
    """The smaller number; unlike of `min`, the exporter need not know which that is."""
    least: int = torch.sym_min(a, b)  # type: ignore[no-untyped-call]
    return least
