from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.panoptic_write import map_picture
from segue.data.records import Dataset, LabelMaps
from segue.ops.panoptic import MergeLimits
from segue.structures import Categories, Category, Masks, Regions, Scene, Segments
from segue.tasks import PANOPTIC, PIXEL_TASKS

CLASSES = Categories(
    (
        Category("mug", 4, color=(200, 10, 10)),
        Category("lamp", 2, color=(10, 200, 10)),
        Category("grass", 9, isthing=False, color=(10, 10, 200)),
        Category("sky", 1, isthing=False, color=(90, 90, 90)),
    )
)
SIZE = (8, 10)
LIMITS = MergeLimits(score=0.5, overlap=0.5, stuff_area=10)


def predicted() -> Scene:
    """A mug, a better lamp over a third of it, an uncertain mug; grass below sky."""
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[0, 2:5, 1:4] = masks[1, 4:8, 1:4] = masks[2, 0:2, 0:2] = True
    boxes = torch.tensor([[1.0, 2, 4, 5], [1, 4, 4, 8], [0, 0, 2, 2]])
    regions = Regions(boxes, torch.tensor([0, 1, 0]), torch.tensor([0.75, 0.875, 0.25]), masks=Masks.from_dense(masks))
    semantic = torch.full(SIZE, 3, dtype=torch.int16)
    semantic[5:] = 2
    confidence = torch.full(SIZE, 0.5)
    confidence[5:] = 0.75
    return Scene(SIZE, CLASSES, regions, semantic=semantic, confidence=confidence, file="a.jpg")


def merged() -> Scene:
    assert PANOPTIC.derive is not None
    return PANOPTIC.derive(predicted(), LIMITS)


def test_instances_and_classes_become_one_map() -> None:
    scene = merged()
    expected = torch.full(SIZE, 4, dtype=torch.int32)
    expected[5:] = 3
    expected[2:4, 1:4] = 2
    expected[4:8, 1:4] = 1
    assert scene.panoptic is not None
    assert scene.segments is not None
    assert torch.equal(scene.panoptic, expected)
    assert scene.segments.ids.tolist() == [1, 2, 3, 4]
    assert scene.segments.labels.tolist() == [1, 0, 2, 3]
    assert scene.segments.scores is not None
    assert scene.segments.scores.tolist() == [0.875, 0.75, 0.75, 0.5]


def test_nothing_else_of_the_scene_changes() -> None:
    before, after = predicted(), merged()
    assert torch.equal(after.regions.boxes, before.regions.boxes)
    assert after.semantic is not None
    assert before.semantic is not None
    assert torch.equal(after.semantic, before.semantic)
    assert after.file == "a.jpg"
    assert PANOPTIC.carried(after)
    assert not PANOPTIC.carried(before)


def test_pixels_of_any_thing_get_the_class_of_their_instance() -> None:
    before = predicted()
    assert before.semantic is not None
    before.semantic[2:8, 0:5] = -1
    assert PANOPTIC.derive is not None
    after = PANOPTIC.derive(before, LIMITS)
    expected = before.semantic.clone()
    expected[2:4, 1:4], expected[4:8, 1:4] = 0, 1
    assert after.semantic is not None
    assert after.semantic.dtype == torch.int16
    assert torch.equal(after.semantic, expected)  # beside the instances nobody knows


def test_the_limits_are_the_recipe_s() -> None:
    assert PANOPTIC.settings() == MergeLimits()
    assert PANOPTIC.derive is not None
    strict = PANOPTIC.derive(predicted(), replace(LIMITS, score=0.8, stuff_area=30))
    assert strict.segments is not None
    assert strict.segments.labels.tolist() == [1, 3]  # grass has 21 pixels, sky 47
    loose = PANOPTIC.derive(predicted(), replace(LIMITS, score=0.2, overlap=0.2))
    assert loose.segments is not None
    assert loose.segments.labels.tolist() == [1, 0, 2, 3]  # a third of the mug is hidden, so it is the other one
    assert loose.segments.scores is not None
    assert loose.segments.scores.tolist()[1] == 0.25


def test_it_needs_what_it_is_made_of() -> None:
    names = {task.name for task in PIXEL_TASKS}
    assert set(PANOPTIC.needs) == {"masks", "semantic"}
    assert "semantic" in names
    assert PANOPTIC.head is None  # nothing to learn


def test_the_entry_says_what_the_map_holds() -> None:
    scene = merged()
    assert PANOPTIC.entry(["a.panoptic.png"], scene) == {
        "panoptic": {
            "file": "a.panoptic.png",
            "segments_info": [
                {"id": 1, "label": "lamp", "isthing": True, "area": 12, "score": 0.875},
                {"id": 2, "label": "mug", "isthing": True, "area": 6, "score": 0.75},
                {"id": 3, "label": "grass", "isthing": False, "area": 21, "score": 0.75},
                {"id": 4, "label": "sky", "isthing": False, "area": 41, "score": 0.5},
            ],
        }
    }
    assert scene.segments is not None
    rows = PANOPTIC.entry(["x"], replace(scene, segments=replace(scene.segments, scores=None)))["panoptic"]
    assert all("score" not in row for row in rows["segments_info"])


def test_the_file_is_the_map_in_coco_s_colours() -> None:
    scene = merged()
    assert PANOPTIC.files(predicted()) == {}
    ((ending, picture),) = PANOPTIC.files(scene).items()
    assert ending == "panoptic.png"
    assert scene.panoptic is not None
    assert np.array_equal(np.asarray(picture), np.asarray(map_picture(scene.panoptic)))
    assert np.array_equal(np.asarray(picture)[..., 0], scene.panoptic.numpy())


def test_drawing_shows_segments_and_leaves_other_scenes_alone() -> None:
    plain = Image.new("RGB", SIZE[::-1], (128, 128, 128))
    assert PANOPTIC.draw(plain, predicted()) is plain
    drawn = np.asarray(PANOPTIC.draw(plain, merged()))
    assert drawn.shape == (*SIZE, 3)
    assert drawn[7, 2].argmax() == 1  # the lamp is green
    assert drawn[7, 8].argmax() == 2  # the grass is blue


def test_only_pictures_with_a_map_are_scored() -> None:
    (make,) = PANOPTIC.metrics
    metric = make(CLASSES)
    scene = merged()
    metric.update(scene, predicted())  # the truth has no map
    assert metric.compute() == {}
    metric.update(scene, scene)
    numbers = metric.compute()
    assert numbers["panoptic/PQ"] == numbers["panoptic/PQ_things"] == numbers["panoptic/PQ_stuff"] == 1
    assert PANOPTIC.report(metric) == {}


@pytest.mark.parametrize(
    ("files", "reader", "told"), [(["a"], True, True), ([None], True, False), (["a"], False, False)]
)
def test_a_set_is_annotated_where_some_picture_has_a_map(files: list[str | None], reader: bool, told: bool) -> None:
    def read(picture: int, size: tuple[int, int]) -> tuple[torch.Tensor, Segments]:
        raise AssertionError("only asked whether there are maps")

    maps = LabelMaps(files, read)  # type: ignore[arg-type]
    dataset = Dataset("x", CLASSES, [], [], {}, maps, read if reader else None)
    assert PANOPTIC.annotated(dataset) is told
    assert not PANOPTIC.annotated(replace(dataset, maps=None))
