"""That the benchmarks run, and that the plain twins they time against say the same as ours. Never a speed."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hotcoco import COCO

from benchmarks import (
    batches,
    caption_cost,
    evaluation,
    growth,
    heads_cost,
    mesh_metrics,
    meshes,
    networks,
    ops,
    panoptic,
    plain,
    report,
    turntables,
    vision,
)
from benchmarks.__main__ import main
from benchmarks.timing import Case, Result, compare, difference
from segue import ops as segue_ops
from segue.engine.load import load
from segue.metrics.coco_ap import Kind, evaluate_coco_json
from segue.structures import Masks

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "MISSING", "not asked")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_command_writes_a_page_with_a_row_per_case(tmp_path: Path) -> None:
    command = ["-m", "benchmarks", "--quick", "--only", "box_iou,mask_iou", "--out", str(tmp_path / "speed.md")]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "speed.md").read_text()
    assert text == done.stdout
    assert "no measurements" in text
    assert torch.__version__ in text
    header, rule, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert cells(header) == list(report.HEADER)
    assert set(cells(rule)) == {"---"}
    table = [dict(zip(report.HEADER, cells(line), strict=True)) for line in rows]
    assert [r["what"] for r in table] == ["box_iou", "mask_iou"]
    for r in table:
        assert float(r["ratio"].strip("*")) > 0
        assert int(r["pairs"]) >= 5
        assert r["against"] in ("plain", "torchvision")
        assert float(r["difference of the results"]) < 1e-5


def test_an_unknown_case_is_named_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "box_iou,nsm_1k"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert "no benchmark nsm_1k;" in message
    assert "nms_1k" in message


@pytest.mark.usefixtures("no_torchvision")
@pytest.mark.parametrize("name", [*ops.CASES, *panoptic.CASES, *meshes.CASES, *mesh_metrics.CASES])
def test_plain_twins_agree_with_ours(name: str) -> None:
    case = {**ops.CASES, **panoptic.CASES, **meshes.CASES, **mesh_metrics.CASES}[name](True)
    assert case.against == ("plain" if name not in meshes.CASES else "PyTorch3D" if "pytorch3d" in name else "scipy")
    ours, theirs = case.ours(), case.theirs()
    if isinstance(ours, Masks):
        assert int((ours.dense() ^ theirs).sum()) <= 2  # pixels at one half, to rounding
        assert int(theirs.sum()) > 0
    else:
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_plain_twins_follow_detectron2_where_asked() -> None:
    size, n = (60, 90), 12
    boxes, index = ops.random_boxes(n, size), torch.arange(n)
    dense = ops.ellipses(boxes, size)
    crops = boxes + torch.tensor([-3.2, 0.3, 4.1, 2.6])
    soft = torch.rand(n, 7, 7, generator=torch.Generator().manual_seed(0))
    pasted = segue_ops.paste_masks(soft, boxes, size, at_centres=True).dense()
    assert int((pasted ^ plain.paste_masks(soft, boxes, size, at_centres=True)).sum()) <= 2
    ours = segue_ops.mask_targets(Masks.from_dense(dense), index, crops, 14, binary=True)
    assert int((ours != plain.mask_targets(dense, index, crops, 14, binary=True)).sum()) <= 2
    features = torch.randn(2, 3, 15, 22)
    rest = ([0.25], crops, index % 2, index * 0, 7, 2, True)
    torch.testing.assert_close(
        segue_ops.multilevel_roi_align([features], *rest), plain.multilevel_roi_align([features], *rest)
    )


@pytest.mark.usefixtures("no_torchvision")
def test_the_plain_network_sees_what_ours_sees() -> None:
    case = networks.CASES["predict"](True)
    text = case.difference(case.ours(), case.theirs())
    assert text.startswith("5 of 5 objects alike"), text
    for name in networks.TWINS:  # and the plain operations are gone again
        module, _, function = name.rpartition(".")
        assert getattr(sys.modules[module], function) is getattr(segue_ops, function)


@pytest.mark.usefixtures("no_torchvision")
def test_the_plain_training_step_has_our_loss() -> None:
    case = networks.CASES["training"](True)
    torch.testing.assert_close(case.ours(), case.theirs(), atol=1e-3, rtol=1e-4)


def test_the_caption_head_is_all_that_its_network_has_more() -> None:
    case = caption_cost.toybox(True)
    assert case.difference(case.ours(), case.theirs()) == "5 regions told in 15 words, boxes 0.0e+00 px"


def test_all_heads_together_see_the_same_objects() -> None:
    case = heads_cost.CASES["heads_cost"](True)
    assert re.fullmatch(r"[1-9]\d* objects in both, boxes 0.0e\+00 px", case.difference(case.ours(), case.theirs()))


def test_turntables_look_the_same_as_frame_by_frame() -> None:
    case = turntables.case(True)
    ours, theirs = case.ours(), case.theirs()
    assert (ours != ours[0, 0, 0]).any(dim=3).flatten(1).any(dim=1).all()
    assert case.difference(ours, theirs).startswith("0 of 4,608 pixels")


def test_batches_show_the_same_objects() -> None:
    for _, case in batches.cases(load("nuclei", "cpu"), quick=True):
        apart = case.difference(case.ours(), case.theirs())
        assert "other counts" not in apart
        assert 0 <= float(apart) < 1e-4


def test_both_sides_are_run_in_turns() -> None:
    calls: list[str] = []

    def side(name: str) -> torch.Tensor:
        calls.append(name)
        return torch.tensor([1.0 if name == "ours" else 1.5])

    result = compare("it", Case("one", "plain", lambda: side("ours"), lambda: side("theirs")), seconds=0)
    assert calls == ["ours", "theirs"] * (2 + result.pairs)
    assert result.pairs == 5
    assert result.difference == "5.0e-01"
    assert 0 < result.ratios[0] <= result.ratios[1] <= result.ratios[2]


def test_results_of_other_shapes_are_reported_not_compared() -> None:
    assert difference(torch.zeros(2), torch.zeros(3)) == "shapes differ: (2,) and (3,)"
    assert difference(torch.tensor([True, False]), torch.tensor([True, True])) == "1 of 2 flags"


def test_a_row_says_times_in_milliseconds_and_theirs_to_ours() -> None:
    result = Result("nms", "10 boxes", "plain", 0.002, 0.5, (200.0, 250.0, 260.0), 7, "0 of 3 kept")
    assert report.row(result) == (
        "nms", "10 boxes", "2 ms", "500 ms", "plain", "**250.00**", "200.00 to 260.00", "7", "0 of 3 kept"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_evaluation_says_the_same_of_sets_in_memory_and_of_files(kind: Kind) -> None:
    held = evaluation.files(50)
    truth = COCO(str(held.truth))
    ours = evaluation.ours_evaluate(truth, truth.load_res(str(held.results)), kind)
    assert torch.equal(ours, evaluation.numbers(evaluate_coco_json(held.truth, held.results, kind)))
    assert 0.1 < ours[0] < 0.9
    if not evaluation.MISSING:
        assert torch.equal(ours, evaluation.evaluate(*evaluation.theirs_read(held), kind))


def test_without_pycocotools_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MISSING", "it is not there")
    assert "COCO's evaluation is left out: it is not there." in report.page([], None, False)
    monkeypatch.setattr(evaluation, "MISSING", "")
    assert "left out" not in report.page([], None, False)


def test_powers_of_growth() -> None:
    assert growth.steps([1, 2, 4, 8], [5, 5, 10, 40]) == pytest.approx([0, 1, 2])
    said = growth.sentence("Time", [1, 2, 4, 8, 16], [5, 5, 10, 20, 80])
    assert said == "Time is less than linear from 1 to 2, linear from 2 to 8, more than linear from 8 to 16."


def test_peak_memory_is_that_of_the_block() -> None:
    with growth.peak_memory() as peak:
        held = torch.ones(100_000_000, dtype=torch.uint8)  # freed before the end, and yet counted
        time.sleep(0.1)
        del held
    assert 90e6 < peak() < 200e6


def test_a_point_of_growth_in_tiles(tmp_path: Path) -> None:
    torch.save(growth.fresh_network(True).state_dict(), tmp_path / "network.pt")
    whole = growth.measure(growth.Point(160, 240, detections=5), tmp_path / "network.pt", True)
    tiled = growth.measure(growth.Point(160, 240, detections=5, tile=128), tmp_path / "network.pt", True)
    assert whole.regions == 5
    assert 5 < tiled.regions <= 30
    assert min(whole.seconds, tiled.seconds, whole.memory) > 0
