"""One region's way through the network, against known answers and against what the network itself makes of it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segue.engine.explain import explain, sample_points
from segue.engine.load import load
from segue.errors import UsageError
from segue.ops import paste_masks, roi_align

THRESHOLD = 0.2


def corners(*lines: float) -> list[list[float]]:
    return [[x, y] for y in lines for x in lines]


@pytest.mark.parametrize(("sampling", "lines"), [(1, (4, 12)), (2, (2, 6, 10, 14)), (0, (2, 6, 10, 14))])
def test_samples_of_a_simple_box(sampling: int, lines: tuple[float, ...]) -> None:
    points = sample_points(torch.tensor([0.0, 0, 16, 16]), 4, 2, sampling, aligned=True)
    assert points.tolist() == corners(*lines)


def test_unaligned_samples_lie_half_a_feature_further_on() -> None:
    box = torch.tensor([8.0, 4, 40, 24])
    aligned, other = (sample_points(box, 8, 7, 2, aligned) for aligned in (True, False))
    torch.testing.assert_close(other, aligned + 4)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [2, 0])
def test_a_map_of_places_pools_to_the_means_of_the_samples(aligned: bool, sampling: int) -> None:
    stride, side = 4, 3
    place = (torch.arange(32.0) + 0.5) * stride
    features = torch.stack([place.expand(32, 32), place[:, None].expand(32, 32)])[None]  # x and y of each feature
    box = torch.tensor([21.0, 30, 75, 61])
    pooled = roi_align(features, box[None], torch.zeros(1).long(), side, 1 / stride, sampling, aligned)[0]
    points = sample_points(box, stride, side, sampling, aligned)
    columns = len(set(points[:, 0].tolist()))
    grid = points.view(-1, columns, 2)
    means = torch.stack([torch.stack([c.mean((0, 1)) for c in r.chunk(side, 1)], 1) for r in grid.chunk(side, 0)], 1)
    torch.testing.assert_close(pooled, means, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.randint(0, 256, (3, 150, 200), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)


def test_the_regions_own_detection_comes_out_again(model_file: Path, picture: Tensor) -> None:
    predictor = load(model_file, "cpu")
    scene = predictor.predict(picture, threshold=THRESHOLD)
    assert len(scene.regions) > 3
    for number in range(len(scene.regions)):
        e = explain(predictor, picture, number, THRESHOLD)
        box, label = scene.regions.boxes[number], int(scene.regions.labels[number])
        assert torch.equal(e.scene.regions.boxes, scene.regions.boxes)
        assert e.category.name == "nucleus"
        assert e.class_names == ["nucleus", "background"]
        assert float(e.classes.sum()) == pytest.approx(1)
        assert float(e.classes[label]) == pytest.approx(float(scene.regions.scores[number]), abs=1e-5)
        assert e.mask is not None
        pasted = paste_masks(e.mask[None], box[None], scene.size, predictor.network.conventions.paste_at_centres)
        differ = pasted.dense()[0] != scene.regions.masks.dense()[number]
        assert int(differ.sum()) <= 2  # but for rounding at one half
        assert e.keypoints is None
        proposal, found = e.readings[0], e.readings[1]
        assert [r.task for r in e.readings] == ["boxes", "masks"]
        torch.testing.assert_close(proposal.box, e.proposals[e.proposal])
        torch.testing.assert_close(found.box, box)
        assert [tuple(r.features.shape[1:]) for r in e.readings] == [(7, 7), (14, 14)]


def test_samples_lie_in_their_box_and_the_level_follows_from_its_size(model_file: Path, picture: Tensor) -> None:
    e = explain(load(model_file, "cpu"), picture, 0, THRESHOLD)
    for reading in e.readings:
        x0, y0, x1, y1 = reading.box.tolist()
        level = math.floor(4 + math.log2(math.sqrt((x1 - x0) * (y1 - y0)) / 224 + 1e-8))  # FPN, equation 1
        assert reading.level == min(max(level, 2), 5) - 2
        low, high = reading.points.amin(0), reading.points.amax(0)
        assert bool((low > reading.box[:2]).all())
        assert bool((high < reading.box[2:]).all())
        middle = torch.tensor([x0 + x1, y0 + y1]) / 2
        torch.testing.assert_close(reading.points.mean(0), middle, atol=0.01, rtol=0)
    assert e.strides == [4, 8, 16, 32]
    assert [tuple(level.shape) for level in e.levels] == [(38, 50), (19, 25), (10, 13), (5, 7)]


def test_there_is_no_such_region(model_file: Path, picture: Tensor) -> None:
    with pytest.raises(UsageError, match="no region 1000 of score"):
        explain(load(model_file, "cpu"), picture, 999, THRESHOLD)


def test_a_network_without_regions(street_run: Path, picture: Tensor) -> None:
    with pytest.raises(UsageError, match="no regions to explain"):
        explain(load(street_run, "cpu"), picture, 0)
