"""torchvision's weights: equal outputs by stored ones, and every way in which people save them."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision_files import FIXTURES, layouts, older, small_state, with_counters

import segue
from segue.cli import main
from segue.errors import CheckpointError
from segue.models.checkpoints import convert, read_foreign
from segue.models.checkpoints.detector import built_detector
from segue.models.checkpoints.seeded import seeded_state
from segue.models.checkpoints.stages import OurStages
from segue.models.checkpoints.torchvision import coco_rows
from segue.models.checkpoints.torchvision_semantic import built_semantic
from segue.models.checkpoints.trial import detector_trial, semantic_trial

MASK, SECOND, POINTS = "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"
DEEPLAB = "deeplabv3_resnet50"
LIMITS = {"boxes": 1e-2, "proposals": 1e-2, "keypoints": 1e-2, "scores": 1e-4, "shown": 1 / 58, "masks": 0.0}


@pytest.fixture
def write(tmp_path):
    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", [MASK, SECOND, POINTS, DEEPLAB])
def test_every_stage_gives_what_torchvision_gave(name, write):
    model = convert(write(seeded_state(layouts()[name])))
    if name == DEEPLAB:
        found = semantic_trial(built_semantic(model).body)
    else:
        found = detector_trial(OurStages(built_detector(model), (800, 1333)), list(model.network["tasks"]))
    stored = load_file(FIXTURES / "torchvision_outputs.safetensors")
    wanted = {key.removeprefix(f"{name}/"): value for key, value in stored.items() if key.startswith(f"{name}/")}
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        limit = LIMITS.get(key, 1e-5 * float(value.abs().max()))
        assert found[key].shape == value.shape, key
        assert float((found[key] - value).abs().max()) <= limit, key


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_older_names_and_wrappers_and_prefixes_give_the_same(write):
    state = small_state(MASK)
    plain = convert(write(state))
    assert plain.network["backbone"] == {"depth": 50, "width": 4, "norm": "frozen"}
    for content in (
        older(state),
        {"model": state, "epoch": 3},
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        dict(state),
    ):
        again = convert(write(content))
        assert same(again.state, plain.state)
        assert again.network == plain.network


def test_half_precision_becomes_float32(write):
    state = {name: tensor.half() for name, tensor in small_state(MASK).items()}
    converted = convert(write(state)).state
    assert {tensor.dtype for tensor in converted.values()} == {torch.float32}
    assert torch.equal(converted["rpn.conv.weight"], state["rpn.head.conv.0.0.weight"].float())


def test_step_counters_tell_trained_norms_from_frozen_ones(write):
    state = small_state(MASK)
    assert convert(write(with_counters(state))).network["backbone"]["norm"] == "batch"
    second = small_state(SECOND)
    plain, counted = convert(write(second)), convert(write(with_counters(second)))
    assert plain.network == counted.network
    assert same(plain.state, counted.state)


def test_safetensors_are_read_too(tmp_path):
    state = small_state(POINTS)
    save_file(state, tmp_path / "weights.safetensors")
    model = convert(tmp_path / "weights.safetensors")
    assert model.name == "torchvision/keypointrcnn_resnet50_fpn"
    assert [c["name"] for c in model.categories] == ["person"]


def test_extra_heads_are_left_out_and_said(write):
    model = convert(write({**small_state(MASK), "roi_heads.tail.weight": torch.ones(3)}))
    assert model.notes["left_out"] == ["roi_heads.tail.weight"]


def test_coco_s_rows_are_the_classes_and_the_rest_is_spare(write):
    state = small_state(MASK)
    marks = torch.arange(91.0)
    state["roi_heads.box_predictor.cls_score.bias"] = marks
    state["roi_heads.box_predictor.bbox_pred.bias"] = marks.repeat_interleave(4)
    state["roi_heads.mask_predictor.mask_fcn_logits.bias"] = marks
    model = convert(write(state))
    ids = [0] + [category["id"] for category in model.categories]
    assert len(model.categories) == 80
    assert model.categories[-1]["name"] == "toothbrush"
    assert sorted(coco_rows()) == list(range(91))
    assert model.state["heads.boxes.logits.bias"].tolist()[:81] == ids
    assert model.state["heads.boxes.deltas.bias"].tolist() == [i for i in ids for _ in range(4)]
    assert model.state["heads.masks.logits.bias"].tolist() == ids


def with_classes(state, rows):
    """The state of a detector with another number of rows, the background's included."""
    cut = {}
    for name, tensor in state.items():
        each = 4 if "box_predictor.bbox_pred" in name else 1
        known = "box_predictor" in name or "mask_fcn_logits" in name
        cut[name] = tensor[: each * rows].clone() if known else tensor
    return cut


def test_other_numbers_of_classes_have_no_names(write):
    model = convert(write(with_classes(small_state(MASK), 4)))
    assert [c["name"] for c in model.categories] == ["class 1", "class 2", "class 3"]
    assert model.network["tasks"]["boxes"]["spare"] == 0


def test_a_converted_model_predicts(write, tmp_path):
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(write(small_state(MASK))), "--out", str(out)]) == 0
    predictor = segue.load(out, device="cpu")
    predictor.resize = (64, 128)
    scene = predictor.predict(torch.zeros(3, 40, 50, dtype=torch.uint8), threshold=0.0)
    assert scene.regions.masks is not None


def test_verify_says_what_it_could_compare(write, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    path = write(small_state(DEEPLAB), "deeplabv3_resnet50_coco-00000000.pth")
    assert main(["convert", str(path), "--out", str(out), "--verify"]) == 2
    assert "first in: file" in capsys.readouterr().err  # a hash in the name that is not its own
    table = (tmp_path / "model.parity.md").read_text()
    assert read_foreign(path).sha256 in table


class Harmful:
    def __reduce__(self):
        return (open, ("ran", "w"))


def harmful(tmp_path):
    torch.save({"model": Harmful()}, tmp_path / "harm.pth")
    return tmp_path / "harm.pth"


def harmful_pickle(tmp_path):
    (tmp_path / "harm.pkl").write_bytes(pickle.dumps({"model": Harmful()}))
    return tmp_path / "harm.pkl"


def cut_short(tmp_path):
    torch.save(small_state(MASK), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:30000])
    return tmp_path / "cut.pth"


def wrong_classes(tmp_path):
    state = small_state(MASK)
    state["roi_heads.mask_predictor.mask_fcn_logits.weight"] = torch.ones(21, 16, 1, 1)
    torch.save(state, tmp_path / "odd.pth")
    return tmp_path / "odd.pth"


def other_network(tmp_path):
    torch.save({"features.0.weight": torch.ones(3, 3)}, tmp_path / "other.pth")
    return tmp_path / "other.pth"


def missing_weight(tmp_path):
    state = small_state(POINTS)
    del state["roi_heads.box_head.fc7.bias"]
    torch.save(state, tmp_path / "missing.pth")
    return tmp_path / "missing.pth"


def headless_mask(tmp_path):
    state = {n: t for n, t in small_state(MASK).items() if "mask_head" not in n}
    torch.save(state, tmp_path / "headless.pth")
    return tmp_path / "headless.pth"


def not_weights(tmp_path):
    (tmp_path / "text.pth").write_text("weights, honestly")
    return tmp_path / "text.pth"


def a_tensor(tmp_path):
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    return tmp_path / "tensor.pth"


def odd_depth(tmp_path):
    state = {n: t for n, t in small_state(MASK).items() if "layer3.5" not in n}
    torch.save(state, tmp_path / "odd.pth")
    return tmp_path / "odd.pth"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (harmful, "could run code"),
        (harmful_pickle, "harm.pkl"),
        (cut_short, "not a whole"),
        (wrong_classes, "of another shape"),
        (other_network, "no known"),
        (missing_weight, "1 missing"),
        (headless_mask, "2 missing"),
        (not_weights, "text.pth"),
        (a_tensor, "holds a Tensor"),
        (odd_depth, "a ResNet with 3, 4, 5, 3 blocks"),
    ],
)
def test_unusable_files_are_answered_in_one_line(make, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=what) as raised:
        convert(make(tmp_path))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_another_source_is_not_admitted(write):
    with pytest.raises(CheckpointError, match="no known detectron2 network"):
        convert(write(small_state(MASK)), "detectron2")


def test_legacy_keypoint_weights_have_another_epsilon(write, monkeypatch):
    path = write(small_state(POINTS))
    assert convert(path).network["conventions"] == "torchvision"
    digest = read_foreign(path).sha256
    monkeypatch.setattr("segue.models.checkpoints.torchvision.LEGACY", digest[:8])
    assert convert(path).network["conventions"] == "torchvision_legacy"
