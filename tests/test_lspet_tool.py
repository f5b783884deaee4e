import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.coco import categories_from_coco
from segue.engine.recipe import check_network, to_plain
from segue.metrics.keypoints import PCK
from segue.models.region_network import RegionNetwork
from segue.models.weights import ModelFile, write_model
from segue.structures import Regions, Scene
from segue.tasks import BOXES, KEYPOINTS
from tools.lspet_test import annotated, correct, given_boxes, main, mean_pose, results, table

NAMES = ("right_hip", "left_hip", "right_shoulder", "left_shoulder", "head_top")
PERSON: list[dict[str, Any]] = [{"id": 4, "name": "person", "keypoints": list(NAMES)}]
SIZE = (40, 60)


def random_points(seed: int, count: int) -> torch.Tensor:
    make = torch.Generator().manual_seed(seed)
    points = torch.rand(count, len(NAMES), 3, generator=make) * torch.tensor([60.0, 40.0, 0.0])
    points[..., 2] = 2.0 * (torch.rand(count, len(NAMES), generator=make) < 0.7)
    return points * (points[..., 2:] > 0)


def entry(number: int, keypoints: list[float], bbox: list[float]) -> dict[str, Any]:
    return {"id": number, "image_id": number, "category_id": 4, "iscrowd": 0, "keypoints": keypoints, "bbox": bbox}


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as `lspet` is, of two pictures a split."""
    folder = tmp_path / "lspet"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in (7, 31):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows.append({"id": number, "file_name": f"images/{number}.png", "height": SIZE[0], "width": SIZE[1]})
    boxes = {7: [10.0, 0.0, 20.0, 40.0], 31: [0.0, 10.0, 50.0, 30.0]}
    points = {
        7: [11.5, 29.5, 2, 23.5, 29.5, 2, 11.5, 9.5, 2, 23.5, 9.5, 2, 19.5, 3.5, 2],
        31: [4.5, 14.5, 2, 0, 0, 0, 4.5, 34.5, 2, 14.5, 34.5, 2, 0, 0, 0],
    }
    truth = {"images": rows, "annotations": [entry(n, points[n], boxes[n]) for n in boxes], "categories": PERSON}
    given = {"images": rows, "categories": PERSON, "bbox": {str(number): box for number, box in boxes.items()}}
    for name, content in (
        ("person_keypoints_train", truth),
        ("person_keypoints_val", truth),
        ("image_info_test", given),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setenv("SEGUE_DATA", str(tmp_path))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tasks = [BOXES, KEYPOINTS]
    values: dict[str, Any] = {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 8},
        "tasks": {"boxes": {"channels": 16}, "keypoints": {"channels": 8, "convolutions": 1}},
    }
    settings, categories = check_network(values, tasks, "the test"), categories_from_coco(PERSON)
    torch.manual_seed(0)
    state = RegionNetwork(settings, categories, tasks).state_dict()
    path = tmp_path / "model.safetensors"
    write_model(path, ModelFile("tiny", to_plain(settings), categories.to_json(), (48, 64), state))
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["lspet_test.py", *map(str, arguments)])
    main()


def test_what_is_correct_counted_one_by_one_and_by_the_metric() -> None:
    goals = random_points(1, 60)
    points = goals + torch.randn(goals.shape, generator=torch.Generator().manual_seed(2)) * 5
    counted, right = correct(points, goals, NAMES)
    for person in range(60):
        known = {name: goals[person, k, :2] for k, name in enumerate(NAMES) if goals[person, k, 2] > 0}
        pairs = [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")]
        torsos = [float((known[a] - known[b]).norm()) for a, b in pairs if a in known and b in known]
        for k, name in enumerate(NAMES):
            assert counted[person, k] == (name in known and bool(torsos))
            near = bool(counted[person, k]) and float((points[person, k, :2] - known[name]).norm()) <= 0.2 * torsos[0]
            assert right[person, k] == near
    assert 0 < int(right.sum()) < int(counted.sum()) < int((goals[..., 2] > 0).sum())
    metric = PCK(categories_from_coco(PERSON))
    for own, goal in zip(points, goals, strict=True):
        box, label = torch.tensor([[0.0, 0.0, 60.0, 40.0]]), torch.tensor([0])
        predicted = Regions(box, label, torch.ones(1), keypoints=own[None])
        scenes = [Scene(SIZE, metric.categories, r) for r in (predicted, Regions(box, label, keypoints=goal[None]))]
        metric.update(*scenes)
    assert metric.compute()["keypoints/PCK_0.2"] == pytest.approx(int(right.sum()) / int(counted.sum()))


def test_the_mean_pose_is_that_of_the_labelled_in_units_of_their_boxes(people: Path) -> None:
    places = mean_pose(annotated("train"))
    expected = [[(2 / 20 + 5 / 50) / 2, (30 / 40 + 5 / 30) / 2], [14 / 20, 30 / 40]]
    torch.testing.assert_close(places[:2], torch.tensor(expected))
    torch.testing.assert_close(places[4], torch.tensor([10 / 20, 4 / 40]))


def test_the_table_joins_left_and_right_and_begins_with_the_worst() -> None:
    counted = torch.tensor([[True, True, True, False, True], [True, True, True, True, False]])
    right = torch.tensor([[True, False, True, False, True], [False, True, True, False, False]])
    lines = table(NAMES, counted, right, torch.zeros(2, 5, dtype=torch.bool)).splitlines()[2:]
    assert lines == [
        "| hip | 4 | 0.500 | 0.000 |",
        "| shoulder | 3 | 0.667 | 0.000 |",
        "| head_top | 1 | 1.000 | 0.000 |",
        "| all | 8 | 0.625 | 0.000 |",
    ]


def test_results_are_cocos_with_pixels_counted_from_their_centres() -> None:
    points = torch.tensor([[[3.0, 4.5, 0.5], [1.0, 2.0, 0.25], [5.5, 6.5, 0.75], [7.5, 8.5, 0.5], [9.5, 9.5, 1.0]]])
    regions = Regions(torch.tensor([[0.0, 1.0, 10.0, 21.0]]), torch.tensor([0]), torch.ones(1), keypoints=points)
    (row,) = results(Scene(SIZE, categories_from_coco(PERSON), regions), 12)
    assert row["keypoints"] == [2.5, 4, 0.5, 0.5, 1.5, 0.25, 5, 6, 0.75, 7, 8, 0.5, 9, 9, 1]
    assert {key: row[key] for key in row if key != "keypoints"} == {"image_id": 12, "category_id": 4, "score": 0.6}


def test_both_splits_from_beginning_to_end(
    people: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "poses.json"
    call(monkeypatch, model, "--split", "test", "--views", "--out", out)
    rows = json.loads(out.read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(7, 4), (31, 4)]
    x, y, score = torch.tensor([row["keypoints"] for row in rows]).view(2, 5, 3).unbind(2)
    assert ((x[0] >= 9.5) & (x[0] <= 29.5)).all()
    assert ((y[1] >= 9.5) & (y[1] <= 39.5)).all()
    assert score.mean(1).tolist() == pytest.approx([row["score"] for row in rows], abs=1e-5)
    capsys.readouterr()
    call(monkeypatch, model, "--split", "val")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| joint | labelled | PCK@0.2 | mean pose |"
    assert [line.split()[3] for line in lines[2:] if "| all |" in line or "head_top" in line] == ["1", "8"]


def test_out_goes_with_the_test_split_alone(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["val", "--out", "x.json"], ["test"]):
        with pytest.raises(SystemExit):
            call(monkeypatch, model, "--split", *arguments)


def test_the_boxes_of_the_real_test_split(real_data: Callable[[str], Path]) -> None:
    dataset = given_boxes(real_data("lspet") / "image_info_test.json")
    boxes = torch.cat([dataset.regions(index).boxes for index in range(len(dataset))])
    sizes = torch.tensor([record.size for record in dataset.records]).flip(1)
    assert len(boxes) == len(dataset) == 500
    assert ((boxes[:, 2:] - boxes[:, :2]) > 10).all()
    assert ((boxes[:, :2] >= -1) & (boxes[:, 2:] <= sizes + 1)).all()
    assert len({record.id for record in dataset.records}) == 500
    assert all(record.file.is_file() for record in dataset.records)
