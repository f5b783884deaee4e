"""detectron2's own networks with the weights of a file, where detectron2 is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segue.models.checkpoints.detector import built_detector
from segue.models.checkpoints.detectron2 import RESIZE
from segue.models.checkpoints.detectron2_stages import Detectron2Stages
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import fill
from segue.models.checkpoints.stages import OurStages
from segue.models.checkpoints.verify import Check, compare_detectors, relative, worst_of
from segue.models.region_network import RegionNetwork
from segue.models.weights import ModelFile
from segue.ops.panoptic import MergeLimits, merge_panoptic
from segue.structures import Categories, Masks, Regions

FOLDERS = {
    "faster_rcnn": "COCO-Detection",
    "mask_rcnn": "COCO-InstanceSegmentation",
    "keypoint_rcnn": "COCO-Keypoints",
    "panoptic_fpn": "COCO-PanopticSegmentation",
}
NORMS = {"frozen": "FrozenBN", "batch": "BN", "group": "GN"}


def detectron2_version() -> str:
    """Such as ``detectron2 0.6``."""
    import detectron2

    return f"detectron2 {detectron2.__version__}"


def published_configuration(model: ModelFile) -> str | None:
    """The configuration in detectron2's model zoo of the networks that a converted one is like; None for none."""
    body, heads = model.network["backbone"], model.network["tasks"]
    grouped = body["groups"] > 1
    if body["depth"] not in (50, 101) or (grouped and (body["depth"], body["groups"]) != (101, 32)):
        return None
    trunk = "X_101_32x8d" if grouped else f"R_{body['depth']}"
    if "panoptic" in heads:
        return None if grouped else f"COCO-PanopticSegmentation/panoptic_fpn_{trunk}_3x.yaml"
    kind = next((f"{kind}_rcnn" for kind in ("keypoint", "mask") if f"{kind}s" in heads), "faster_rcnn")
    return f"{FOLDERS[kind]}/{kind}_{trunk}_FPN_3x.yaml"


def compare_detectron2(foreign: Foreign, model: ModelFile, pictures: Sequence[Tensor]) -> list[Check]:
    """The stages of a converted model and of the original on pictures (3, H, W) uint8."""
    resize = model.resize or RESIZE
    network, theirs = built_detector(model), Detectron2Stages(original_detector(foreign, model), resize)
    checks = compare_detectors(OurStages(network, resize), theirs, pictures, list(model.network["tasks"]))
    if "panoptic" in model.network["tasks"]:
        categories = Categories.from_json(model.categories)
        checks += worst_of([c for p in pictures for c in compare_panoptic(network, categories, theirs, p)])
    return checks


def original_detector(foreign: Foreign, model: ModelFile) -> Any:
    """The detector that detectron2 builds by its published configuration, filled with the weights.

    Only numbers of classes, channels and layers, and the kind of norm, are those of the weights.
    """
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    cfg = model_zoo.get_config(str(published_configuration(model)))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *_sizes(model)])
    detector = build_model(cfg)
    fill(detector, foreign.state)
    return detector


def _sizes(model: ModelFile) -> list[Any]:
    """What a network of other size sets in the configuration: names and values in turn."""
    body, heads = model.network["backbone"], model.network["tasks"]
    things = sum(category.isthing for category in Categories.from_json(model.categories))
    inner = body["groups"] * body["group_width"] or body["width"]
    options = {
        "MODEL.RESNETS.NORM": NORMS[body["norm"]],
        "MODEL.RESNETS.STEM_OUT_CHANNELS": body["width"],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 4 * body["width"],
        "MODEL.RESNETS.WIDTH_PER_GROUP": inner // body["groups"],
        "MODEL.FPN.OUT_CHANNELS": model.network["pyramid"]["channels"],
        "MODEL.ROI_HEADS.NUM_CLASSES": things,
        "MODEL.ROI_BOX_HEAD.FC_DIM": heads["boxes"]["channels"],
    }
    if "masks" in heads:
        options["MODEL.ROI_MASK_HEAD.CONV_DIM"] = heads["masks"]["channels"]
        options["MODEL.ROI_MASK_HEAD.NUM_CONV"] = heads["masks"]["convolutions"]
    if "keypoints" in heads:
        layers = heads["keypoints"]
        options["MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS"] = (layers["channels"],) * layers["convolutions"]
        options["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"] = len(model.categories[0]["keypoints"])
    if "semantic" in heads:
        options["MODEL.SEM_SEG_HEAD.CONVS_DIM"] = heads["semantic"]["channels"]
        options["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] = len(model.categories) - things + 1
    return [part for pair in options.items() for part in pair]


@torch.no_grad()
def compare_panoptic(
    network: RegionNetwork, categories: Categories, theirs: Detectron2Stages, picture: Tensor
) -> list[Check]:
    """The semantic branch, its map, and the merging with detections, on a picture (3, H, W) uint8."""
    size = (picture.shape[1], picture.shape[2])
    head: Any = network.pixel_heads["semantic"]
    seen = theirs.shown(picture)
    levels = theirs.pyramid(seen.pixels)
    logits = theirs.semantic_logits(levels)
    outputs = theirs.semantic_map(logits, seen.size, size)
    own, _ = head.decode(logits[0], seen.size, size)
    semantic = head.category[outputs].short()
    padded = (seen.pixels.shape[2], seen.pixels.shape[3])
    proposals = theirs.proposals(theirs.proposal_scores(levels), levels, padded, seen.size)
    found = theirs.detections(theirs.box_scores(theirs.regions(levels, proposals, 7)), proposals, seen.size)
    masks = theirs.mask_logits(theirs.regions(levels, found.boxes, 14))
    instances = theirs.instances(found, masks, seen.size, size)
    wanted, _ = theirs.panoptic(instances, outputs)
    regions = Regions(
        instances.pred_boxes.tensor,
        instances.pred_classes,
        instances.scores,
        masks=Masks.from_dense(instances.pred_masks),
    )
    merged, _ = merge_panoptic(regions, semantic, categories, MergeLimits())
    return [
        Check("semantic logits", "relative", relative(head(levels[:-1]), logits), 1e-5),
        Check("semantic map", "share that differs", float((own != semantic).double().mean()), 1e-4),
        Check("panoptic map", "share that differs", float((merged != wanted).double().mean()), 0.0),
    ]


__all__ = ["compare_detectron2", "detectron2_version", "original_detector", "published_configuration"]
