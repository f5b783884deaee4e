"""detectron2's own detectors by stages, where detectron2 is installed: what ours is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.models.checkpoints.stages import Found, Shown, Size


class Detectron2Stages:
    """A detector of detectron2; see `stages.Stages`. What a Panoptic FPN has beside that comes at the end.

    Args:
        model: the detector, in evaluation mode.
        resize: shorter side, and most that the longer may have.
    """

    def __init__(self, model: Any, resize: tuple[int, int]) -> None:
        self.model, self.resize = model.eval(), resize

    def resized(self, picture: Tensor) -> Tensor:
        """A picture (3, H, W) uint8 RGB in the size in which the network sees it."""
        from detectron2.data.transforms import ResizeShortestEdge

        array = picture.permute(1, 2, 0).numpy()
        change = ResizeShortestEdge([self.resize[0], self.resize[0]], self.resize[1]).get_transform(array)
        return torch.from_numpy(change.apply_image(array).copy()).permute(2, 0, 1)

    def shown(self, picture: Tensor) -> Shown:
        """As of `Stages`."""
        images = self.model.preprocess_image([{"image": self.resized(picture).flip(0).float()}])
        return Shown(images.tensor, tuple(images.image_sizes[0]))

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        """As of `Stages`."""
        levels = self.model.backbone(pixels)
        return [levels[f"p{i}"] for i in range(2, 7)]

    def proposal_scores(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        logits, deltas = self.model.proposal_generator.rpn_head(list(levels))
        rows = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
        moves = [x.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
        return torch.cat(rows, 1), torch.cat(moves, 1)

    def anchors(self, levels: Sequence[Tensor]) -> list[Any]:
        """detectron2's boxes of each level."""
        found: list[Any] = self.model.proposal_generator.anchor_generator(list(levels))
        return found

    def proposals(self, raw: tuple[Tensor, Tensor], levels: Sequence[Tensor], padded: Size, size: Size) -> Tensor:
        """As of `Stages`."""
        anchors = self.anchors(levels)
        logits, deltas = (list(torch.split(values, [len(a) for a in anchors], 1)) for values in raw)
        found = self.model.proposal_generator.predict_proposals(anchors, logits, deltas, [size])[0]
        boxes: Tensor = found.proposal_boxes.tensor
        return boxes

    def regions(self, levels: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
        """As of `Stages`."""
        from detectron2.structures import Boxes

        heads = self.model.roi_heads
        pools = [getattr(heads, f"{name}_pooler", None) for name in ("box", "mask", "keypoint")]
        pool = next(p for p in pools if p is not None and p.output_size[0] == side)
        rois: Tensor = pool(list(levels[:-1]), [Boxes(boxes)])
        return rois

    def box_scores(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """As of `Stages`."""
        heads = self.model.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(rois))
        return logits, deltas.view(len(rois), -1, 4)

    def detections(self, raw: tuple[Tensor, Tensor], proposals: Tensor, size: Size) -> Found:
        """As of `Stages`."""
        from detectron2.structures import Boxes, Instances

        given = Instances(size, proposal_boxes=Boxes(proposals))
        found = self.model.roi_heads.box_predictor.inference((raw[0], raw[1].flatten(1)), [given])[0][0]
        return Found(found.pred_boxes.tensor, found.scores, found.pred_classes)

    def mask_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        logits: Tensor = self.model.roi_heads.mask_head.layers(rois)
        return logits

    def masks(self, logits: Tensor, labels: Tensor, boxes: Tensor, size: Size) -> Tensor:
        """As of `Stages`."""
        from detectron2.layers import paste_masks_in_image
        from detectron2.structures import Boxes

        own = logits[torch.arange(len(labels)), labels].sigmoid()
        pasted: Tensor = paste_masks_in_image(own, Boxes(boxes), size)
        return pasted

    def keypoint_logits(self, rois: Tensor) -> Tensor:
        """As of `Stages`."""
        logits: Tensor = self.model.roi_heads.keypoint_head.layers(rois)
        return logits

    def keypoints(self, logits: Tensor, boxes: Tensor, shown: Size, size: Size) -> Tensor:
        """As of `Stages`."""
        from detectron2.modeling.roi_heads.keypoint_head import keypoint_rcnn_inference
        from detectron2.structures import Boxes, Instances

        found = Instances(shown, pred_boxes=Boxes(boxes))
        keypoint_rcnn_inference(logits, [found])
        points: Tensor = found.pred_keypoints
        return points * points.new_tensor([size[1] / shown[1], size[0] / shown[0], 1])

    def instances(self, found: Found, logits: Tensor | None, shown: Size, size: Size) -> Any:
        """detectron2's final detections in a picture of ``size``, without those that have no area in it.

        With mask logits (R, K, 28, 28) they have masks.
        """
        from detectron2.modeling.postprocessing import detector_postprocess
        from detectron2.modeling.roi_heads.mask_head import mask_rcnn_inference
        from detectron2.structures import Boxes, Instances

        boxes = Boxes(found.boxes.clone())  # which are rescaled in place
        given = Instances(shown, pred_boxes=boxes, scores=found.scores, pred_classes=found.labels)
        if logits is not None:
            mask_rcnn_inference(logits, [given])
        return detector_postprocess(given, *size)

    def semantic_logits(self, levels: Sequence[Tensor]) -> Tensor:
        """(1, outputs, h, w) of the semantic branch: all things together, then the stuff."""
        logits: Tensor = self.model.sem_seg_head.layers({f"p{i}": x for i, x in enumerate(levels, 2)})
        return logits

    def semantic_map(self, logits: Tensor, shown: Size, size: Size) -> Tensor:
        """(H, W) outputs of the semantic branch in a picture of ``size``."""
        from detectron2.modeling.postprocessing import sem_seg_postprocess

        stride = self.model.sem_seg_head.common_stride
        enlarged = F.interpolate(logits, scale_factor=stride, mode="bilinear", align_corners=False)
        found: Tensor = sem_seg_postprocess(enlarged[0], shown, *size).argmax(0)
        return found

    def panoptic(self, instances: Any, semantic: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
        """(H, W) map of segments, and what detectron2 says of each."""
        from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs

        limits = ("combine_overlap_thresh", "combine_stuff_area_thresh", "combine_instances_score_thresh")
        merged, segments = combine_semantic_and_instance_outputs(
            instances, semantic, *(getattr(self.model, name) for name in limits)
        )
        return merged, segments
