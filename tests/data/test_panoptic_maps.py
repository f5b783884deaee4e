import json
from pathlib import Path

import numpy as np
import pytest
import torch
from label_files import (
    assert_truth,
    opened,
    photo,
    save,
    write_json,
)

from segue.errors import DataError


def panoptic_pixels(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def make_panoptic(folder: Path) -> Path:
    """One picture with two cats, sky and void."""
    photo(folder / "images/val/x.jpg", (2, 3))
    save(panoptic_pixels(np.array([[70000, 0, 3], [258, 258, 70000]])), folder / "annotations/panoptic_val/x.png")
    segments = [{"id": 70000, "category_id": 9}, {"id": 3, "category_id": 4}, {"id": 258, "category_id": 9}]
    content = {
        "images": [{"id": 31, "file_name": "x.jpg", "height": 2, "width": 3}],
        "annotations": [{"image_id": 31, "file_name": "x.png", "segments_info": segments}],
        "categories": [
            {"id": 9, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
            {"id": 4, "name": "sky", "isthing": 0},
        ],
    }
    write_json(folder / "annotations/panoptic_val.json", content)
    return folder / "annotations/panoptic_val.json"


def test_panoptic_segments_as_classes(tmp_path):
    path = make_panoptic(tmp_path)
    for reference in (path, tmp_path, f"{tmp_path}:val"):
        dataset = opened(reference)
        assert_truth(dataset, np.array([[1, -1, 0], [1, 1, 1]], dtype=np.int16))
    assert dataset.records[0].id == 31
    assert [(c.name, c.isthing) for c in dataset.categories] == [("sky", False), ("cat", True)]
    assert dataset.categories[1].color == (1, 2, 3)


def test_instances_come_first_beside_panoptic(tmp_path):
    make_panoptic(tmp_path)
    content = json.loads((tmp_path / "annotations/panoptic_val.json").read_text())
    content["annotations"] = [{"id": 1, "image_id": 31, "category_id": 9, "bbox": [0, 0, 1, 1]}]
    write_json(tmp_path / "annotations/instances_val.json", content)
    for reference in (tmp_path, f"{tmp_path}:val"):
        assert opened(reference).maps is None
    assert opened(f"{tmp_path}:panoptic_val").maps is not None


def change(content: dict, path: list, value: object) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (["images"], [], "'images' is missing, empty or no list"),
        (["categories", 0], 3, "must be a whole number"),
        (["annotations", 0, "file_name"], "../../x.png", "leads out of"),
        (["annotations", 0, "segments_info", 0], None, "'id' must be a whole number"),
        (["annotations", 0, "segments_info", 0, "id"], 2**24, "is not in 1 to"),
        (["annotations", 0, "segments_info", 0, "category_id"], 5, "no category 5"),
        (["categories", 0, "name"], "sky", "name sky occurs more than once"),
        (["images", 0, "file_name"], "gone.jpg", "the pictures are not found"),
    ],
)
def test_panoptic_files_that_make_no_sense(tmp_path, where, value, message):
    path = make_panoptic(tmp_path)
    content = json.loads(path.read_text())
    change(content, where, value)
    write_json(path, content)
    with pytest.raises(DataError, match=message):
        opened(path)


def test_a_panoptic_map_that_two_pictures_share_or_none_has(tmp_path):
    path = make_panoptic(tmp_path)
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 32})
    write_json(path, content)
    with pytest.raises(DataError, match=r"no label map of this name: x\.jpg"):
        opened(path)
    content["annotations"].append({**content["annotations"][0], "image_id": 32})
    write_json(path, content)
    with pytest.raises(DataError, match=r"two pictures share x\.png"):
        opened(path)
    content["annotations"][1]["image_id"] = 31
    write_json(path, content)
    with pytest.raises(DataError, match="annotated or listed twice"):
        opened(path)


def test_panoptic_segments_that_the_file_lacks(tmp_path):
    path = make_panoptic(tmp_path)
    dataset = opened(path)
    save(panoptic_pixels(np.array([[70000, 0, 3], [258, 5, 5]])), tmp_path / "annotations/panoptic_val/x.png")
    with pytest.raises(DataError, match=r"x\.png: no class is known for segment 5 \(2 pixels\)"):
        dataset.semantic(0)
    save(np.zeros((2, 3), np.uint8), tmp_path / "annotations/panoptic_val/x.png")
    with pytest.raises(DataError, match="one channel where panoptic RGB"):
        dataset.semantic(0)
    (tmp_path / "annotations/panoptic_val").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="the folder of its PNG files is not found"):
        opened(path)


def test_panoptic_areas_of_real_photos(real_data):
    path = real_data("coco_mini") / "annotations/panoptic_val.json"
    dataset = opened(path)
    content = json.loads(path.read_text())
    index = {category.id: i for i, category in enumerate(dataset.categories)}
    entries = {entry["image_id"]: entry for entry in content["annotations"]}
    for i in range(0, 62, 20):
        expected = torch.zeros(133, dtype=torch.int64)
        for segment in entries[dataset.records[i].id]["segments_info"]:
            expected[index[segment["category_id"]]] += segment["area"]
        labels = dataset.semantic(i)
        assert torch.equal(torch.bincount(labels[labels >= 0].long(), minlength=133), expected)
