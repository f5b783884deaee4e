from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.coco import categories_from_coco
from segue.errors import DataError
from segue.metrics.keypoints import PCK, KeypointAP, sigmas_of, torso_lengths
from segue.structures import Categories, Category, Regions, Scene

NAMES = ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
CAR = Category("car", 3, keypoints=("hood", "roof"), sigmas=(0.05, 0.1))
PERSON = Category("person", 1, keypoints=("left_shoulder", "right_hip", "nose"))
MIXED = Categories((PERSON, Category("mug", 2), CAR))


def as_scene(image: dict[str, Any], rows: list[dict[str, Any]], classes: Categories) -> Scene:
    points = torch.tensor([row["keypoints"] for row in rows], dtype=torch.float64).view(len(rows), -1, 3)
    shown = points[..., 2:] > 0
    predicted = bool(rows) and "score" in rows[0]
    points[..., :2] += 0.5 if predicted else 0.5 * shown
    boxes = torch.tensor([row.get("bbox", [0, 0, 1, 1]) for row in rows]).view(-1, 4).float()
    boxes[:, 2:] += boxes[:, :2]
    regions = Regions(
        boxes,
        torch.zeros(len(rows)).long(),
        scores=torch.tensor([row["score"] for row in rows]) if predicted else None,
        crowd=torch.tensor([bool(row.get("iscrowd")) for row in rows]),
        areas=None if predicted else torch.tensor([row["area"] for row in rows]),
        keypoints=points.float(),
    )
    return Scene((image["height"], image["width"]), classes, regions, file=image["file_name"])


def score_files(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    classes = categories_from_coco([{**row, "skeleton": []} for row in truth["categories"]])
    metric = KeypointAP(classes)
    for image in truth["images"]:
        found, annotated = (
            as_scene(image, [row for row in rows if row["image_id"] == image["id"]], classes)
            for rows in (results, truth["annotations"])
        )
        metric.update(found, annotated)
    return metric.compute()


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def test_scenes_score_as_in_pycocotools(real_data: Callable[[str], Path]) -> None:
    folder = real_data("coco_eval_reference")
    case = load(folder / "expected_pycocotools.json")["results"]["keypoints"]
    values = {f"keypoints/{name}": value for name, value in zip(NAMES, case["stats"], strict=True)}
    numbers = score_files(load(folder / case["gt"]), load(folder / case["dt"]))
    assert numbers == pytest.approx(values, abs=1e-6)


def test_crowdpose_with_its_own_14_sigmas(real_data: Callable[[str], Path]) -> None:
    folder = real_data("coco_eval_reference") / "crowdpose"
    truth = load(folder / "example_crowdpose_val.json")
    for row in truth["annotations"]:  # as CrowdPose's evaluation does
        row["area"] = 0.53 * row["bbox"][2] * row["bbox"][3]
    numbers = score_files(truth, load(folder / "example_crowdpose_preds.json"))
    wanted = {"AP": 0.7877215935879303, "AP50": 0.9881188118811886, "AP75": 0.7314356435643564, "AR": 0.8222222222}
    assert {name: numbers[f"keypoints/{name}"] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_sigmas_are_the_categorys_own_or_go_by_name() -> None:
    assert sigmas_of(CAR) == (0.05, 0.1)
    assert sigmas_of(PERSON) == (0.079, 0.107, 0.026)
    assert sigmas_of(replace(CAR, sigmas=())) == (0.067, 0.067)


Points = Sequence[tuple[float, float, float]]


def scene(
    objects: Sequence[tuple[int, Points]],
    scores: Sequence[float] | None = None,
    boxes: Sequence[Sequence[float]] | None = None,
) -> Scene:
    """Objects of 100 by 100 pixels with keypoints, as many as are given."""
    most = max((len(points) for _, points in objects), default=3)
    points = torch.zeros(len(objects), most, 3)
    for row, (_, own) in zip(points, objects, strict=True):
        row[: len(own)] = torch.tensor(own).view(-1, 3)
    corners = torch.tensor(boxes or [[50.0, 50, 150, 150]] * len(objects)).view(-1, 4).float()
    labels = torch.tensor([label for label, _ in objects], dtype=torch.int64)
    regions = Regions(corners, labels, None if scores is None else torch.tensor(scores), keypoints=points)
    return Scene((200, 200), MIXED, regions, file="a.png")


def moved(points: Points, x: float) -> Points:
    return [(px + x, py, v) for px, py, v in points]


def score(predicted: Scene, truth: Scene) -> dict[str, float]:
    metric = KeypointAP(MIXED)
    metric.update(predicted, truth)
    return metric.compute()


A: Points = [(80, 80, 2), (110, 120, 2), (100, 60, 1)]
HOOD: Points = [(70, 90, 2), (110, 70, 2)]


def test_similarity_by_hand_with_a_categorys_own_sigma() -> None:
    """Both points of the car are off by d: OKS is the mean of exp(-d^2 / (2 area (2 sigma)^2))."""
    d = 7.0
    similarity = sum(math.exp(-(d**2) / (2 * 10000 * (2 * s) ** 2)) for s in (0.05, 0.1)) / 2  # 0.86
    thresholds = sum(similarity >= 0.5 + 0.05 * i for i in range(10))
    numbers = score(scene([(2, moved(HOOD, d))], [0.9]), scene([(2, HOOD)]))
    assert numbers["keypoints/AP"] == pytest.approx(thresholds / 10)
    assert 1 <= thresholds <= 9


def test_categories_of_different_keypoints_are_averaged() -> None:
    truth = scene([(0, A), (1, []), (2, HOOD)])
    assert score(scene([(0, A), (2, HOOD)], [0.9, 0.8]), truth)["keypoints/AP"] == pytest.approx(1)
    assert score(scene([(0, A), (2, moved(HOOD, 90))], [0.9, 0.8]), truth)["keypoints/AP"] == pytest.approx(0.5)
    assert score(scene([(0, A)], [0.9]), truth)["keypoints/AP"] == pytest.approx(0.5)


def test_objects_without_a_labelled_keypoint_are_no_mistake_and_no_find() -> None:
    hidden: Points = [(0, 0, 0)] * 3
    truth = scene([(0, A), (0, hidden)], boxes=[[50, 50, 150, 150], [0, 0, 40, 40]])
    beside: Points = [(10, 10, 1), (20, 20, 1), (30, 30, 1)]
    numbers = score(scene([(0, beside), (0, A)], [0.9, 0.8]), truth)
    assert numbers["keypoints/AP"] == pytest.approx(1)
    assert numbers["keypoints/AR"] == pytest.approx(1)
    assert score(scene([(0, beside)], [0.9]), scene([(0, hidden)])) == {}


def test_unlabelled_points_do_not_count() -> None:
    part = [A[0], A[1], (0.0, 0.0, 0.0)]
    far = [A[0], A[1], (5.0, 190.0, 1.0)]
    assert score(scene([(0, far)], [0.9]), scene([(0, part)]))["keypoints/AP"] == pytest.approx(1)


def test_nothing_at_all() -> None:
    assert KeypointAP(MIXED).compute() == {}
    assert PCK(MIXED).compute() == {}
    assert score(scene([], []), scene([])) == {}
    assert score(scene([], []), scene([(0, A)]))["keypoints/AP"] == 0.0


def test_pictures_without_annotated_keypoints_are_left_out() -> None:
    bare = scene([(0, A)])
    bare = replace(bare, regions=replace(bare.regions, keypoints=None))
    metric = KeypointAP(MIXED)
    metric.update(scene([(0, A)], [0.9]), bare)
    metric.update(scene([(0, A)], [0.8]), scene([(0, A)]))
    assert metric.compute()["keypoints/AP"] == pytest.approx(1)


def test_wrong_predictions_are_refused() -> None:
    truth, good = scene([(0, A)]), scene([(0, A)], [0.9])
    for metric in (KeypointAP(MIXED), PCK(MIXED)):
        for keypoints in (None, torch.full((1, 3, 3), torch.nan)):
            with pytest.raises(DataError, match=r"a\.png.*keypoints"):
                metric.update(replace(good, regions=replace(good.regions, keypoints=keypoints)), truth)


def test_other_keypoints_of_a_class_are_refused() -> None:
    truth = scene([(0, A)])
    other = Categories((replace(PERSON, keypoints=("left_shoulder", "right_hip", "neck")), *MIXED.items[1:]))
    for metric in (KeypointAP(MIXED), PCK(MIXED)):
        with pytest.raises(DataError, match="other keypoints"):
            metric.update(replace(scene([(0, A)], [0.9]), categories=other), truth)


def pck(predicted: Scene, truth: Scene, alpha: float = 0.2) -> float:
    metric = PCK(MIXED, alpha)
    metric.update(predicted, truth)
    (value,) = metric.compute().values()
    return value


@pytest.mark.parametrize(("distance", "value"), [(9.9, 1.0), (10.1, 2 / 3)])
def test_pck_by_hand(distance: float, value: float) -> None:
    """The torso of A is 50 pixels long, a fifth of it 10."""
    nose = (A[2][0] + distance, A[2][1], 1)
    assert pck(scene([(0, [A[0], A[1], nose])], [0.9]), scene([(0, A)])) == pytest.approx(value)


def test_pck_judges_the_best_detection_that_covers_the_object() -> None:
    truth = scene([(0, A)])
    here, there = [50, 50, 150, 150], [0, 0, 40, 40]
    good, bad = (0, A), (0, moved(A, 100))
    assert pck(scene([bad, good], [0.9, 0.8], [there, here]), truth) == 1
    assert pck(scene([bad, good], [0.9, 0.8], [here, here]), truth) == 0
    assert pck(scene([good], [0.9], [there]), truth) == 0
    assert pck(scene([], []), truth) == 0


def test_torso_takes_the_other_diagonal_where_one_is_unlabelled() -> None:
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    points = torch.tensor([[[0.0, 0, 2], [30, 0, 2], [0, 40, 2], [30, 60, 2]]]).repeat(3, 1, 1)
    points[1, 3] = 0
    points[2, :2] = 0
    assert torso_lengths(points, names).tolist() == pytest.approx([math.hypot(30, 60), 50, 0])
    assert torso_lengths(points, ["a", "b", "c", "d"]).tolist() == [0, 0, 0]
