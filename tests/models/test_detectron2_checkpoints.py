"""Weights in detectron2's layout: recognised, converted, and equal in every stage to what the original computed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2_files import Changes, loaded, refused_in_one_line, saved, state_of, stored
from torch import Tensor

from segue.engine.load import build
from segue.engine.region_predictor import RegionPredictor
from segue.errors import CheckpointError
from segue.models.checkpoints import convert
from segue.models.checkpoints.detectron2 import RULES
from segue.models.checkpoints.renaming import rename
from segue.models.weights import load_state, read_model, write_model
from segue.nn.conventions import CONVENTIONS
from tools.detectron2_stages import LIMITS, differences, limit
from tools.parity_detectron2 import NARROW_RESIZE

KINDS = {
    "faster_rcnn_X_101_32x8d_FPN": ("detectron2/faster_rcnn_X_101_32x1d_FPN", "detectron2_x101", 57.375),
    "mask_rcnn_R_50_FPN": ("detectron2/mask_rcnn_R_50_FPN", "detectron2", 1.0),
    "keypoint_rcnn_R_50_FPN": ("detectron2/keypoint_rcnn_R_50_FPN", "detectron2", 1.0),
    "panoptic_fpn_R_50": ("detectron2/panoptic_fpn_R_50", "detectron2", 1.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_equals_the_original(tmp_path: Path, kind: str) -> None:
    name, conventions, std = KINDS[kind]
    predictor = loaded(saved(tmp_path, {"model": state_of(kind, std)}))
    assert predictor.name == name
    assert predictor.network.conventions == CONVENTIONS[conventions]
    record = stored(kind)[0]
    assert len(record["boxes"]) > 1
    limit(predictor, len(record["proposals"]), 3, 0.0)
    found = differences(predictor, record, NARROW_RESIZE)
    assert {"pyramid", "rpn logits", "proposals", "box features", "boxes", "scores"} <= set(found)
    assert {stage: value for stage, value in found.items() if not value <= LIMITS[stage]} == {}
    for word in ("mask", "keypoint", "semantic"):
        assert any(stage.startswith(word) for stage in found) == any(key.startswith(word) for key in record)


def test_a_wrong_stride_or_alignment_shows(tmp_path: Path) -> None:
    kind = "mask_rcnn_R_50_FPN"
    file = convert(saved(tmp_path, state_of(kind)))
    for conventions, stages in (("segue", ["pyramid"]), ("meshrcnn", ["box features"])):
        file.network["conventions"] = conventions
        predictor = build(file, "")
        load_state(predictor.network, file.state, tmp_path)
        assert isinstance(predictor, RegionPredictor)
        found = differences(predictor, stored(kind)[0], NARROW_RESIZE)
        assert all(found[stage] > 100 * LIMITS[stage] for stage in stages)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_wrapping_gives_the_same_model(tmp_path: Path) -> None:
    state = state_of("mask_rcnn_R_50_FPN")
    plain = convert(saved(tmp_path, state))
    counters = {f"{n.removesuffix('.running_var')}.num_batches_tracked": torch.tensor(3) for n in state if "var" in n}
    extra = {
        "roi_heads.ego_head.fc.weight": torch.ones(2, 2),
        "proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4),
    }
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    pkl = tmp_path / "model_final_f10217.pkl"
    pkl.write_bytes(
        pickle.dumps(
            {"model": {**arrays, "pixel_mean": np.array([[[103.53]], [[116.28]], [[123.675]]])}, "__author__": "x"}, 2
        )
    )
    assert same(convert(pkl).state, plain.state)
    assert same(
        convert(saved(tmp_path, {"model": {f"module.{n}": t for n, t in state.items()}, "iteration": 3})).state,
        plain.state,
    )
    with_extra = convert(saved(tmp_path, {"model": {**state, **extra}}))
    assert same(with_extra.state, plain.state)
    assert with_extra.notes["left_out"] == sorted(extra)
    counted = convert(saved(tmp_path, {**state, **counters}))
    assert counted.network["backbone"]["norm"] == "batch"
    assert same({n: t for n, t in counted.state.items() if "tracked" not in n}, plain.state)
    half = convert(saved(tmp_path, {n: t.half() for n, t in state.items()}))
    assert all(t.dtype == torch.float32 for t in half.state.values())
    assert half.network == plain.network
    write_model(tmp_path / "model.safetensors", plain)
    again = read_model(tmp_path / "model.safetensors")
    assert same(again.state, plain.state)
    build(again, "")


def test_every_weight_has_a_place_of_its_own() -> None:
    for kind in KINDS:
        names = list(stored(kind)[1])
        ours = [rename(name, RULES) for name in names]
        assert None not in ours
        assert len(set(ours)) == len(names)


def test_number_of_tensors_is_as_published() -> None:
    counts = {kind: len(stored(kind)[1]) for kind in KINDS}
    assert counts == dict(zip(KINDS, (550, 307, 313, 330), strict=True))


def published(kind: str, replaced: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights of a narrow network with the published number of classes."""
    return {**state_of(kind), **{name: torch.zeros(shape) for name, shape in replaced.items()}}


def test_published_numbers_of_classes_have_their_names(tmp_path: Path) -> None:
    eighty = {
        "roi_heads.box_predictor.cls_score.weight": (81, 32),
        "roi_heads.box_predictor.cls_score.bias": (81,),
        "roi_heads.box_predictor.bbox_pred.weight": (320, 32),
        "roi_heads.box_predictor.bbox_pred.bias": (320,),
        "roi_heads.mask_head.predictor.weight": (80, 8, 1, 1),
        "roi_heads.mask_head.predictor.bias": (80,),
    }
    stuff = {"sem_seg_head.predictor.weight": (54, 64, 1, 1), "sem_seg_head.predictor.bias": (54,)}
    coco = convert(saved(tmp_path, published("mask_rcnn_R_50_FPN", eighty)))
    assert [c["name"] for c in coco.categories][::79] == ["person", "toothbrush"]
    panoptic = convert(saved(tmp_path, published("panoptic_fpn_R_50", {**eighty, **stuff})))
    assert (len(panoptic.categories), panoptic.categories[80]["name"]) == (133, "banner")
    assert list(panoptic.network["tasks"]) == ["boxes", "masks", "semantic", "panoptic"]
    points = {
        "roi_heads.keypoint_head.score_lowres.weight": (8, 17, 4, 4),
        "roi_heads.keypoint_head.score_lowres.bias": (17,),
    }
    person = convert(saved(tmp_path, published("keypoint_rcnn_R_50_FPN", points)))
    assert [c["name"] for c in person.categories] == ["person"]
    assert len(person.categories[0]["keypoints"]) == 17
    assert person.resize == (800, 1333)
    assert "CC-BY-SA 3.0" in person.notes["licence"]


BOX = "roi_heads.box_predictor."
WRONG: dict[str, tuple[Changes, str]] = {
    "one missing": ({"backbone.fpn_output3.bias": None}, "missing"),
    "another number of classes": (
        {f"{BOX}cls_score.weight": (7, 32), f"{BOX}cls_score.bias": (7,)},
        "of another shape",
    ),
    "no class": ({f"{BOX}cls_score.weight": (1, 32)}, "without classes"),
    "other blocks": ({"backbone.bottom_up.res3.4.conv1.weight": (8, 8, 1, 1)}, "blocks"),
    "a cascade": ({"roi_heads.box_head.0.fc1.weight": (2, 2)}, "another kind of detector"),
    "deformable": ({"backbone.bottom_up.res3.0.conv2_offset.weight": (2, 2)}, "another kind of detector"),
    "other pixels": ({"pixel_std": (3, 1, 1)}, "pixel_std 0, 0, 0"),
    "not a detector": ({"backbone.fpn_lateral2.weight": None}, "no known"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_weights_are_one_line(tmp_path: Path, name: str) -> None:
    refused_in_one_line(tmp_path / "model_final.pth", state_of("mask_rcnn_R_50_FPN"), *WRONG[name])


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return eval, (f"__import__('os').mkdir({str(tmp_path / 'made')!r})",)

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"backbone": Hostile()}}))
    with pytest.raises(CheckpointError, match="no array"):
        convert(path)
    assert not (tmp_path / "made").exists()
