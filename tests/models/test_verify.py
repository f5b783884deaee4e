"""What `--verify` says of a converted model: beside the original where it can be imported, else that it could not."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from detectron2_files import saved, state_of

from segue.models.checkpoints import Foreign, convert_foreign, read_foreign
from segue.models.checkpoints.verify import Certificate, verify
from segue.models.weights import ModelFile

KINDS = {
    "faster_rcnn_X_101_32x8d_FPN": 57.375,
    "mask_rcnn_R_50_FPN": 1.0,
    "keypoint_rcnn_R_50_FPN": 1.0,
    "panoptic_fpn_R_50": 1.0,
}


def narrow(folder: Path, kind: str, std: float = 1.0) -> tuple[Foreign, ModelFile]:
    """A narrow network of detectron2, read and converted, for small pictures."""
    foreign = read_foreign(saved(folder, state_of(kind, std), f"{kind}.pth"))
    return foreign, replace(convert_foreign(foreign), resize=(96, 160))


def failed(certificate: Certificate) -> dict[str, float]:
    return {check.stage: check.worst for check in certificate.checks if not check.passed}


@pytest.mark.parametrize("kind", KINDS)
def test_detectron2_itself_agrees_stage_by_stage(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("detectron2.modeling", exc_type=ImportError)
    certificate = verify(*narrow(tmp_path, kind, KINDS[kind]))
    assert str(certificate.against).startswith("detectron2 ")
    assert failed(certificate) == {}
    stages = {check.stage for check in certificate.checks}
    assert {"preprocessing", "pyramid", "proposals", "detected boxes", "detection scores"} <= stages
    assert ("keypoints" in stages) == ("keypoint" in kind)
    assert ("masks" in stages) == ("mask" in kind or "panoptic" in kind)
    assert ("panoptic map" in stages) == ("panoptic" in kind)


def test_detectron2_itself_disagrees_with_other_conventions(tmp_path: Path) -> None:
    pytest.importorskip("detectron2.modeling", exc_type=ImportError)
    foreign, model = narrow(tmp_path, "mask_rcnn_R_50_FPN")
    for conventions, stage in (("meshrcnn", "regions of boxes"), ("detectron2_x101", "pyramid")):
        other = replace(model, network={**model.network, "conventions": conventions})
        assert stage in failed(verify(foreign, other))


@pytest.mark.parametrize("missing", ["detectron2", "detectron2.modeling"])
def test_without_detectron2_it_says_that_nothing_was_computed(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "there" / "detectron2"  # of which nothing but the name can be imported
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    if missing == "detectron2":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.syspath_prepend(str(package.parent))
    certificate = verify(*narrow(tmp_path, "mask_rcnn_R_50_FPN"))
    assert certificate.against is None
    said = "is not installed here" if missing == "detectron2" else "cannot be imported here"
    assert said in certificate.notes[-1]
    assert "no outputs were compared" in certificate.table()


def test_networks_that_detectron2_does_not_publish_are_not_compared(tmp_path: Path) -> None:
    pytest.importorskip("detectron2.modeling", exc_type=ImportError)
    foreign, model = narrow(tmp_path, "mask_rcnn_R_50_FPN")
    body = {**model.network["backbone"], "depth": 34}
    certificate = verify(foreign, replace(model, network={**model.network, "backbone": body}))
    assert "publishes no network" in certificate.notes[-1]


def test_a_hash_that_is_not_that_of_the_name_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    foreign, model = narrow(tmp_path, "mask_rcnn_R_50_FPN")
    for digits, good in (("00000000", False), (foreign.sha256[:8], True)):
        named = replace(foreign, path=tmp_path / f"weights-{digits}.pth")
        assert verify(named, model).passed == good
