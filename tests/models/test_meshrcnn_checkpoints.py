"""Weights of Mesh R-CNN: its variants recognised as far as tensors tell them apart, and equal in every stage.

What narrow networks have less of is told below.
"""

from pathlib import Path
from typing import Any, cast

import pytest
from detectron2_files import Changes, refused_in_one_line, saved, state_of, stored

from segue.engine.load import build
from segue.engine.region_predictor import RegionPredictor
from segue.errors import CheckpointError
from segue.models.checkpoints import convert
from segue.models.checkpoints.meshrcnn import RULES
from segue.models.checkpoints.renaming import rename
from segue.models.weights import load_state
from segue.nn.conventions import CONVENTIONS
from segue.ops.mesh_graph import icosphere
from segue.tasks.meshes import MeshHead
from tools.detectron2_stages import LIMITS, differences, limit, unordered
from tools.parity_detectron2 import NARROW_RESIZE


@pytest.mark.parametrize("kind", ["meshrcnn", "sphereinit", "pixel2mesh"])
def test_every_stage_equals_the_original(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, {"model": state_of(f"{kind}_R50")}, f"{kind}_R50.pth")
    file = convert(path)
    assert file.name == f"meshrcnn/{kind}_R50"
    predictor = build(file, str(path))
    load_state(predictor.network, file.state, path)
    assert isinstance(predictor, RegionPredictor)
    assert predictor.network.conventions == CONVENTIONS["meshrcnn"]
    assert predictor.categories.names[0] == "bed"
    record = stored(f"{kind}_R50")[0]
    assert len(record["boxes"]) > 1
    limit(predictor, len(record["proposals"]), 2, 0.0)
    found = differences(predictor, record, NARROW_RESIZE)
    assert {"extent features", "extents", "vertex features", "meshes"} <= set(found)
    assert ("cubes" in found) == ("voxels" in found) == (kind == "meshrcnn")
    assert {stage: value for stage, value in found.items() if not value <= LIMITS[stage]} == {}


def test_spheres_are_the_published_ones(tmp_path: Path) -> None:
    file = convert(saved(tmp_path, state_of("sphereinit_R50"), "sphereinit_R50.pth"))
    meshes = file.network["tasks"]["meshes"]
    assert (meshes["start"], meshes["level"], meshes["divide"]) == ("sphere", 4, False)
    file = convert(saved(tmp_path, state_of("pixel2mesh_R50"), "pixel2mesh_R50.pth"))
    meshes = file.network["tasks"]["meshes"]
    assert (meshes["start"], meshes["level"], meshes["divide"]) == ("sphere", 2, True)
    record = stored("sphereinit_R50")[0]
    theirs = record["start vertices"][: record["start counts"][0]]
    distance, unmatched = unordered(icosphere(1)[0], theirs)
    assert distance < 1e-4  # the published corners have four digits
    assert not unmatched


def test_without_stages_the_voxels_are_the_mesh(tmp_path: Path) -> None:
    state = {name: t for name, t in state_of("meshrcnn_R50").items() if "mesh_head" not in name}
    path = saved(tmp_path, state, "voxelrcnn_R50.pth")
    file = convert(path)
    assert file.name == "meshrcnn/voxelrcnn_R50"
    assert file.network["tasks"]["meshes"]["stages"] == 0
    predictor = build(file, "")
    load_state(predictor.network, file.state, path)
    head = cast(MeshHead, cast(Any, predictor.network).heads["meshes"])
    assert head.voxels is not None
    assert not list(head.refinement.parameters())


def test_training_of_pix3d_is_kept(tmp_path: Path) -> None:
    network = convert(saved(tmp_path, state_of("meshrcnn_R50"), "meshrcnn_R50.pth")).network
    assert (network["proposals"]["negative"], network["proposals"]["ignored"]) == (0.5, 0.2)
    assert (network["regions"]["samples"], network["regions"]["ignored"]) == (64, 0.2)
    assert list(network["tasks"]) == ["boxes", "masks", "meshes"]


def test_every_weight_has_a_place_of_its_own() -> None:
    names = list(stored("meshrcnn_R50")[1])
    ours = [rename(name, RULES) for name in names]
    assert None not in ours
    assert len(set(ours)) == len(names)


WRONG: dict[str, tuple[Changes, str]] = {
    "another number of extents": ({"roi_heads.z_head.z_pred.weight": (5, 16)}, "extents in depth"),
    "a missing graph convolution": ({"roi_heads.mesh_head.stages.1.gconvs.2.w0.weight": None}, "missing"),
    "other voxels": ({"roi_heads.voxel_head.predictor.bias": (3,)}, "of another shape"),
    "an unknown head": ({"roi_heads.voxel_head.norm.weight": (3,)}, "another kind of detector"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_weights_are_one_line(tmp_path: Path, name: str) -> None:
    refused_in_one_line(tmp_path / "meshrcnn_R50.pth", state_of("meshrcnn_R50"), *WRONG[name])


def test_neither_voxels_nor_stages_is_refused(tmp_path: Path) -> None:
    state = {n: t for n, t in state_of("meshrcnn_R50").items() if "mesh_head" not in n and "voxel_head" not in n}
    with pytest.raises(CheckpointError, match="neither voxels nor meshes"):
        convert(saved(tmp_path, state, "meshrcnn_R50.pth"))
