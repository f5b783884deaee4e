from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segue.data.geometry import Geometry
from segue.errors import DataError, RecipeError
from segue.models.batch import Batch
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings, RegionSettings
from segue.nn.conventions import DETECTRON2, SEGUE, TORCHVISION, Conventions
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Category, Regions
from segue.tasks import BOXES
from segue.tasks.keypoints import (
    KEYPOINTS,
    KeypointHead,
    KeypointSettings,
    map_table,
    mirror,
    parse,
    to_json,
    transform,
)
from segue.tasks.task import Sampled

PERSON = Category(
    "person", 1, keypoints=("nose", "left_hand", "right_hand"), skeleton=((0, 1), (0, 2)), flip_pairs=((1, 2),)
)
CAR = Category("car", 3, keypoints=("front_left", "front_right"), flip_pairs=((0, 1),))
MIXED = Categories((PERSON, Category("mug", 2), CAR))
BOX = [10.0, 20.0, 66.0, 76.0]  # 56 pixels a side: a pixel is a cell


def head_of(conventions: Conventions = SEGUE, categories: Categories = MIXED) -> KeypointHead:
    torch.manual_seed(0)
    return KeypointHead(4, categories, conventions, KeypointSettings(channels=8, convolutions=1))


def sampled(labels: list[int], positive: list[bool] | None = None) -> Sampled:
    count = len(labels)
    flags = torch.tensor(positive or [True] * count)
    boxes = torch.tensor(BOX).repeat(count, 1)
    return Sampled(boxes, torch.tensor(labels), torch.arange(count), flags, torch.ones_like(flags))


def truth(labels: list[int], points: list[list[tuple[float, float, float]]]) -> Regions:
    rows = torch.tensor([own + [(0.0, 0.0, 0.0)] * (3 - len(own)) for own in points])
    return Regions(torch.tensor(BOX).repeat(len(labels), 1), torch.tensor(labels), keypoints=rows)


def test_every_category_has_maps_of_its_own() -> None:
    assert map_table([3, 0, 2]).tolist() == [[0, 1, 2], [-1, -1, -1], [3, 4, -1]]
    head = head_of()
    assert head(torch.randn(3, 4, 14, 14)).shape == (3, 5, 56, 56)
    assert head.logits.out_channels == 5
    assert "maps" not in head.state_dict()


def test_defaults_are_the_published_head() -> None:
    person = Categories((replace(PERSON, keypoints=tuple(f"p{i}" for i in range(17))),))
    head = KeypointHead(256, person, DETECTRON2, KeypointSettings())
    shapes = [tuple(p.shape) for name, p in head.named_parameters() if name.endswith("weight")]
    assert shapes == [(512, 256, 3, 3), *[(512, 512, 3, 3)] * 7, (512, 17, 4, 4)]


def test_categories_without_any_keypoint_are_refused() -> None:
    with pytest.raises(RecipeError, match="no category has keypoints"):
        head_of(categories=Categories.from_names(["mug"]))


def test_loss_of_no_knowledge_is_the_logarithm_of_the_cells() -> None:
    points = truth([0, 2], [[(30, 30, 2), (40, 50, 1)], [(20, 70, 2)]])
    loss = head_of().losses(torch.zeros(2, 5, 56, 56), sampled([0, 2]), points)["keypoints"]
    assert float(loss) == pytest.approx(np.log(56 * 56))


def test_loss_sees_each_categorys_own_maps_in_the_right_cells() -> None:
    points = truth([0, 1, 2], [[(30.5, 40.5, 2), (12.5, 22.5, 1)], [], [(20.5, 70.5, 2)]])
    raw = torch.randn(3, 5, 56, 56) * 20  # nonsense everywhere but in the cells below
    for region, index, x, y in ((0, 0, 30, 40), (0, 1, 12, 22), (2, 3, 20, 70)):
        raw[region, index] = 0
        raw[region, index, y - 20, x - 10] = 30
    regions = sampled([0, 1, 2])
    assert float(head_of().losses(raw, regions, points)["keypoints"]) < 1e-6
    raw[2, 3] = raw[2, 3].roll(1, 0)
    assert float(head_of().losses(raw, regions, points)["keypoints"]) == pytest.approx(30 / 3, rel=1e-3)


def test_loss_is_the_mean_over_the_labelled_keypoints_of_the_batch() -> None:
    head, raw = head_of(), torch.randn(2, 5, 56, 56)
    first, second = [(30.0, 30, 2), (40.0, 40, 2), (50.0, 50, 2)], [(30.0, 60, 2)]
    both = float(head.losses(raw, sampled([0, 2]), truth([0, 2], [first, second]))["keypoints"])
    one = float(head.losses(raw, sampled([0, 2], [True, False]), truth([0, 2], [first, second]))["keypoints"])
    other = float(head.losses(raw, sampled([0, 2], [False, True]), truth([0, 2], [first, second]))["keypoints"])
    assert both == pytest.approx((3 * one + other) / 4, rel=1e-5)
    equal = KeypointHead(64, MIXED, SEGUE, KeypointSettings(channels=8, equal_objects=True))
    balanced = float(equal.losses(raw, sampled([0, 2]), truth([0, 2], [first, second]))["keypoints"])
    assert balanced == pytest.approx((one + other) / 2, rel=1e-5)


@pytest.mark.parametrize(
    "points",
    [None, truth([0], [[]]), truth([1], [[]]), truth([0], [[(5, 5, 2)]]), Regions.empty()],
    ids=["no field", "no visible joint", "no skeleton", "outside the region", "no object"],
)
def test_loss_without_any_target_is_zero_and_differentiable(points: Regions | None) -> None:
    points = points or replace(truth([0], [[]]), keypoints=None)
    head = head_of()
    labels = points.labels.tolist() or [0]
    loss = head.losses(head(torch.randn(1, 4, 14, 14)), sampled(labels, [len(points) > 0]), points)["keypoints"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and bool((p.grad == 0).all()) for p in head.parameters())


def test_gradient_of_the_loss() -> None:
    head = head_of().double()
    points = truth([0, 2], [[(30, 30, 2), (40, 50, 1)], [(20, 70, 2)]])
    raw = torch.randn(2, 5, 56, 56, dtype=torch.float64, requires_grad=True)
    loss = head.losses(raw, sampled([0, 2]), points)["keypoints"]
    (gradient,) = torch.autograd.grad(loss, raw)
    wanted = torch.zeros_like(raw)
    for region, index, x, y in ((0, 0, 30, 30), (0, 1, 40, 50), (1, 3, 20, 70)):
        wanted[region, index] = raw[region, index].detach().flatten().softmax(0).view(56, 56)
        wanted[region, index, y - 20, x - 10] -= 1
    torch.testing.assert_close(gradient, wanted / 3)


@pytest.mark.parametrize("conventions", [SEGUE, DETECTRON2, TORCHVISION])
def test_decoding_undoes_the_target_for_each_category(conventions: Conventions) -> None:
    head = head_of(conventions)
    wanted = truth([0, 1, 2], [[(30.5, 40.5, 2), (12.5, 22.5, 2), (60.5, 70.5, 2)], [], [(20.5, 70.5, 2), (11, 75, 2)]])
    raw = torch.zeros(3, 5, 56, 56, requires_grad=True)
    for _ in range(3):  # a few steps down the loss raise the right cells
        loss = head.losses(raw, sampled([0, 1, 2]), wanted)["keypoints"]
        raw = (raw - 100 * torch.autograd.grad(loss, raw)[0]).detach().requires_grad_()
    found = head.decode(raw.detach(), replace(wanted, scores=torch.ones(3)), (100, 100))
    assert isinstance(found, torch.Tensor)
    assert wanted.keypoints is not None
    there = wanted.keypoints[..., 2] > 0
    assert float((found - wanted.keypoints)[there][:, :2].abs().max()) <= 0.5 + 1e-4
    assert bool((found[~there] == 0).all())


def test_scores_of_the_two_dialects() -> None:
    raw = torch.randn(1, 5, 56, 56)
    region = Regions(torch.tensor([BOX]), torch.tensor([2]), torch.ones(1))  # the map is not enlarged
    logits = head_of(TORCHVISION).decode(raw, region, (100, 100))
    shares = head_of(DETECTRON2).decode(raw, region, (100, 100))
    assert isinstance(logits, torch.Tensor)
    assert isinstance(shares, torch.Tensor)
    torch.testing.assert_close(logits[0, :2, 2], raw[0, 3:].amax((1, 2)))
    torch.testing.assert_close(shares[0, :2, 2], raw[0, 3:].flatten(1).softmax(1).amax(1))
    torch.testing.assert_close(logits[0, :2, :2], shares[0, :2, :2] + 0.5)  # torchvision counts pixels by their index


def test_decoding_no_detection() -> None:
    found = head_of().decode(torch.zeros(0, 5, 56, 56), Regions.empty(), (10, 10))
    assert isinstance(found, torch.Tensor)
    assert found.shape == (0, 3, 3)


def test_annotations_are_read_to_pixel_centres_and_padded() -> None:
    rows: list[dict[str, Any]] = [{"keypoints": [3, 4, 2, 0, 0, 0]}, {}, {"keypoints": [0, 0, 1, 7, 8, 0, 1, 2, 2]}]
    points = parse(rows, (20, 20))
    assert points is not None
    assert points.tolist() == [
        [[3.5, 4.5, 2], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0]] * 3,
        [[0.5, 0.5, 1], [0, 0, 0], [1.5, 2.5, 2]],
    ]
    assert parse([{"bbox": [0, 0, 1, 1]}], (4, 4)) is None
    empty = parse([], (4, 4))
    assert empty is not None
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("values", "fault"),
    [([1, 2], "triples"), ("abc", "triples"), ([1, 2, 3], "visibility 3"), ([1, float("nan"), 2], "finite")],
)
def test_broken_annotations_are_refused(values: Any, fault: str) -> None:
    with pytest.raises(DataError, match=rf"annotation 7.*{fault}"):
        parse([{"id": 7, "keypoints": values}], (9, 9))


def test_json_round_trip() -> None:
    points = torch.tensor([[[3.5, 4.25, 0.75], [10.5, 0.5, 0.01]], [[7.5, 8.5, 0.5], [0, 0, 0]], [[0, 0, 0]] * 2])
    regions = Regions(torch.rand(3, 4), torch.tensor([0, 2, 1]), torch.ones(3), keypoints=points)
    rows = to_json(regions)
    assert rows == [{"keypoints": [3, 3.75, 0.75, 10, 0, 0.01]}, {"keypoints": [7, 8, 0.5]}, {}]
    again = parse([{**row, "score": 1.0} for row in rows], (20, 20))
    assert again is not None
    torch.testing.assert_close(again, points)
    annotated = replace(regions, scores=None, keypoints=points.ceil() * torch.tensor([1, 1, 2]))
    again = parse(to_json(annotated), (20, 20))
    assert again is not None
    torch.testing.assert_close(again, annotated.keypoints)


def test_points_follow_the_picture_and_vanish_outside_of_it() -> None:
    points = torch.tensor([[[10.0, 20, 2], [50, 5, 1], [0, 0, 0]]])
    window = Geometry((40, 60), False, True, False, (80, 120), (10, 0, 110, 80))  # mirrored, twice as large, cut
    moved = transform(points, window)
    assert isinstance(moved, torch.Tensor)
    assert moved.tolist() == [[[90, 40, 2], [10, 10, 1], [0, 0, 0]]]
    moved = transform(points, replace(window, window=(21, 0, 111, 80)))
    assert isinstance(moved, torch.Tensor)
    assert moved[0, 1].tolist() == [0, 0, 0]


def test_a_mirror_exchanges_each_categorys_own_pairs() -> None:
    points = torch.arange(27.0).view(3, 3, 3)
    regions = Regions(torch.rand(3, 4), torch.tensor([2, 0, 1]), keypoints=points)
    once = mirror(regions, MIXED)
    assert isinstance(once, torch.Tensor)
    assert torch.equal(once, torch.stack([points[0, [1, 0, 2]], points[1, [0, 2, 1]], points[2]]))
    assert torch.equal(mirror(replace(regions, keypoints=once), MIXED), points)  # type: ignore[arg-type]


SMALL = NetworkSettings(
    backbone=BackboneSettings(depth=18, width=8),
    pyramid=PyramidSettings(channels=16),
    proposals=ProposalSettings(sizes=(16, 32, 64, 128, 256), pre_nms=50, post_nms=30, pre_nms_train=50),
    regions=RegionSettings(samples=16),
    tasks={"boxes": {"channels": 32}, "keypoints": {"channels": 16, "convolutions": 2}},
)


def two_pictures() -> Batch:
    """Bright discs on dark ground: a red nose, a green left and a blue right hand; and a car's two white lights."""
    images = torch.full((2, 3, 64, 64), -1.0)
    people = [[(32.0, 14.0, 2.0), (14.0, 44.0, 2.0), (50.0, 46.0, 2.0)], [(20.0, 40.0, 2.0), (44.0, 30.0, 2.0)]]
    grid = torch.arange(64) + 0.5
    for image, points in zip(images, people, strict=True):
        for channel, (x, y, _) in enumerate(points):
            image[channel, (grid[None] - x) ** 2 + (grid[:, None] - y) ** 2 < 25] = 2.0
    rows = [points + [(0.0, 0.0, 0.0)] * (3 - len(points)) for points in people]
    boxes = torch.tensor([[8.0, 8, 56, 52], [14, 24, 50, 46]])
    regions = Regions(boxes, torch.tensor([0, 2]), keypoints=torch.tensor(rows))
    return Batch(images, torch.tensor([[64, 64]] * 2), regions, torch.tensor([0, 1]), ["a.png", "b.png"])


def test_a_tiny_network_learns_two_pictures_by_heart() -> None:
    torch.manual_seed(0)
    network, batch = RegionNetwork(SMALL, MIXED, [BOXES, KEYPOINTS]), two_pictures()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, 80)
    for _ in range(80):
        losses = network(batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        levels, found = network.find(batch.images, batch.sizes)
        raw = network.read(levels, found.boxes[:, 0], torch.arange(2), ["keypoints"])["keypoints"]
    assert found.labels[:, 0].tolist() == [0, 2]
    regions = Regions(found.boxes[:, 0], found.labels[:, 0], found.scores[:, 0])
    points = network.heads["keypoints"].decode(raw, regions, (64, 64))  # type: ignore[operator]
    assert batch.truth.keypoints is not None
    there = batch.truth.keypoints[..., 2] > 0
    error = (points - batch.truth.keypoints)[there][:, :2].norm(dim=1)
    assert float(error.max()) < 2
    assert bool((points[~there] == 0).all())
