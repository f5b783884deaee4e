from typing import Any

import pytest
import torch

from segue.engine.given_boxes import read_boxes
from segue.engine.recipe import check_network
from segue.engine.region_predictor import RegionPredictor
from segue.errors import DataError
from segue.models.region_network import RegionNetwork
from segue.structures import Categories, Category, Masks, Regions, Scene
from segue.tasks import BOXES, KEYPOINTS, MASKS

CLASSES = Categories(
    (Category("person", 1, keypoints=("head", "left_foot", "right_foot")), Category("dog", 2, keypoints=("nose",)))
)
TASKS = [BOXES, MASKS, KEYPOINTS]
FOUND = 7
SHARED = ("boxes", "labels", "scores")


@pytest.fixture(scope="module")
def model() -> RegionPredictor:
    values: dict[str, Any] = {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 8},
        "proposals": {"sizes": [16, 32, 48, 64, 96], "pre_nms": 32, "post_nms": 16},
        "tasks": {
            "boxes": {"channels": 16, "score": 0.0, "detections": FOUND},
            "masks": {"channels": 8, "convolutions": 1},
            "keypoints": {"channels": 8, "convolutions": 1},
        },
    }
    torch.manual_seed(1)
    network = RegionNetwork(check_network(values, TASKS, "the test"), CLASSES, TASKS)
    torch.nn.init.normal_(network.heads["masks"].logits.weight, std=0.5)  # masks of some shape
    return RegionPredictor("tiny", network, CLASSES, TASKS, resize=(96, 120))


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.randint(0, 256, (3, 70, 110), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def given(scene: Scene) -> Regions:
    return Regions(scene.regions.boxes, scene.regions.labels, scene.regions.scores)


def test_boxes_that_the_model_found_are_read_as_it_read_them(model: RegionPredictor, picture: torch.Tensor) -> None:
    found = model.scenes([(picture, "a.png")], 0.0)[0]
    again = read_boxes(model, picture, given(found), "a.png")
    assert len(found.regions) == FOUND
    assert (again.size, again.file, again.categories) == ((70, 110), "a.png", CLASSES)
    assert found.regions.fields().keys() == again.regions.fields().keys() == {*SHARED, "masks", "keypoints"}
    for name in (*SHARED, "keypoints"):
        torch.testing.assert_close(again.regions.field(name), found.regions.field(name), rtol=1e-4, atol=1e-3)
    masks = found.regions.masks, again.regions.masks
    assert all(isinstance(own, Masks) for own in masks)
    torch.testing.assert_close(*[own.area.float() for own in masks if isinstance(own, Masks)], rtol=0, atol=2)


def test_only_heads_other_than_boxes_have_a_say(model: RegionPredictor, picture: torch.Tensor) -> None:
    boxes = torch.tensor([[5.0, 6.0, 60.0, 66.0], [30.0, 2.0, 108.0, 40.0]])
    regions = Regions(boxes, torch.tensor([0, 1]))
    before = read_boxes(model, picture, regions).regions
    states = {name: weights.clone() for name, weights in model.network.state_dict().items()}
    try:
        with torch.no_grad():
            for weights in (*model.network.rpn.parameters(), *model.network.heads["boxes"].parameters()):
                weights.fill_(torch.nan)
        after = read_boxes(model, picture, regions).regions
    finally:
        model.network.load_state_dict(states)
    assert before.boxes.equal(boxes)
    assert before.scores is not None
    assert before.scores.tolist() == [1.0, 1.0]
    assert before.keypoints is not None
    assert after.keypoints is not None
    assert before.keypoints.equal(after.keypoints)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    has = torch.tensor([[True] * 3, [True, False, False]])  # a dog has but one
    assert ((before.keypoints[..., :2] >= low) & (before.keypoints[..., :2] <= high)).all(2).equal(has)


def test_their_order_and_company_change_nothing(model: RegionPredictor, picture: torch.Tensor) -> None:
    found = given(model.scenes([(picture, None)], 0.0)[0])
    order = torch.randperm(FOUND, generator=torch.Generator().manual_seed(3))
    all_points = read_boxes(model, picture, found).regions.keypoints
    some_points = read_boxes(model, picture, found.select(order[:3])).regions.keypoints
    assert all_points is not None
    torch.testing.assert_close(some_points, all_points[order[:3]], rtol=1e-4, atol=1e-3)


def test_no_boxes_are_no_regions(model: RegionPredictor, picture: torch.Tensor) -> None:
    assert len(read_boxes(model, picture, Regions.empty()).regions) == 0


def test_labels_outside_the_classes_are_refused(model: RegionPredictor, picture: torch.Tensor) -> None:
    strange = Regions(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([2]))
    with pytest.raises(DataError, match="outside the 2 categories"):
        read_boxes(model, picture, strange)
