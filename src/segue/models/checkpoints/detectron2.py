"""detectron2's Faster, Mask and Keypoint R-CNN and Panoptic FPN, on ResNets and ResNeXts with FPN.

Sources: detectron2 ``config/defaults.py``, ``configs/Base-RCNN-FPN.yaml``, ``modeling`` (backbone, meta_arch,
roi_heads).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from segue.data.published_classes import COCO, COCO_PANOPTIC, COCO_PERSON
from segue.errors import CheckpointError
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import Rules, fitted, rename, resnet_depth
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings
from segue.models.weights import ModelFile
from segue.nn.conventions import CONVENTIONS, ConventionName
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Category
from segue.structures.categories import distinct_color
from segue.tasks import tasks_named

RESIZE = (800, 1333)
LICENCE = "CC-BY-SA 3.0 (detectron2's model zoo)"

BODY, FPN, RPN = "backbone.bottom_up.", "backbone.fpn_", "proposal_generator.rpn_head."
HEADS, SEMANTIC = "roi_heads.", "sem_seg_head."
CLASSES, STEM = f"{HEADS}box_predictor.cls_score.weight", f"{BODY}stem.conv1.weight"
FIRST_BLOCK = f"{BODY}res2.0."

RULES: Rules = (
    (r"backbone\.bottom_up\.stem\.conv1\.(weight)", r"trunk.backbone.stem.0.\1"),
    (r"backbone\.bottom_up\.stem\.conv1\.norm\.(\w+)", r"trunk.backbone.stem.1.\1"),
    *(
        (rf"backbone\.bottom_up\.res{i + 2}\.(\d+)\.{theirs}", rf"trunk.backbone.stages.{i}.\1.{ours}")
        for i in range(4)
        for theirs, ours in (
            (r"conv(\d)\.(weight)", r"conv\2.\3"),
            (r"conv(\d)\.norm\.(\w+)", r"norm\2.\3"),
            (r"shortcut\.(weight)", r"shortcut.0.\2"),
            (r"shortcut\.norm\.(\w+)", r"shortcut.1.\2"),
        )
    ),
    *((rf"backbone\.fpn_(lateral|output){i + 2}\.(\w+)", rf"trunk.pyramid.\1.{i}.\2") for i in range(4)),
    (r"proposal_generator\.rpn_head\.conv\.(\w+)", r"rpn.conv.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(\w+)", r"rpn.logits.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(\w+)", r"rpn.deltas.\1"),
    (r"roi_heads\.box_head\.(fc[12])\.(\w+)", r"heads.boxes.\1.\2"),
    (r"roi_heads\.box_predictor\.cls_score\.(\w+)", r"heads.boxes.logits.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(\w+)", r"heads.boxes.deltas.\1"),
    *((rf"roi_heads\.mask_head\.mask_fcn{i + 1}\.(\w+)", rf"heads.masks.convolutions.{i}.\1") for i in range(9)),
    (r"roi_heads\.mask_head\.deconv\.(\w+)", r"heads.masks.upsample.\1"),
    (r"roi_heads\.mask_head\.predictor\.(\w+)", r"heads.masks.logits.\1"),
    *(
        (rf"roi_heads\.keypoint_head\.conv_fcn{i + 1}\.(\w+)", rf"heads.keypoints.convolutions.{i}.\1")
        for i in range(9)
    ),
    (r"roi_heads\.keypoint_head\.score_lowres\.(\w+)", r"heads.keypoints.logits.\1"),
    *(  # of each step ours numbers convolution, norm, ReLU and upsampling, theirs the first three as one
        (rf"sem_seg_head\.p{i + 2}\.{2 * step}\.{theirs}", rf"pixel_heads.semantic.levels.{i}.{4 * step + place}.\1")
        for i in range(4)
        for step in range(max(1, i))
        for theirs, place in ((r"(weight)", 0), (r"norm\.(\w+)", 1))
    ),
    (r"sem_seg_head\.predictor\.(\w+)", r"pixel_heads.semantic.logits.\1"),
)

KNOWN = re.compile(
    r"backbone\.|proposal_generator\.rpn_head\.|sem_seg_head\.|"
    r"roi_heads\.(box_head|box_predictor|mask_head|keypoint_head|z_head|voxel_head|mesh_head)\."
)
"""Parts of which every weight counts. Of others, such as heads that nobody here knows, the detector is independent."""


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are of such a detector."""
    return STEM in state and f"{FPN}lateral2.weight" in state and CLASSES in state


def convert_detectron2(foreign: Foreign) -> ModelFile:
    """Weights of a detectron2 detector with FPN as a model file.

    Depth, groups, heads and classes follow from the weights. What does not show in them is as published: a ResNet
    strides in its 1x1 convolutions and takes BGR from 0 to 255, a ResNeXt strides in its 3x3 and takes these divided by
    their deviation. 80 classes are COCO's, one class with 17 keypoints is COCO's person; others come without names.

    Raises:
        CheckpointError: weights are missing, of shapes that do not belong together, or of another kind of detector.
    """
    backbone = backbone_of(foreign)
    conventions: ConventionName = "detectron2_x101" if backbone.groups > 1 else "detectron2"
    categories = _categories(foreign)
    heads = {**box_and_mask_heads(foreign.state), **_other_heads(foreign.state)}
    settings = NetworkSettings(
        conventions=conventions,
        backbone=backbone,
        pyramid=pyramid_of(foreign.state),
        proposals=ProposalSettings(post_nms_train=1000),
        tasks=heads,
    )
    return model_file(foreign, settings, categories, RULES, f"detectron2/{_name(heads, backbone)}", LICENCE)


def model_file(
    foreign: Foreign, settings: NetworkSettings, categories: Categories, rules: Rules, name: str, licence: str
) -> ModelFile:
    """Renamed weights that fit a network of these settings.

    Raises:
        CheckpointError: they do not, or belong to pixels normalised otherwise.
    """
    _check_pixels(foreign, settings)
    renamed = {new: tensor for old, tensor in foreign.state.items() if (new := rename(old, rules)) is not None}
    left_out = sorted(old for old in foreign.state if rename(old, rules) is None)
    foreign_parts = [old for old in left_out if KNOWN.match(old)]
    if foreign_parts:
        raise CheckpointError(
            f"weights of another kind of detector (first {foreign_parts[0]})",
            where=foreign.path,
            cure="known are the published ones with FPN: Faster, Mask and Keypoint R-CNN, Panoptic FPN, Mesh R-CNN",
        )
    network = RegionNetwork(settings, categories, tasks_named(list(settings.tasks)))
    return ModelFile(
        name=name,
        network=asdict(settings),
        categories=categories.to_json(),
        resize=RESIZE,
        state=fitted(renamed, network, foreign.path),
        notes={"source": name.split("/")[0], "licence": licence, "sha256": foreign.sha256, "left_out": left_out},
    )


def backbone_of(foreign: Foreign) -> BackboneSettings:
    """Depth, width, groups and norm of the ResNet; raises `CheckpointError` for one that is unknown."""
    state = foreign.state
    depth = resnet_depth([_blocks(state, i) for i in range(2, 6)], f"{FIRST_BLOCK}conv3.weight" in state, foreign.path)
    norm = "batch" if f"{BODY}stem.conv1.norm" in foreign.counted else "frozen"
    if f"{BODY}stem.conv1.norm.running_mean" not in state:
        norm = "group"
    inner, group_width = _shape(state, f"{FIRST_BLOCK}conv2.weight")[:2]
    width, groups = len(state[STEM]), inner // max(group_width, 1)
    values: dict[str, Any] = {"depth": depth, "width": width, "norm": norm, "freeze": 2}
    if groups > 1 or inner != width:
        values |= {"groups": groups, "group_width": group_width}
    return BackboneSettings(**values)


def pyramid_of(state: Mapping[str, Tensor]) -> PyramidSettings:
    """Channels of the pyramid."""
    return PyramidSettings(channels=len(state[f"{FPN}lateral2.weight"]))


def box_and_mask_heads(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of the box head and, where there is one, of the mask head, by task."""
    heads: dict[str, Any] = {"boxes": {"channels": _shape(state, f"{HEADS}box_head.fc1.weight")[0]}}
    if f"{HEADS}mask_head.predictor.weight" in state:
        channels = _shape(state, f"{HEADS}mask_head.deconv.weight")[1]
        count = _count(state, r"roi_heads\.mask_head\.mask_fcn\d+\.weight")
        heads["masks"] = {"channels": channels, "convolutions": count}
    return heads


def _other_heads(state: Mapping[str, Tensor]) -> dict[str, Any]:
    heads: dict[str, Any] = {}
    if f"{HEADS}keypoint_head.score_lowres.weight" in state:
        channels = _shape(state, f"{HEADS}keypoint_head.score_lowres.weight")[0]
        count = _count(state, r"roi_heads\.keypoint_head\.conv_fcn\d+\.weight")
        heads["keypoints"] = {"channels": channels, "convolutions": count}
    if f"{SEMANTIC}predictor.weight" in state:
        heads["semantic"] = {"channels": _shape(state, f"{SEMANTIC}predictor.weight")[1], "things": "together"}
        heads["panoptic"] = {}
    return heads


def _categories(foreign: Foreign) -> Categories:
    """What the rows of the classifiers mean: things, and stuff after them."""
    state = foreign.state
    things = len(state[CLASSES]) - 1
    points = state.get(f"{HEADS}keypoint_head.score_lowres.weight")
    if things < 1:
        raise CheckpointError("a classifier without classes", where=foreign.path, cure="give a detector's weights")
    if points is not None and things > 1:
        what = f"keypoints, and {things} classes that share them"
        raise CheckpointError(what, where=foreign.path, cure="only one class may have them")
    stuff = max(_shape(state, f"{SEMANTIC}predictor.weight")[0] - 1, 0)
    if points is not None and points.shape[1] == len(COCO_PERSON[0].keypoints) and not stuff:
        return COCO_PERSON
    if points is None and (things, stuff) in ((80, 0), (80, 53)):
        return COCO_PANOPTIC if stuff else COCO
    names = tuple(f"point {i + 1}" for i in range(0 if points is None else points.shape[1]))
    return Categories(
        tuple(
            Category(
                f"class {i + 1}" if i < things else f"stuff {i - things + 1}",
                id=i + 1,
                isthing=i < things,
                color=distinct_color(i),
                keypoints=names if i < things else (),
            )
            for i in range(things + stuff)
        )
    )


def _check_pixels(foreign: Foreign, settings: NetworkSettings) -> None:
    """Older files say how pixels are normalised; raise `CheckpointError` where that is not as published."""
    constants = CONVENTIONS[settings.conventions]
    for key, own in (("pixel_mean", constants.mean), ("pixel_std", constants.std)):
        given = foreign.state.get(key)
        if given is not None and not (
            given.numel() == 3 and given.flatten().allclose(given.new_tensor(own), atol=1e-3)
        ):
            values = ", ".join(f"{value:g}" for value in given.flatten()[:3].tolist())
            what = f"{key} {values}, and {constants.name} has {', '.join(f'{value:g}' for value in own)}"
            raise CheckpointError(what, where=foreign.path, cure="only the published normalisation is known")


def _name(heads: Mapping[str, Any], backbone: BackboneSettings) -> str:
    """As the model zoo names its files, without the schedule."""
    trunk = f"R_{backbone.depth}"
    if backbone.groups > 1:
        trunk = f"X_{backbone.depth}_{backbone.groups}x{backbone.group_width}d"
    if "semantic" in heads:
        return f"panoptic_fpn_{trunk}"
    kind = next((kind for kind in ("keypoint", "mask") if f"{kind}s" in heads), "faster")
    return f"{kind}_rcnn_{trunk}_FPN"


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """The shape of a weight; zeros where it is missing, which `fitted` will tell."""
    return tuple(state[name].shape) if name in state else (0, 0, 0, 0)


def _blocks(state: Mapping[str, Tensor], stage: int) -> int:
    prefix = f"{BODY}res{stage}."
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)
