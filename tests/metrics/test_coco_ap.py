from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_scenes import CLASSES, scene

from segue.data.rle import decode_segmentations
from segue.errors import DataError, UsageError
from segue.metrics.coco_ap import CocoAP, evaluate_coco_json
from segue.structures import Categories, Category, Regions, Scene

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
POINT_NAMES = ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
GROUPS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}


@pytest.fixture
def reference(real_data: Callable[[str], Path]) -> Path:
    return real_data("coco_eval_reference")


def expected(reference: Path, kind: str) -> tuple[Path, Path, dict[str, float]]:
    case = json.loads((reference / "expected_pycocotools.json").read_text())["results"][kind]
    names = POINT_NAMES if kind == "keypoints" else NAMES
    values = {f"{GROUPS[kind]}/{name}": value for name, value in zip(names, case["stats"], strict=True)}
    return reference / case["gt"], reference / case["dt"], values


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_official_files_score_as_in_pycocotools(reference: Path, kind: Any) -> None:
    truth, results, values = expected(reference, kind)
    assert evaluate_coco_json(truth, results, kind) == pytest.approx(values, abs=1e-9)


def as_scene(image: dict[str, Any], rows: list[dict[str, Any]], classes: Categories, kind: str) -> Scene:
    size = (image["height"], image["width"])
    labels = {category.id: label for label, category in enumerate(classes)}
    boxes = torch.tensor([row.get("bbox", [0, 0, 1, 1]) for row in rows]).reshape(-1, 4).float()
    boxes[:, 2:] += boxes[:, :2]
    predicted = bool(rows) and "score" in rows[0]
    regions = Regions(
        boxes=boxes,
        labels=torch.tensor([labels[row["category_id"]] for row in rows], dtype=torch.int64),
        scores=torch.tensor([row["score"] for row in rows]) if predicted else None,
        crowd=torch.tensor([bool(row.get("iscrowd")) for row in rows], dtype=torch.bool),
        areas=None if predicted else torch.tensor([row["area"] for row in rows]),
        masks=decode_segmentations([row["segmentation"] for row in rows], size, "") if kind == "segm" else None,
    )
    return Scene(size, classes, regions, file=image["file_name"])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_scenes_score_as_in_pycocotools(reference: Path, kind: str) -> None:
    truth, results, values = expected(reference, kind)
    content, rows = json.loads(truth.read_text()), json.loads(results.read_text())
    classes = Categories(tuple(Category(row["name"], row["id"]) for row in content["categories"]))
    metric = CocoAP(classes, GROUPS[kind])  # type: ignore[arg-type]
    for image in sorted(content["images"], key=lambda row: row["id"]):
        found, annotated = (
            as_scene(image, [row for row in source if row["image_id"] == image["id"]], classes, kind)
            for source in (rows, content["annotations"])
        )
        metric.update(found, annotated)
    assert metric.compute() == pytest.approx(values, abs=1e-9)


def score(predicted: Scene, truth: Scene, group: Any = "boxes", **options: Any) -> dict[str, float]:
    metric = CocoAP(CLASSES, group, **options)
    metric.update(predicted, truth)
    return metric.compute()


A, B, C = (10, 10, 50, 50), (60, 10, 100, 50), (110, 10, 150, 50)


@pytest.mark.parametrize("group", ["boxes", "masks"])
@pytest.mark.parametrize(
    ("predicted", "scores", "value"),
    [
        ([A, B], [0.9, 0.8], 1.0),
        ([A], [0.9], 51 / 101),  # precision 1 at the recalls 0, .01, ... .5, then 0
        ([C, A, B], [0.9, 0.8, 0.7], 2 / 3),  # 1/2 then 2/3, made monotone: 2/3 at every recall
        ([A, A, B], [0.9, 0.8, 0.7], (51 + 50 * 2 / 3) / 101),  # the second A finds nothing
        ([], [], 0.0),
    ],
)
def test_average_precision_by_hand(group: str, predicted: Any, scores: Any, value: float) -> None:
    numbers = score(scene(predicted, scores), scene([A, B]), group)
    assert numbers[f"{group}/AP"] == pytest.approx(value)
    assert numbers[f"{group}/AP50"] == pytest.approx(value)


def test_iou_decides_which_thresholds_count() -> None:
    numbers = score(scene([(0, 0, 10, 8)], [0.9]), scene([(0, 0, 10, 10)]))  # IoU .8: found at .5 to .8
    assert numbers["boxes/AP"] == pytest.approx(0.7)
    assert numbers["boxes/AP75"] == pytest.approx(1)


def test_masks_are_compared_and_not_boxes() -> None:
    truth = scene([(0, 0, 10, 10)])
    shifted = scene([(30, 0, 40, 10)], [0.9]).regions
    predicted = replace(truth, regions=replace(shifted, boxes=truth.regions.boxes))
    assert score(predicted, truth, "boxes")["boxes/AP"] == pytest.approx(1)
    assert score(predicted, truth, "masks")["masks/AP"] == 0.0


def test_a_find_in_a_crowd_is_neither_right_nor_wrong() -> None:
    truth = scene([A, (60, 0, 200, 100)], crowd=[False, True])
    assert score(scene([B, C, A], [0.9, 0.8, 0.7]), truth)["boxes/AP"] == pytest.approx(1)


def test_classes_do_not_mix() -> None:
    numbers = score(scene([A, B], [0.9, 0.8], labels=[1, 1]), scene([A, B], labels=[0, 1]))
    assert numbers["boxes/AP"] == pytest.approx((0 + 0.5) / 2)


def test_the_last_of_max_detections_limits_ap() -> None:
    boxes = [(x, y, x + 5, y + 5) for x in range(0, 150, 10) for y in range(0, 100, 10)]
    predicted, truth = scene(boxes, [0.9 - 0.001 * i for i in range(150)]), scene(boxes)
    assert score(predicted, truth)["boxes/AP"] == pytest.approx(67 / 101)  # 100 of 150: the recalls 0, ... .66
    numbers = score(predicted, truth, max_detections=(1, 10, 500))
    assert numbers["boxes/AP"] == pytest.approx(1)
    assert numbers["boxes/AR500"] == pytest.approx(1)
    assert numbers["boxes/AR10"] == pytest.approx(10 / 150)


def test_annotated_areas_decide_the_size_class() -> None:
    small = score(scene([A], [0.9]), scene([A], areas=[900.0]))
    assert small["boxes/APs"] == pytest.approx(1)
    assert "boxes/APm" not in small
    assert score(scene([A], [0.9]), scene([A]))["boxes/APm"] == pytest.approx(1)  # 40 x 40 pixels


def test_order_within_a_picture_does_not_matter() -> None:
    boxes, scores = [C, A, (61, 10, 100, 52), A], [0.9, 0.8, 0.7, 0.6]
    truth = scene([A, B])
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        turned = scene([boxes[i] for i in order], [scores[i] for i in order])
        assert score(turned, truth) == score(scene(boxes, scores), truth)


def test_compute_may_be_called_in_between() -> None:
    metric = CocoAP(CLASSES)
    metric.update(scene([A], [0.9]), scene([A]))
    assert metric.compute() == metric.compute()
    metric.update(scene([], []), scene([B]))
    assert metric.compute()["boxes/AP"] == pytest.approx(51 / 101)


def test_empty_input() -> None:
    assert CocoAP(CLASSES).compute() == {}
    assert score(scene([], []), scene([])) == {}
    assert score(scene([A], [0.9]), scene([])) == {}  # no annotation defines a recall
    assert score(scene([], []), scene([A]), "masks")["masks/AR100"] == 0.0


@pytest.mark.parametrize(
    ("predicted", "fault"),
    [
        (scene([A], [float("nan")]), "score"),
        (scene([(float("nan"), 0, 9, 9)], [0.5]), "box"),
        (scene([(0, 0, float("inf"), 9)], [0.5]), "box"),
        (scene([A]), "without scores"),
        (replace(scene([A], [0.5]), categories=Categories.from_names(["mug", "cell"])), "classes"),
    ],
    ids=["nan score", "nan box", "inf box", "no scores", "classes"],
)
def test_wrong_predictions_are_refused(predicted: Scene, fault: str) -> None:
    with pytest.raises(DataError, match=rf"a\.png.*{fault}"):
        score(predicted, scene([A]))


def test_regions_without_masks_are_refused() -> None:
    bare = scene([A], [0.5])
    with pytest.raises(DataError, match="without masks"):
        score(replace(bare, regions=replace(bare.regions, masks=None)), scene([A]), "masks")


@pytest.mark.parametrize("limits", [(), (10, 1), (0, 5), (5, 5)])
def test_max_detections_must_rise(limits: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="must be positive and rise"):
        CocoAP(CLASSES, max_detections=limits)


TRUTH = {
    "images": [{"id": 7, "height": 20, "width": 30, "file_name": "a.png"}],
    "categories": [{"id": 3, "name": "cell"}],
    "annotations": [{"id": 0, "image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}],
}
GOOD = {"image_id": 7, "category_id": 3, "score": 0.5, "bbox": [1, 1, 9, 9]}


def official(folder: Path, results: Any, kind: Any = "bbox") -> dict[str, float]:
    (folder / "truth.json").write_text(json.dumps(TRUTH))
    (folder / "results.json").write_text(json.dumps(results))
    return evaluate_coco_json(folder / "truth.json", folder / "results.json", kind)


def test_annotation_id_zero_counts(tmp_path: Path) -> None:
    assert official(tmp_path, [GOOD])["boxes/AP"] == pytest.approx(1)


def test_no_result_at_all(tmp_path: Path) -> None:
    assert official(tmp_path, [])["boxes/AP"] == 0.0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"score": float("nan")}, "score nan"),
        ({"score": "0.5"}, "score '0.5'"),
        ({"bbox": [1, 1, float("nan"), 9]}, "bbox"),
        ({"bbox": [1, 1, -9, 9]}, "bbox"),
        ({"image_id": 8}, "image_id 8"),
        ({"image_id": True}, "image_id True"),
        ({"category_id": 4}, "category_id 4"),
        ({"keypoints": [1, 2]}, "keypoints"),
    ],
)
def test_hostile_results_are_refused(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=rf"result 1: {fault}"):
        official(tmp_path, [GOOD, {**GOOD, **change}])


def test_results_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no segmentation"):
        official(tmp_path, [GOOD], "segm")
    short = {**GOOD, "segmentation": {"size": [20, 30], "counts": [5, 5]}}
    with pytest.raises(DataError, match="cover 10 pixels"):
        official(tmp_path, [short], "segm")
    for content in ({}, 3, [3], [{**GOOD, "bbox": None}]):
        with pytest.raises(DataError, match=r"results\.json"):
            official(tmp_path, content)
