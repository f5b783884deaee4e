"""torchvision's Faster, Mask and Keypoint R-CNN on ResNets with FPN, first and second version.

Sources: torchvision ``models/detection`` (faster_rcnn.py, mask_rcnn.py, keypoint_rcnn.py, backbone_utils.py) and its
``_load_from_state_dict``, which still reads the names of the first published files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from segue.data.published_classes import COCO, COCO_PERSON
from segue.errors import CheckpointError
from segue.models.checkpoints.detector import empty_detector
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import Rules, blocks_of, fitted, rename, resnet_depth, torchvision_resnet
from segue.models.weights import ModelFile
from segue.structures import Categories, Category

COCO_SLOTS = 91
"""Rows of a classifier for COCO: the background, and every number up to the last category's, ten of them unused."""

LEGACY = "9f466800"
"""Begins the hash of the first published keypoint weights, whose frozen norms have another epsilon."""

LICENCE = "none stated for the weights; torchvision's code is BSD-3-Clause"
RESIZE = (800, 1333)
BODY, BOXES = "backbone.body.", "roi_heads.box_predictor."

OLDER: Rules = (
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    *((rf"roi_heads\.mask_head\.mask_fcn{i + 1}\.(\w+)", rf"roi_heads.mask_head.{i}.0.\1") for i in range(4)),
)

SHARED: Rules = (
    (r"rpn\.head\.conv\.0\.0\.(\w+)", r"rpn.conv.\1"),
    (r"rpn\.head\.conv\.1\.0\.(\w+)", r"rpn.further.0.\1"),
    (r"rpn\.head\.cls_logits\.(\w+)", r"rpn.logits.\1"),
    (r"rpn\.head\.bbox_pred\.(\w+)", r"rpn.deltas.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(\w+)", r"heads.boxes.logits.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(\w+)", r"heads.boxes.deltas.\1"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(\w+)", r"heads.masks.upsample.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(\w+)", r"heads.masks.logits.\1"),
    *(
        (rf"roi_heads\.keypoint_head\.{2 * i}\.(\w+)", rf"heads.keypoints.convolutions.{i}.\1") for i in range(8)
    ),  # convolutions and their ReLUs are numbered in one row
    (r"roi_heads\.keypoint_predictor\.kps_score_lowres\.(\w+)", r"heads.keypoints.logits.\1"),
)

FIRST: Rules = (
    (r"backbone\.fpn\.inner_blocks\.(\d)\.0\.(\w+)", r"trunk.pyramid.lateral.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.0\.(\w+)", r"trunk.pyramid.output.\1.\2"),
    (r"roi_heads\.box_head\.fc6\.(\w+)", r"heads.boxes.fc1.\1"),
    (r"roi_heads\.box_head\.fc7\.(\w+)", r"heads.boxes.fc2.\1"),
    (r"roi_heads\.mask_head\.(\d)\.0\.(\w+)", r"heads.masks.convolutions.\1.\2"),
    *SHARED,
)

SECOND: Rules = (
    (r"backbone\.fpn\.inner_blocks\.(\d)\.([01])\.(\w+)", r"trunk.pyramid.lateral.\1.\2.\3"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.([01])\.(\w+)", r"trunk.pyramid.output.\1.\2.\3"),
    (r"roi_heads\.box_head\.([0-3])\.([01])\.(\w+)", r"heads.boxes.convolutions.\1.\2.\3"),
    (r"roi_heads\.box_head\.5\.(\w+)", r"heads.boxes.fc1.\1"),
    (r"roi_heads\.mask_head\.(\d)\.([01])\.(\w+)", r"heads.masks.convolutions.\1.\2.\3"),
    *SHARED,
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are of such a detector."""
    needed = (f"{BODY}layer1.0.conv1.weight", "rpn.head.cls_logits.weight", f"{BOXES}cls_score.weight")
    return all(name in state for name in needed)


def convert_detector(foreign: Foreign) -> ModelFile:
    """Weights of a torchvision detector as a model file.

    A classifier with COCO's 91 rows gives COCO's 80 classes. The ten unused rows stay in its softmax, as the last; a
    detection of one of them, which torchvision might report, is none here. Another number of rows gives classes
    without names.

    Raises:
        CheckpointError: weights are missing, or of shapes that do not belong together.
    """
    state = modern(foreign.state)
    second = "backbone.fpn.inner_blocks.0.1.weight" in state
    renamed = {new: tensor for name, tensor in state.items() if (new := our_name(name, second)) is not None}
    left_out = sorted(name for name in state if our_name(name, second) is None)
    rows = len(state[f"{BOXES}cls_score.weight"])
    categories = _categories(rows, state, foreign)
    if rows == COCO_SLOTS:
        _sort_coco(renamed)
    network = _settings(foreign, state, rows - 1 - len(categories), second)
    model = ModelFile(
        name=_name(network, second),
        network=network,
        categories=categories.to_json(),
        resize=RESIZE,
        state=renamed,
        notes={
            "source": "torchvision",
            "licence": LICENCE,
            "sha256": foreign.sha256,
            "left_out": left_out,
        },
    )
    return replace(model, state=fitted(renamed, empty_detector(model), foreign.path))


def modern(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights, by the names of today where they have those of the first published files."""
    return {rename(name, OLDER) or name: tensor for name, tensor in state.items()}


def coco_rows() -> list[int]:
    """The rows of a classifier for COCO in our order: background, the 80 classes, the unused."""
    used = [0, *(category.id for category in COCO)]
    return used + [row for row in range(COCO_SLOTS) if row not in used]


def our_name(name: str, second: bool) -> str | None:
    """A weight of torchvision's first or second version in `RegionNetwork`; None for what has no place there."""
    if name.startswith(BODY):
        inner = torchvision_resnet(name.removeprefix(BODY))
        return inner and f"trunk.backbone.{inner}"
    return rename(name, SECOND if second else FIRST)


def _categories(rows: int, state: Mapping[str, Tensor], foreign: Foreign) -> Categories:
    """What the rows of the classifier mean."""
    points = state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")
    if rows < 2:
        raise CheckpointError("a classifier without classes", where=foreign.path, cure="give a detector's weights")
    if points is not None:
        return _with_keypoints(rows, points.shape[1], foreign)
    if rows == COCO_SLOTS:
        return COCO
    return Categories.from_names([f"class {i + 1}" for i in range(rows - 1)])


def _with_keypoints(rows: int, count: int, foreign: Foreign) -> Categories:
    if rows != 2:
        raise CheckpointError(
            f"keypoints, and {rows - 1} classes that share them",
            where=foreign.path,
            cure="only one class may have them",
        )
    if count == len(COCO_PERSON[0].keypoints):
        return COCO_PERSON
    return Categories((Category("class 1", 1, keypoints=tuple(f"point {i + 1}" for i in range(count))),))


def _sort_coco(state: dict[str, Tensor]) -> None:
    """Bring the rows for COCO's numbers into the order background, classes; the classifier's unused ones follow."""
    rows = coco_rows()
    used = rows[: 1 + len(COCO)]
    for kind in ("weight", "bias"):
        logits = f"heads.boxes.logits.{kind}"
        state[logits] = state[logits][rows]
        for name, each in ((f"heads.boxes.deltas.{kind}", 4), (f"heads.masks.logits.{kind}", 1)):
            tensor = state.get(name)
            if tensor is not None and len(tensor) == COCO_SLOTS * each:  # else the fitting says what is wrong
                state[name] = tensor.view(COCO_SLOTS, each, *tensor.shape[1:])[used].flatten(0, 1)


def _settings(foreign: Foreign, state: Mapping[str, Tensor], spare: int, second: bool) -> dict[str, Any]:
    """The network's settings as plain values; those that differ from the defaults."""
    norm = "batch" if second or "backbone.body.bn1" in foreign.counted else "frozen"
    boxes = {"channels": state[f"{BOXES}cls_score.weight"].shape[1], "spare": spare}
    heads: dict[str, Any] = {"boxes": boxes | ({"layers": 1, "convolutions": 4, "norm": "batch"} if second else {})}
    if (mask := state.get("roi_heads.mask_predictor.mask_fcn_logits.weight")) is not None:
        convolutions = sum(re.fullmatch(r"roi_heads\.mask_head\.\d\.0\.weight", name) is not None for name in state)
        heads["masks"] = {"channels": mask.shape[1], "convolutions": max(1, convolutions)}
        heads["masks"] |= {"norm": "batch"} if second else {}
    if (points := state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")) is not None:
        heads["keypoints"] = {"channels": len(points)}
    blocks = blocks_of(state, f"{BODY}layer")
    return {
        "conventions": "torchvision_legacy" if foreign.sha256.startswith(LEGACY) else "torchvision",
        "backbone": {
            "depth": resnet_depth(blocks, f"{BODY}layer1.0.conv3.weight" in state, foreign.path),
            "width": len(state[f"{BODY}layer1.0.conv1.weight"]),
            "norm": norm,
        },
        "pyramid": {"channels": len(state["rpn.head.cls_logits.weight"][0])} | ({"norm": "batch"} if second else {}),
        "proposals": {"convolutions": 2} if second else {},
        "tasks": heads,
    }


def _name(network: Mapping[str, Any], second: bool) -> str:
    heads = network["tasks"]
    kind = "keypointrcnn" if "keypoints" in heads else "maskrcnn" if "masks" in heads else "fasterrcnn"
    return f"torchvision/{kind}_resnet{network['backbone']['depth']}_fpn{'_v2' if second else ''}"
