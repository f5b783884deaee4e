"""A detector taken apart into stages, so that two implementations can be fed the same inputs and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from segue.models.region_network import RegionNetwork
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size
from segue.nn.rpn import RawProposals
from segue.structures import Masks, Regions

Size = tuple[int, int]
"""Height and width."""


class Shown(NamedTuple):
    """A picture as the network sees it: normalised and padded (1, 3, H, W), and its size before the padding."""

    pixels: Tensor
    size: Size


class Found(NamedTuple):
    """Detections by falling score: boxes (N, 4), scores (N,), labels (N,) as indices of our categories."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Stages(Protocol):
    """A detector in evaluation mode, one picture at a time; all rows and coordinates in our order and convention."""

    def shown(self, picture: Tensor) -> Shown:
        """A picture (3, H, W) uint8 RGB as the network sees it."""

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        """(1, 3, H, W) -> five maps (1, C, h, w), finest first."""

    def proposal_scores(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (1, A) and deltas (1, A, 4) of all anchors."""

    def proposals(self, raw: tuple[Tensor, Tensor], levels: Sequence[Tensor], padded: Size, size: Size) -> Tensor:
        """The best boxes (P, 4) of those logits and deltas, by falling score."""

    def regions(self, levels: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
        """RoIAlign of boxes (R, 4): (R, C, side, side)."""

    def box_scores(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, 7, 7) -> class logits (R, rows), deltas (R, K, 4)."""

    def detections(self, raw: tuple[Tensor, Tensor], proposals: Tensor, size: Size) -> Found:
        """What the logits and deltas say of proposals (R, 4)."""

    def mask_logits(self, rois: Tensor) -> Tensor:
        """(R, C, 14, 14) -> (R, K, 28, 28)."""

    def masks(self, logits: Tensor, labels: Tensor, boxes: Tensor, size: Size) -> Tensor:
        """Masks (R, H, W) bool of boxes (R, 4) in a picture of ``size``."""

    def keypoint_logits(self, rois: Tensor) -> Tensor:
        """(R, C, 14, 14) -> (R, points, 56, 56)."""

    def keypoints(self, logits: Tensor, boxes: Tensor, shown: Size, size: Size) -> Tensor:
        """(R, points, 3) x, y, score in a picture of ``size``, of boxes (R, 4) that the network saw in ``shown``."""


class OurStages:
    """Segue's network by stages."""

    def __init__(self, network: RegionNetwork, resize: tuple[int, int] | None) -> None:
        self.network, self.resize = network.eval(), resize

    def shown(self, picture: Tensor) -> Shown:
        """As of `Stages`."""
        c = self.network.conventions
        image = resize_image(picture, shown_size((picture.shape[1], picture.shape[2]), self.resize, c), c)
        padded, sizes = pad_images([image], self.network.multiple)
        return Shown(normalise(padded, sizes, c), (image.shape[1], image.shape[2]))

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        """As of `Stages`."""
        levels: list[Tensor] = self.network.trunk(pixels)
        return levels

    def proposal_scores(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        raw = self.network.rpn(levels, (1024, 1024))
        return raw.logits, raw.deltas

    def proposals(self, raw: tuple[Tensor, Tensor], levels: Sequence[Tensor], padded: Size, size: Size) -> Tensor:
        """As of `Stages`."""
        grids = [(level.shape[2], level.shape[3]) for level in levels]
        anchors = self.network.rpn.anchors(grids, padded, raw[0].device)
        found = self.network.rpn.propose(
            RawProposals(*raw, torch.cat(anchors), [len(a) for a in anchors]), torch.tensor([size])
        )
        return found.boxes[0, found.valid[0]]

    def regions(self, levels: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
        """As of `Stages`."""
        rois: Tensor = self.network.pool(list(levels), boxes, torch.zeros(len(boxes), dtype=torch.int64), side)
        return rois

    def box_scores(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        return cast(tuple[Tensor, Tensor], self.network.heads["boxes"](rois))

    def detections(self, raw: tuple[Tensor, Tensor], proposals: Tensor, size: Size) -> Found:
        """As of `Stages`."""
        valid = torch.ones(1, len(proposals), dtype=torch.bool)
        found = self._head("boxes").select(raw, proposals[None], valid, torch.tensor([size]))
        kept = found.valid[0]
        return Found(found.boxes[0, kept], found.scores[0, kept], found.labels[0, kept])

    def mask_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        return cast(Tensor, self.network.heads["masks"](rois))

    def masks(self, logits: Tensor, labels: Tensor, boxes: Tensor, size: Size) -> Tensor:
        """As of `Stages`."""
        found: Masks = self._head("masks").decode(logits, Regions(boxes, labels), size)
        return found.dense()

    def keypoint_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        return cast(Tensor, self.network.heads["keypoints"](rois))

    def keypoints(self, logits: Tensor, boxes: Tensor, shown: Size, size: Size) -> Tensor:
        """As of `Stages`."""
        scale = boxes.new_tensor([size[1] / shown[1], size[0] / shown[0]] * 2)
        regions = Regions(boxes * scale, torch.zeros(len(boxes), dtype=torch.int64))
        points: Tensor = self._head("keypoints").decode(logits, regions, size, boxes)
        return points

    def _head(self, name: str) -> Any:
        return self.network.heads[name]
