"""Instances, keypoints and panoptic maps of the same pictures, from three files, as one data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from label_files import photo, save

from segue.data.dataset import open_dataset
from segue.data.joined import beside
from segue.data.records import Dataset
from segue.errors import DataError
from segue.tasks import BOXES, KEYPOINTS, PANOPTIC, SEMANTIC

SIZE = (4, 6)
PARSERS = {"boxes": BOXES.parse, "keypoints": KEYPOINTS.parse}
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 7, "name": "dog"}]
STUFF = [{"id": 3, "name": "sky", "isthing": 0}, {"id": 9, "name": "grass", "isthing": 0}]
POINTS = {"keypoints": ["left_eye", "right_eye"], "skeleton": [[1, 2]], "sigmas": [0.1, 0.2]}
PLANE = np.array([[3, 3, 3, 3, 3, 3], [3, 5, 5, 3, 3, 0], [3, 5, 5, 8, 8, 0], [9, 9, 9, 8, 8, 0]])


def annotation(number: int, picture: int, category: int, **more: object) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "category_id": category, "bbox": [1, 1, 2, 2], "area": 4, **more}


def contents() -> dict[str, dict[str, Any]]:
    """Three pictures: a person and a dog with a map, a person without one, and nothing."""
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (11, 12, 13)]
    person = {**CATEGORIES[0], **POINTS}
    segments = [{"id": i, "category_id": c} for i, c in ((3, 3), (5, 1), (8, 7), (9, 9))]
    return {
        "instances": {
            "images": images,
            "categories": CATEGORIES,
            "annotations": [annotation(1, 11, 7), annotation(2, 11, 1), annotation(3, 12, 1)],
        },
        "person_keypoints": {
            "images": images,
            "categories": [person],
            "annotations": [annotation(2, 11, 1, keypoints=[1, 2, 2, 3, 2, 1])],
        },
        "panoptic": {
            "images": images,
            "categories": [STUFF[0], CATEGORIES[1], STUFF[1], CATEGORIES[0]],
            "annotations": [{"image_id": 11, "file_name": "11.png", "segments_info": segments}],
        },
    }


def write(folder: Path, files: dict[str, dict[str, Any]]) -> Path:
    for number in (11, 12, 13):
        photo(folder / f"{number}.png", SIZE)
    save(np.stack([PLANE, PLANE * 0, PLANE * 0], axis=-1).astype(np.uint8), folder / "panoptic_val/11.png")
    for kind, content in files.items():
        (folder / f"{kind}_val.json").write_text(json.dumps(content))
    return folder / "instances_val.json"


def opened(folder: Path, files: dict[str, dict[str, Any]] | None = None, **options: Any) -> Dataset:
    return open_dataset(str(write(folder, contents() if files is None else files)), PARSERS, **options)


def test_which_file_lies_beside(tmp_path: Path) -> None:
    path = write(tmp_path, contents())
    assert beside(path, "panoptic") == tmp_path / "panoptic_val.json"
    assert beside(path, "captions") is None
    assert beside(tmp_path / "instances_train.json", "panoptic") is None
    assert beside(tmp_path / "panoptic_val.json", "person_keypoints") is None
    (tmp_path / "set.json").write_text("[]")
    assert beside(tmp_path / "set.json", "panoptic") is None


def test_keypoints_come_to_the_annotation_of_the_same_id(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    person, dog = dataset.categories
    assert person.keypoints == ("left_eye", "right_eye")
    assert (person.skeleton, person.flip_pairs, person.sigmas) == (((0, 1),), ((0, 1),), (0.1, 0.2))
    assert (dog.name, dog.keypoints) == ("dog", ())
    points = [dataset.regions(i).keypoints for i in range(3)]
    assert points[0] is not None
    assert points[1] is not None
    assert points[0].tolist() == [[[0, 0, 0]] * 2, [[1.5, 2.5, 2], [3.5, 2.5, 1]]]  # the dog first
    assert points[1].tolist() == [[[0, 0, 0]] * 2]  # a person of whom the other file does not speak
    assert dataset.regions(0).labels.tolist() == [1, 0]


def test_keypoints_of_the_instances_themselves_stay(tmp_path: Path) -> None:
    files = contents()
    files["instances"]["categories"] = [{**CATEGORIES[0], "keypoints": ["nose"]}, CATEGORIES[1]]
    files["instances"]["annotations"][1]["keypoints"] = [4, 3, 2]
    dataset = opened(tmp_path, files)
    assert dataset.categories[0].keypoints == ("nose",)
    points = dataset.regions(0).keypoints
    assert points is not None
    assert points[1].tolist() == [[4.5, 3.5, 2]]


def test_keypoints_are_not_read_where_nobody_wants_them(tmp_path: Path) -> None:
    path = write(tmp_path, contents())
    (tmp_path / "person_keypoints_val.json").write_text("broken")
    dataset = open_dataset(str(path), {"boxes": BOXES.parse})
    assert dataset.categories[0].keypoints == ()
    with pytest.raises(DataError, match=r"person_keypoints_val\.json: not JSON"):
        open_dataset(str(path), PARSERS)


def test_things_come_first_and_keep_what_they_know(tmp_path: Path) -> None:
    dataset = opened(tmp_path, panoptic=True)
    assert [(c.name, c.id, c.isthing) for c in dataset.categories] == [
        ("person", 1, True), ("dog", 7, True), ("sky", 3, False), ("grass", 9, False)
    ]  # fmt: skip
    assert dataset.categories[0].keypoints == ("left_eye", "right_eye")
    assert dataset.categories[0].sigmas == (0.1, 0.2)
    assert dataset.regions(0).labels.tolist() == [1, 0]
    points = dataset.regions(0).keypoints
    assert points is not None
    assert points[1].tolist() == [[1.5, 2.5, 2], [3.5, 2.5, 1]]


def test_maps_are_those_of_the_picture_in_the_joined_classes(tmp_path: Path) -> None:
    dataset = opened(tmp_path, panoptic=True)
    scene = dataset.scene(0)
    assert scene.panoptic is not None
    assert scene.segments is not None
    assert scene.semantic is not None
    assert torch.equal(scene.panoptic, torch.from_numpy(PLANE).int())
    assert dict(zip(scene.segments.ids.tolist(), scene.segments.labels.tolist(), strict=True)) == {
        3: 2,
        5: 0,
        8: 1,
        9: 3,
    }
    table = {0: -1, 3: 2, 5: 0, 8: 1, 9: 3}
    assert scene.semantic.tolist() == [[table[number] for number in row] for row in PLANE.tolist()]


def test_pictures_without_a_map_have_none(tmp_path: Path) -> None:
    dataset = opened(tmp_path, panoptic=True)
    for index, regions in ((1, 1), (2, 0)):
        scene = dataset.scene(index)
        assert scene.panoptic is scene.segments is scene.semantic is None
        assert len(scene.regions) == regions
    assert PANOPTIC.annotated(dataset)
    assert SEMANTIC.annotated(dataset)


def test_the_maps_wait_until_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, contents())
    (tmp_path / "panoptic_val.json").write_text("broken")
    assert open_dataset(str(path), PARSERS).panoptic is None
    with pytest.raises(DataError, match=r"panoptic_val\.json: not JSON"):
        open_dataset(str(path), PARSERS, panoptic=True)
    (tmp_path / "panoptic_val.json").unlink()
    alone = open_dataset(str(path), PARSERS, panoptic=True)
    assert alone.maps is None
    assert alone.categories.names == ["person", "dog"]
    assert not PANOPTIC.annotated(alone)


FOREIGN = {
    "a person of another id": ("person_keypoints", 0, {"id": 2}, "'person' with id 2"),
    "a kind of person that no instance is": ("person_keypoints", 0, {"name": "child"}, "'child' with id 1"),
    "a dog of another id": ("panoptic", 1, {"id": 8}, "'dog' with id 7"),
    "no dog": ("panoptic", 1, {"name": "cat"}, "'dog' with id 7"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_classes_are_refused(tmp_path: Path, kind: str) -> None:
    name, place, change, words = FOREIGN[kind]
    files = json.loads(json.dumps(contents()))  # which share no category
    category = files[name]["categories"][place]
    before = category["id"]
    category |= change
    for row in files[name]["annotations"]:
        for entry in row.get("segments_info", [row]):
            entry["category_id"] = category["id"] if entry["category_id"] == before else entry["category_id"]
    with pytest.raises(DataError, match=f"category {words} is not in the other file about these pictures; give both"):
        opened(tmp_path, files, panoptic=True)


def test_extra_thing_classes_of_the_panoptic_file_are_kept(tmp_path: Path) -> None:
    files = contents()
    files["panoptic"]["categories"].append({"id": 2, "name": "cat", "isthing": 1})
    dataset = opened(tmp_path, files, panoptic=True)
    assert dataset.categories.names == ["person", "cat", "dog", "sky", "grass"]
    assert dataset.regions(0).labels.tolist() == [2, 0]


def test_real_photos_carry_everything(real_data: Any) -> None:
    dataset = open_dataset(f"{real_data('coco_mini')}:val", PARSERS, panoptic=True)
    things = [category.isthing for category in dataset.categories]
    assert sum(things) == 80
    assert things == sorted(things, reverse=True)
    assert len(things) == 133
    assert [c.name for c in dataset.categories if c.keypoints] == ["person"]
    scene = dataset.scene(0)
    assert scene.segments is not None
    of_map = {label for label in scene.segments.labels.tolist() if things[label]}
    assert of_map <= set(scene.regions.labels.tolist())
