"""The class lists of published sets are those of the sets' own files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from segue.data.check import load_json
from segue.data.coco import categories_from_coco
from segue.data.published_classes import COCO, COCO_PANOPTIC, COCO_PERSON, PIX3D, VOC
from segue.metrics.keypoints import sigmas_of
from segue.structures import Categories


def test_their_sizes_and_ends() -> None:
    assert (len(COCO), len(COCO_PANOPTIC), len(PIX3D), len(VOC.categories)) == (80, 133, 9, 21)
    assert (COCO[0].name, COCO[0].id, COCO[79].name, COCO[79].id) == ("person", 1, "toothbrush", 90)
    assert list(COCO_PANOPTIC)[:80] == list(COCO)
    assert not any(category.isthing for category in list(COCO_PANOPTIC)[80:])
    assert (COCO_PANOPTIC[132].name, COCO_PANOPTIC[132].id) == ("rug-merged", 200)
    assert {66, 68, 69, 71, 83}.isdisjoint(category.id for category in COCO)


def test_a_person_has_seventeen_points_with_sides_and_published_sigmas() -> None:
    person = COCO_PERSON[0]
    assert len(person.keypoints) == 17
    assert len(person.flip_pairs) == 8
    names = person.keypoints
    assert all(names[a].replace("left", "right") == names[b] for a, b in person.flip_pairs)
    joints = {frozenset((names[a], names[b])) for a, b in person.skeleton}
    assert {"left_knee", "left_ankle"} in joints
    assert {"left_shoulder", "right_shoulder"} in joints
    assert sigmas_of(person)[0] == 0.026
    assert sigmas_of(person)[11] == 0.107


@pytest.mark.parametrize(
    ("file", "classes"),
    [("instances_val", COCO), ("panoptic_val", COCO_PANOPTIC), ("person_keypoints_val", COCO_PERSON)],
)
def test_coco_s_files_say_the_same(file: str, classes: Categories, real_data: Callable[[str], Path]) -> None:
    path = real_data("coco_mini") / "annotations" / f"{file}.json"
    assert categories_from_coco(load_json(path)["categories"]) == classes
