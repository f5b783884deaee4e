"""torchvision's own networks with the weights of a file, where torchvision is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from segue.models.checkpoints.detector import built_detector
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import fill
from segue.models.checkpoints.stages import OurStages
from segue.models.checkpoints.torchvision import BOXES, LEGACY, coco_rows, modern
from segue.models.checkpoints.torchvision_semantic import built_semantic, recognises
from segue.models.checkpoints.torchvision_stages import TorchvisionStages
from segue.models.checkpoints.verify import Check, compare_detectors, compare_maps, grey_levels, worst_of
from segue.models.weights import ModelFile
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size


def torchvision_version() -> str:
    """Such as ``torchvision 0.29.1``."""
    import torchvision

    return f"torchvision {torchvision.__version__}"


def compare_torchvision(foreign: Foreign, model: ModelFile, pictures: Sequence[Tensor]) -> list[Check]:
    """The stages of a converted model and of the original on pictures (3, H, W) uint8."""
    if recognises(foreign.state):
        return _compare_semantic(foreign, model, pictures)
    network = built_detector(model)
    original = original_detector(foreign, tuple(model.resize or (800, 1333)))
    classes = len(model.categories)
    rows = coco_rows() if classes == 80 else list(range(classes + 1))
    theirs = TorchvisionStages(original, rows, classes)
    return compare_detectors(OurStages(network, model.resize), theirs, pictures, list(model.network["tasks"]))


def original_detector(foreign: Foreign, resize: tuple[int, ...]) -> nn.Module:
    """The detector that torchvision builds for such weights, filled with them."""
    from torchvision.models import detection
    from torchvision.models.detection._utils import overwrite_eps
    from torchvision.ops import FrozenBatchNorm2d

    state = modern(foreign.state)
    kind, more = "fasterrcnn", {}
    if "roi_heads.mask_predictor.mask_fcn_logits.weight" in state:
        kind = "maskrcnn"
    if (points := state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")) is not None:
        kind, more = "keypointrcnn", {"num_keypoints": points.shape[1]}
    second = "_v2" if "backbone.fpn.inner_blocks.0.1.weight" in state else ""
    build = getattr(detection, f"{kind}_resnet50_fpn{second}")
    rows = len(state[f"{BOXES}cls_score.weight"])
    sides = {"min_size": resize[0], "max_size": resize[1]}
    model: nn.Module = build(weights=None, weights_backbone=None, num_classes=rows, **sides, **more)
    if not second and "backbone.body.bn1" not in foreign.counted:
        _replace_norms(model.backbone.body, FrozenBatchNorm2d)  # type: ignore[union-attr,arg-type]
        overwrite_eps(model, 1e-5 if foreign.sha256.startswith(LEGACY) else 0.0)
    fill(model, state)
    return model


def _replace_norms(module: nn.Module, kind: Any) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, kind(child.num_features))
        else:
            _replace_norms(child, kind)


def original_semantic(foreign: Foreign) -> nn.Module:
    """The network that torchvision builds for such weights, filled with them."""
    from torchvision.models import segmentation

    state = foreign.state
    kind = "deeplabv3" if any(name.startswith("classifier.0.convs.") for name in state) else "fcn"
    depth = 101 if "backbone.layer3.22.conv1.weight" in state else 50
    build = getattr(segmentation, f"{kind}_resnet{depth}")
    classes, aux = len(state["classifier.4.weight"]), "aux_classifier.4.weight" in state
    model: nn.Module = build(weights=None, weights_backbone=None, num_classes=classes, aux_loss=aux)
    fill(model, state)
    return model


@torch.no_grad()
def _compare_semantic(foreign: Foreign, model: ModelFile, pictures: Sequence[Tensor]) -> list[Check]:
    from torchvision.transforms._presets import SemanticSegmentation

    assert model.resize is not None
    network, original = built_semantic(model).eval(), original_semantic(foreign)
    transform, c, checks = SemanticSegmentation(resize_size=model.resize[0]), network.conventions, []
    for picture in pictures:
        x = transform(Image.fromarray(picture.permute(1, 2, 0).numpy()))[None]  # resized as for the published scores
        image = resize_image(picture, shown_size((picture.shape[1], picture.shape[2]), model.resize, c), c)
        pixels = normalise(*pad_images([image], network.multiple), c)
        checks.append(Check("preprocessing", "grey levels", grey_levels(pixels, x, c), 1.0))
        checks += compare_maps(network.body, lambda pixels: original(pixels)["out"], x)
    return worst_of(checks)


__all__ = ["compare_torchvision", "original_detector", "original_semantic", "torchvision_version"]
