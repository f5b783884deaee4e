"""torchvision's own detectors by stages, where torchvision is installed: what ours is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segue.models.checkpoints.stages import Found, Shown, Size


class TorchvisionStages:
    """A detector of torchvision, its rows sorted as `torchvision.coco_rows` says; see `stages.Stages`.

    Args:
        model: the detector, in evaluation mode.
        rows: of its classifier in our order: background, classes, rows to spare.
        classes: how many of these are classes.
    """

    def __init__(self, model: Any, rows: Sequence[int], classes: int) -> None:
        self.model, self.rows, self.own = model.eval(), list(rows), list(rows[1 : 1 + classes])
        self.label = torch.full((len(self.rows),), -1, dtype=torch.int64)  # of each row of the classifier
        self.label[self.own] = torch.arange(classes)

    def shown(self, picture: Tensor) -> Shown:
        """As of `Stages`."""
        images, _ = self.model.transform([picture.float() / 255])
        return Shown(images.tensors, tuple(images.image_sizes[0]))

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        """As of `Stages`."""
        return list(self.model.backbone(pixels).values())

    def proposal_scores(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        logits, deltas = self.model.rpn.head(list(levels))
        flat = [x.permute(0, 2, 3, 1).reshape(1, -1) for x in logits]
        moves = [x.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(1, -1, 4) for x in deltas]
        return torch.cat(flat, 1), torch.cat(moves, 1)

    def proposals(self, raw: tuple[Tensor, Tensor], levels: Sequence[Tensor], padded: Size, size: Size) -> Tensor:
        """As of `Stages`."""
        from torchvision.models.detection.image_list import ImageList

        rpn = self.model.rpn
        anchors = rpn.anchor_generator(ImageList(torch.zeros(1, 3, *padded), [size]), list(levels))
        counts = [3 * level.shape[2] * level.shape[3] for level in levels]
        boxes = rpn.box_coder.decode(raw[1].reshape(-1, 4), anchors).view(1, -1, 4)
        found: list[Tensor] = rpn.filter_proposals(boxes, raw[0].reshape(-1, 1), [size], counts)[0]
        return found[0]

    def regions(self, levels: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
        """As of `Stages`."""
        heads = self.model.roi_heads
        pools = (heads.box_roi_pool, heads.mask_roi_pool, heads.keypoint_roi_pool)
        pool = next(p for p in pools if p is not None and p.output_size[0] == side)
        names = ["0", "1", "2", "3", "pool"]
        finest = levels[0].shape
        size = (finest[2] * 4, finest[3] * 4)
        rois: Tensor = pool(dict(zip(names, levels, strict=True)), [boxes], [size])
        return rois

    def box_scores(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        heads = self.model.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(rois))
        return logits[:, self.rows], deltas.view(len(rois), -1, 4)[:, self.own]

    def detections(self, raw: tuple[Tensor, Tensor], proposals: Tensor, size: Size) -> Found:
        """As of `Stages`; detections of rows that are no class are left out."""
        logits, deltas = torch.empty_like(raw[0]), raw[1].new_zeros(len(proposals), len(self.rows), 4)
        logits[:, self.rows], deltas[:, self.own] = raw
        boxes, scores, labels = self.model.roi_heads.postprocess_detections(
            logits, deltas.flatten(1), [proposals], [size]
        )
        ours = self.label[labels[0]]
        kept = ours >= 0
        return Found(boxes[0][kept], scores[0][kept], ours[kept])

    def mask_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        heads = self.model.roi_heads
        logits: Tensor = heads.mask_predictor(heads.mask_head(rois))[:, self.own]
        return logits

    def masks(self, logits: Tensor, labels: Tensor, boxes: Tensor, size: Size) -> Tensor:
        """As of `Stages`; its users cut the soft masks at one half."""
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        own = logits[torch.arange(len(labels)), labels].sigmoid()[:, None]
        soft: Tensor = paste_masks_in_image(own, boxes, size)
        return soft[:, 0] >= 0.5

    def keypoint_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        heads = self.model.roi_heads
        logits: Tensor = heads.keypoint_predictor(heads.keypoint_head(rois))
        return logits

    def keypoints(self, logits: Tensor, boxes: Tensor, shown: Size, size: Size) -> Tensor:
        """As of `Stages`: torchvision's points count pixels by their index, ours lie half a pixel further."""
        from torchvision.models.detection.roi_heads import keypointrcnn_inference
        from torchvision.models.detection.transform import resize_keypoints

        points, scores = keypointrcnn_inference(logits, [boxes])
        xy = resize_keypoints(points[0], shown, size)[..., :2] + 0.5
        return torch.cat([xy, scores[0][..., None]], 2)
