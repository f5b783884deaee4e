"""torchvision's FCN and DeepLabv3 on dilated ResNets (``models/segmentation``: fcn.py, deeplabv3.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from segue.data.published_classes import VOC
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import blocks_of, fitted, resnet_depth, torchvision_resnet
from segue.models.checkpoints.torchvision import LICENCE
from segue.models.semantic_network import SemanticNetwork, SemanticSettings
from segue.models.weights import ModelFile
from segue.structures import Categories

RESIZE = (520, 1 << 16)
"""As for the published scores: the shorter side, without a limit to the longer."""

HEAD = re.compile(r"(aux_)?classifier\.\d.*")


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are of such a network."""
    return "backbone.layer4.0.conv1.weight" in state and "classifier.4.weight" in state


def convert_semantic(foreign: Foreign) -> ModelFile:
    """Weights of a torchvision FCN or DeepLabv3 as a model file, the auxiliary head included where there is one.

    A classifier with 21 rows gives the classes of PASCAL VOC, others give classes without names.

    Raises:
        CheckpointError: weights are missing, or of shapes that do not belong together.
    """
    state = foreign.state
    renamed = {new: tensor for name, tensor in state.items() if (new := _our_name(name)) is not None}
    classes = len(state["classifier.4.weight"])
    kind = "deeplabv3" if any(name.startswith("classifier.0.convs.") for name in state) else "fcn_dilated"
    depth = resnet_depth(blocks_of(state, "backbone.layer"), "backbone.layer1.0.conv3.weight" in state, foreign.path)
    width = len(state["backbone.layer1.0.conv1.weight"])
    body = {"depth": depth, "width": width, "auxiliary": 0.5 if "aux_classifier.4.weight" in state else 0.0}
    values = {"network": {kind: body}, "conventions": "torchvision_semantic"}
    names = (
        VOC.categories if classes == len(VOC.rows) else Categories.from_names([f"class {i}" for i in range(classes)])
    )
    model = ModelFile(
        name=f"torchvision/{kind.removesuffix('_dilated')}_resnet{depth}",
        network={"semantic": values},
        categories=names.to_json(),
        resize=RESIZE,
        state={**renamed, "class_weights": torch.ones(classes)},
        notes={
            "source": "torchvision",
            "licence": LICENCE,
            "sha256": foreign.sha256,
            "left_out": sorted(name for name in state if _our_name(name) is None),
        },
    )
    return replace(model, state=fitted(model.state, empty_semantic(model), foreign.path))


def empty_semantic(model: ModelFile) -> SemanticNetwork:
    """The network of a converted model, its weights still random."""
    return SemanticNetwork(SemanticSettings(**model.network["semantic"]), len(model.categories))


def built_semantic(model: ModelFile) -> SemanticNetwork:
    """The network of a converted model, in evaluation mode."""
    network = empty_semantic(model)
    network.load_state_dict(model.state)
    return network.eval()


def _our_name(name: str) -> str | None:
    if name.startswith("backbone."):
        inner = torchvision_resnet(name.removeprefix("backbone."))
        return inner and f"body.backbone.{inner}"
    return f"body.{name}" if HEAD.fullmatch(name) else None
