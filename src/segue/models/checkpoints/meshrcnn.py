"""Mesh R-CNN's detectors of Pix3D, which give each object a mesh.

Sources: meshrcnn ``config/config.py``, ``configs/pix3d``, ``modeling/roi_heads``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from segue.data.published_classes import PIX3D
from segue.errors import CheckpointError
from segue.models.checkpoints import detectron2
from segue.models.checkpoints.detectron2 import CLASSES, backbone_of, box_and_mask_heads, model_file, pyramid_of
from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.renaming import Rules
from segue.models.settings import NetworkSettings, RegionSettings
from segue.models.weights import ModelFile
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories

LICENCE = "none given (Mesh R-CNN's model zoo; its code is BSD-3-Clause)"
EXTENT = "roi_heads.z_head.z_pred.weight"
VOXELS, STAGES = "roi_heads.voxel_head.", "roi_heads.mesh_head.stages."

RULES: Rules = (
    *detectron2.RULES,
    (r"roi_heads\.z_head\.z_(fc[12])\.(\w+)", r"heads.meshes.extent.\1.\2"),
    (r"roi_heads\.z_head\.z_pred\.(\w+)", r"heads.meshes.extent.predictor.\1"),
    *(
        (rf"roi_heads\.voxel_head\.voxel_fcn{i + 1}\.(\w+)", rf"heads.meshes.voxels.convolutions.{i}.\1")
        for i in range(9)
    ),
    (r"roi_heads\.voxel_head\.deconv\.(\w+)", r"heads.meshes.voxels.upsample.\1"),
    (r"roi_heads\.voxel_head\.predictor\.(\w+)", r"heads.meshes.voxels.predictor.\1"),
    *(
        (rf"roi_heads\.mesh_head\.stages\.(\d+)\.{theirs}\.(weight|bias)", rf"heads.meshes.refinement.stages.\1.{ours}")
        for theirs, ours in (
            ("bottleneck", r"bottleneck.\2"),
            ("verts_offset", r"offset.\2"),
            (r"gconvs\.(\d+)\.w0", r"graph.\2.own.\3"),
            (r"gconvs\.(\d+)\.w1", r"graph.\2.others.\3"),
        )
    ),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are of Mesh R-CNN."""
    return detectron2.recognises(state) and EXTENT in state


def convert_meshrcnn(foreign: Foreign) -> ModelFile:
    """Weights of Mesh R-CNN as a model file.

    With a voxel head the meshes begin as cubes, without as a sphere; without stages the cubes are the meshes. The
    Pixel2Mesh variant has the same weights as the one with a sphere, but begins with a coarser one and divides its
    faces: it is taken for that where the file's name says ``pixel2mesh``.

    Raises:
        CheckpointError: weights are missing, or of shapes that do not belong together.
    """
    state = foreign.state
    classes = len(state[CLASSES]) - 1
    if len(state[EXTENT]) != classes:
        what = f"{classes} classes, and {len(state[EXTENT])} extents in depth"
        raise CheckpointError(what, where=foreign.path, cure="only extents of each class are known")
    meshes = _meshes(foreign)
    settings = NetworkSettings(
        conventions="meshrcnn",
        backbone=backbone_of(foreign),
        pyramid=pyramid_of(state),
        proposals=ProposalSettings(negative=0.5, ignored=0.2, post_nms_train=1000),
        regions=RegionSettings(samples=64, ignored=0.2),
        tasks={**box_and_mask_heads(state), "meshes": meshes},
    )
    names = [f"class {i + 1}" for i in range(classes)]
    categories = PIX3D if classes == len(PIX3D) else Categories.from_names(names)
    return model_file(foreign, settings, categories, RULES, f"meshrcnn/{_kind(meshes)}_R50", LICENCE)


def _meshes(foreign: Foreign) -> dict[str, Any]:
    """Settings of the mesh head, by the weights it has."""
    state = foreign.state
    numbers = {name.removeprefix(STAGES).split(".")[0] for name in state if name.startswith(STAGES)}
    graph = {name.split(".gconvs.")[1].split(".")[0] for name in state if name.startswith(f"{STAGES}0.gconvs.")}
    meshes: dict[str, Any] = {"hidden": state[EXTENT].shape[1], "stages": len(numbers)}
    if numbers:
        channels = len(state.get(f"{STAGES}0.bottleneck.bias", ())) or 128
        meshes |= {"channels": channels, "convolutions": max(1, len(graph))}
    if f"{VOXELS}predictor.weight" in state:
        depth, channels = state[f"{VOXELS}predictor.weight"].shape[:2]
        count = sum(name.startswith(f"{VOXELS}voxel_fcn") and name.endswith(".weight") for name in state)
        return {**meshes, "voxels": depth, "voxel_channels": channels, "voxel_convolutions": count, "empty": "nothing"}
    if not numbers:
        raise CheckpointError("neither voxels nor meshes", where=foreign.path, cure="give weights of Mesh R-CNN")
    divided = "pixel2mesh" in foreign.path.name.lower()
    return {**meshes, "start": "sphere", "divide": divided, "level": 2 if divided else 4}


def _kind(meshes: Mapping[str, Any]) -> str:
    if meshes.get("start") == "sphere":
        return "pixel2mesh" if meshes["divide"] else "sphereinit"
    return "meshrcnn" if meshes["stages"] else "voxelrcnn"
