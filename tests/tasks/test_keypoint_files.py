from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.check import content_faults
from segue.data.coco import read_coco
from segue.data.transforms import Augmentation
from segue.engine.loader import Place, TrainingPictures
from segue.engine.predictions import evaluate_predictions
from segue.errors import DataError
from segue.structures import Regions
from segue.tasks import BOXES, KEYPOINTS, parsers_of
from segue.tasks.keypoints import to_json


def coco_content() -> dict[str, Any]:
    categories = [
        {"id": 1, "name": "person", "keypoints": ["left_hand", "right_hand", "nose"], "skeleton": [[1, 3], [2, 3]]},
        {"id": 2, "name": "mug"},
    ]
    shared = {"bbox": [4, 4, 30, 30], "area": 900, "iscrowd": 0}
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [8, 9, 2, 28, 9, 1, 0, 0, 0], **shared},
        {"id": 2, "image_id": 1, "category_id": 2, **shared},
        {"id": 3, "image_id": 2, "category_id": 2, **shared},
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 50} for i in (1, 2)]
    return {"images": images, "categories": categories, "annotations": annotations}


def write(folder: Path, content: dict[str, Any]) -> Path:
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    picture[:, :25] = 200
    for row in content["images"]:
        Image.fromarray(picture).save(folder / row["file_name"])
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def test_every_picture_of_a_set_has_as_many_keypoints(tmp_path: Path) -> None:
    dataset = read_coco(write(tmp_path, coco_content()), {"keypoints": KEYPOINTS.parse})
    first, second = dataset.regions(0).keypoints, dataset.regions(1).keypoints
    assert first is not None
    assert second is not None
    assert first.tolist() == [[[8.5, 9.5, 2], [28.5, 9.5, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
    assert second.tolist() == [[[0, 0, 0]] * 3]
    assert Regions.cat([dataset.regions(0), dataset.regions(1)]).keypoints is not None


def test_training_pictures_keep_left_hands_left(tmp_path: Path) -> None:
    """The left hand is on the light half in the picture as annotated, and so it is on the dark one in its mirror."""
    dataset = read_coco(write(tmp_path, coco_content()), {"boxes": BOXES.parse, "keypoints": KEYPOINTS.parse})
    pictures = TrainingPictures(dataset, Augmentation(mirror=True), [BOXES, KEYPOINTS], seed=0)
    seen = set()
    for number in range(8):
        sample = pictures[Place(number, 0)]
        mirrored = int(sample.image[0, 0, 0]) == 0
        seen.add(mirrored)
        assert sample.regions.keypoints is not None
        hands = sample.regions.keypoints[0].tolist()
        wanted = [[21.5, 9.5, 1], [41.5, 9.5, 2]] if mirrored else [[8.5, 9.5, 2], [28.5, 9.5, 1]]
        assert hands == [*wanted, [0, 0, 0]]
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("change", "code", "fatal"),
    [
        ({"keypoints": [8, 9, 2]}, "keypoints", True),
        ({"keypoints": [8, 9]}, "keypoints", True),
        ({"keypoints": "all"}, "keypoints", True),
        ({"keypoints": [8, 9, 3, 28, 9, 1, 0, 0, 0]}, "keypoints", True),
        ({"keypoints": [8, 9, 0.5, 28, 9, 1, 0, 0, 0]}, "keypoints", True),
        ({"category_id": 2}, "keypoints-nameless", False),
    ],
)
def test_faults_of_annotation_files_are_found(tmp_path: Path, change: dict[str, Any], code: str, fatal: bool) -> None:
    content = coco_content()
    content["annotations"][0] |= change
    (fault,) = content_faults(content)
    assert (fault.code, fault.where, fault.fatal) == (code, "annotation 1", fatal)
    if fatal:
        with pytest.raises(DataError, match="annotation 1"):
            read_coco(write(tmp_path, content), {})


@pytest.mark.parametrize("sigmas", [[0.1], [0.1, 0.1, 0], [0.1, 0.1, "a"], "abc", None])
def test_wrong_sigmas_are_found(sigmas: Any) -> None:
    content = coco_content()
    content["categories"][0]["sigmas"] = sigmas
    (fault,) = content_faults(content)
    assert fault.fatal
    assert "sigmas" in fault.message


def test_coco_annotations_are_read_as_they_are(real_data: Callable[[str], Path]) -> None:
    file = real_data("coco_mini") / "annotations" / "person_keypoints_train.json"
    rows = {row["id"]: row for row in json.loads(file.read_text())["annotations"]}
    dataset = read_coco(file, {"keypoints": KEYPOINTS.parse}, file.parent.parent / "images" / "train")
    counted = 0
    for index in range(len(dataset)):
        regions = dataset.regions(index)
        own = [rows[a["id"]]["keypoints"] for a in dataset.annotations[index]]
        for written, row in zip(to_json(regions), own, strict=True):
            assert written == {"keypoints": row}
            counted += 1
    assert counted == len(rows) > 100


def test_saved_keypoints_are_scored(tmp_path: Path) -> None:
    content = coco_content()
    truth_file = write(tmp_path, content)
    parsers = parsers_of([BOXES, KEYPOINTS])
    dataset = read_coco(truth_file, parsers)
    result = {"image_id": 1, "category_id": 1, "score": 0.9, "keypoints": [8, 9, 1, 28, 9, 1, 18, 30, 1]}
    file = tmp_path / "results.json"
    file.write_text(json.dumps([result]))
    assert evaluate_predictions(file, dataset, [BOXES, KEYPOINTS]).numbers["keypoints/AP"] == pytest.approx(1)
    for scene in (dataset.scene(0), dataset.scene(1)):
        regions = scene.regions.with_field("scores", torch.full((len(scene.regions),), 0.9))
        replace(scene, regions=regions).save(tmp_path / Path(str(scene.file)).stem)
    scenes = tmp_path / "1" / "scenes.json"
    assert evaluate_predictions(scenes, dataset, [KEYPOINTS]).numbers["keypoints/AP"] == pytest.approx(1)
    file.write_text(json.dumps([{**result, "keypoints": [8, 9, 1]}]))
    with pytest.raises(DataError, match="1 keypoints, while a person has 3"):
        evaluate_predictions(file, dataset, [KEYPOINTS])
