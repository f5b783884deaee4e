from typing import Any

import pytest
import torch

from segue.data.geometry import Geometry
from segue.engine.given_boxes import read_boxes
from segue.engine.keypoint_views import mirrored_maps, read_keypoints, seen_back, views
from segue.engine.recipe import check_network
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.models.region_network import RegionNetwork
from segue.structures import Categories, Category, Regions
from segue.tasks import BOXES, KEYPOINTS, MASKS, RegionTask
from segue.tasks.keypoints import map_table

CLASSES = Categories(
    (
        Category("person", 1, keypoints=("head", "left_foot", "right_foot"), flip_pairs=((1, 2),)),
        Category("mug", 2),
        Category("car", 3, keypoints=("left", "right"), flip_pairs=((0, 1),)),
    )
)
SIZE = (70, 110)
BOXES_GIVEN = torch.tensor([[5.0, 6.0, 61.0, 66.0], [30.0, 2.0, 108.0, 40.0], [50.0, 20.0, 90.0, 60.0]])
GIVEN = Regions(BOXES_GIVEN, torch.tensor([0, 2, 0]))


def tiny(tasks: list[RegionTask]) -> RegionPredictor:
    settings: dict[str, Any] = {
        "boxes": {"channels": 8},
        "keypoints": {"channels": 8, "convolutions": 2},
        "masks": {"channels": 8, "convolutions": 1},
    }
    values = {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 8},
        "tasks": {task.name: settings[task.name] for task in tasks},
    }
    torch.manual_seed(1)
    network = RegionNetwork(check_network(values, tasks, "the test"), CLASSES, tasks)
    return RegionPredictor("tiny", network, CLASSES, tasks, resize=(96, 128))


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("number", range(8))
def test_a_turned_picture_has_turned_keypoints(picture: torch.Tensor, number: int) -> None:
    model = tiny([BOXES, KEYPOINTS])
    turn = views(SIZE, None)[number]
    plain = read_keypoints(model, picture, GIVEN).regions.keypoints
    turned = read_keypoints(
        model, turn.image(picture), Regions(turn.boxes(BOXES_GIVEN), GIVEN.labels)
    ).regions.keypoints
    assert plain is not None
    assert turned is not None
    expected = torch.cat([turn.points(plain[..., :2]), plain[..., 2:]], dim=2) * plain.any(2, keepdim=True)
    if turn.mirrored:
        expected = torch.stack([expected[0, [0, 2, 1]], expected[1, [1, 0, 2]], expected[2, [0, 2, 1]]])
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-3)
    single = read_boxes(model, picture, GIVEN).regions.keypoints
    assert single is not None
    assert not torch.allclose(single[..., :2], plain[..., :2], atol=1)  # one view says something else


def test_the_eight_views_differ_and_the_first_is_plain(picture: torch.Tensor) -> None:
    shown = [geometry.image(picture) for geometry in views(SIZE, None)]
    assert shown[0].equal(picture)
    assert sum(a.shape == b.shape and a.equal(b) for a in shown for b in shown) == 8
    assert {geometry.size for geometry in views(SIZE, (35, 55))} == {(35, 55), (55, 35)}


@pytest.mark.parametrize("geometry", views(SIZE, (96, 128)))
def test_maps_come_back_to_where_the_point_is(geometry: Geometry) -> None:
    box, cells = torch.tensor([[20.0, 10.0, 60.0, 50.0]]), 8  # a cell is five pixels
    row, column = 1, 6
    point = torch.tensor([[20 + 5 * column + 2.5, 10 + 5 * row + 2.5]])
    low, high = geometry.boxes(box)[0].view(2, 2)
    x, y = ((geometry.points(point)[0] - low) * cells / (high - low)).long().tolist()
    maps = torch.zeros(1, 5, cells, cells)
    maps[0, :, y, x] = torch.arange(1.0, 6.0)
    back = seen_back(maps, geometry, mirrored_maps(map_table([3, 0, 2]), CLASSES))
    assert back[0, :, row, column].tolist() == ([1, 3, 2, 5, 4] if geometry.mirrored else [1, 2, 3, 4, 5])
    assert int(back.count_nonzero()) == 5


def test_a_model_without_keypoints_is_refused(picture: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="finds no keypoints"):
        read_keypoints(tiny([BOXES, MASKS]), picture, GIVEN)


def test_no_boxes_are_no_people(picture: torch.Tensor) -> None:
    assert len(read_keypoints(tiny([BOXES, KEYPOINTS]), picture, Regions.empty()).regions) == 0
