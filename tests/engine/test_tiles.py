"""Tiles: every pixel seen, every object once, as if the picture had been looked at whole."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from segue.data.cells import make_cells
from segue.engine.predict import PredictOptions
from segue.engine.tiles import best_points, merge, predict_tiled, tiles_of
from segue.errors import UsageError
from segue.ops import mask_boxes
from segue.structures import Categories, Masks, Regions, Scene
from segue.tasks import BOXES, MASKS, RegionTask


class Seer:
    """Instead of a network: finds every connected patch of one gray value exactly. Black is the background.

    Odd values are of class a, even ones of class b; brighter ones score higher.
    """

    def __init__(self, tasks: list[RegionTask]) -> None:
        self.tasks, self.categories, self.largest = tasks, Categories.from_names(["a", "b"]), (0, 0)

    def scenes(self, pictures: list[tuple[Tensor, None]], threshold: float) -> list[Scene]:
        return [self.scene(picture) for picture, _ in pictures]

    def scene(self, picture: Tensor) -> Scene:
        gray = picture[0].numpy()
        self.largest = max(self.largest, gray.shape)
        masks, values = [], []
        for value in sorted(set(np.unique(gray).tolist()) - {0}, reverse=True):
            patches, count = ndimage.label(gray == value, np.ones((3, 3)))
            masks += [patches == number for number in range(1, count + 1)]
            values += [value] * count
        packed = Masks.from_dense(torch.from_numpy(np.array(masks, bool).reshape(-1, *gray.shape)))
        regions = Regions(
            mask_boxes(packed).float().reshape(-1, 4),
            torch.tensor([value % 2 for value in values], dtype=torch.int64),
            torch.tensor([0.5 + value / 600 for value in values]),
            masks=packed if MASKS in self.tasks else None,
        )
        return Scene((gray.shape[0], gray.shape[1]), self.categories, regions)


def canvas(size: tuple[int, int], *rectangles: tuple[int, int, int, int]) -> Tensor:
    """Rectangles x0, y0, x1, y1 of the gray values 1, 2, 3 ..."""
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    for value, (x0, y0, x1, y1) in enumerate(rectangles, start=1):
        picture[:, y0:y1, x0:x1] = value
    return picture


def tiled(picture: Tensor, side: int, tasks: list[RegionTask] | None = None) -> Scene:
    seer: Any = Seer([BOXES, MASKS] if tasks is None else tasks)
    scene = predict_tiled(seer, picture, side, 0.5, "x.png")
    assert max(seer.largest) <= side
    return scene


def assert_as_if_whole(picture: Tensor, side: int) -> None:
    whole, parts = Seer([BOXES, MASKS]).scene(picture), tiled(picture, side)
    assert parts.size == whole.size
    assert parts.file == "x.png"
    assert len(parts.regions) == len(whole.regions)
    assert torch.equal(parts.regions.scores, whole.regions.scores)  # best first
    assert torch.equal(parts.regions.labels, whole.regions.labels)
    assert torch.equal(parts.regions.boxes, whole.regions.boxes)
    assert torch.equal(parts.regions.masks.dense(), whole.regions.masks.dense())


@pytest.mark.parametrize("side", [64, 65, 100, 512])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 64), (63, 301), (100, 101), (257, 511), (1000, 90)])
def test_tiles_cover_the_picture_and_overlap_by_a_quarter(size: tuple[int, int], side: int) -> None:
    tiles = tiles_of(size, side)
    seen = torch.zeros(size, dtype=torch.int64)
    for t in tiles:
        assert 0 <= t.x0 < t.x1 <= size[1]
        assert 0 <= t.y0 < t.y1 <= size[0]
        assert (t.x1 - t.x0, t.y1 - t.y0) == (min(side, size[1]), min(side, size[0]))
        seen[t.y0 : t.y1, t.x0 : t.x1] += 1
    assert bool((seen > 0).all())
    for edge, end in (("x0", "x1"), ("y0", "y1")):
        spans = sorted({(getattr(t, edge), getattr(t, end)) for t in tiles})
        for (_, stop), (start, _) in pairwise(spans):
            assert stop - start >= side // 4
    assert len(set(tiles)) == len(tiles)


def test_a_picture_that_fits_is_one_tile() -> None:
    assert len(tiles_of((100, 90), 100)) == 1


# A picture of 160 x 160 in tiles of 64 has 3 x 3 of them, at 0, 48 and 96.
PLACES = {
    "inside one tile": (5, 5, 20, 20),
    "on a seam": (40, 10, 60, 20),
    "in the strip that two share": (50, 10, 62, 20),
    "on the corner of four": (44, 44, 70, 70),
    "in the square that four share": (49, 49, 63, 63),
    "on the very edge of a tile": (48, 5, 64, 20),
    "one pixel into the next tile": (30, 30, 49, 40),
    "one pixel of a tile": (64, 64, 65, 65),
    "wider than the overlap": (20, 70, 100, 80),
    "across all tiles": (0, 75, 160, 85),
    "larger than a tile": (10, 10, 150, 150),
    "the whole picture": (0, 0, 160, 160),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_object_comes_out_once_and_whole(place: str) -> None:
    assert_as_if_whole(canvas((160, 160), PLACES[place]), 64)


@pytest.mark.parametrize(
    "rectangles",
    [
        [(40, 40, 56, 60), (56, 40, 72, 60)],  # beside each other in the strip
        [(20, 50, 120, 56), (20, 56, 120, 62)],  # above each other, through many tiles
        [(30, 30, 56, 56), (56, 30, 80, 56), (30, 56, 56, 80), (56, 56, 80, 80)],  # four that meet in a point
        [(10, 10, 150, 150), (50, 50, 62, 62)],  # one in the other
    ],
)
def test_neighbours_that_touch_stay_apart(rectangles: list[tuple[int, int, int, int]]) -> None:
    assert_as_if_whole(canvas((160, 160), *rectangles), 64)
    pair = canvas((160, 160), *rectangles)
    pair[pair > 0] = pair[pair > 0] * 2  # all of one class
    assert_as_if_whole(pair, 64)


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_full_of_blobs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, side = (int(rng.integers(70, 300)), int(rng.integers(70, 300))), int(rng.integers(64, 130))
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.zeros(size, np.uint8)
    for value in range(1, 60):  # ellipses, those behind hidden by those in front where they would overlap
        (cy, cx), (a, b) = rng.uniform((0, 0), size), rng.uniform(2, 30, 2)
        blob = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1
        if not picture[blob].any():
            picture[blob] = value
    assert_as_if_whole(torch.from_numpy(picture).expand(3, -1, -1), side)


def test_synthetic_nuclei() -> None:
    _, regions = make_cells(4, (300, 300))
    picture = torch.zeros(300, 300, dtype=torch.uint8)
    for value, mask in enumerate(regions.masks.dense(), start=1):
        patches, _ = ndimage.label(mask.numpy(), np.ones((3, 3)))
        picture[torch.from_numpy(patches == 1)] = value  # one patch each, as neighbours may have cut it
    assert len(picture.unique()) > 10
    assert_as_if_whole(picture.expand(3, -1, -1), 96)


def test_boxes_alone() -> None:
    picture = canvas((160, 160), (40, 10, 60, 20), (44, 60, 70, 86), (70, 60, 90, 86), (20, 100, 140, 110))
    whole, parts = Seer([BOXES]).scene(picture), tiled(picture, 64, [BOXES])
    assert parts.regions.masks is None
    assert torch.equal(parts.regions.boxes, whole.regions.boxes)
    assert torch.equal(parts.regions.scores, whole.regions.scores)


def test_nothing_to_see() -> None:
    scene = tiled(canvas((160, 200)), 64)
    assert len(scene.regions) == 0
    assert scene.regions.masks.size == (160, 200)


def test_classes_are_not_mixed() -> None:
    """Two findings of one place and different classes are two objects, as they are without tiles."""
    tiles = tiles_of((64, 100), 64)
    mask = torch.zeros(1, 64, 100)
    mask[0, 20:30, 40:50] = 1  # in both tiles, cut by none
    box, score, packed = torch.tensor([[40.0, 20, 50, 30]]), torch.tensor([0.9]), Masks.from_dense(mask)
    found = [Regions(box, torch.tensor([k]), score, masks=packed) for k in (0, 1)]
    assert len(merge(found, tiles, (64, 100))) == 2
    assert len(merge([found[0], found[0]], tiles, (64, 100))) == 1


def test_the_better_of_two_whole_findings_stays() -> None:
    tiles = tiles_of((64, 100), 64)

    def finding(score: float, width: int) -> Regions:
        mask = torch.zeros(1, 64, 100)
        mask[0, 20:30, 40 : 40 + width] = 1
        box = torch.tensor([[40.0, 20, 40 + width, 30]])
        return Regions(box, torch.tensor([0]), torch.tensor([score]), masks=Masks.from_dense(mask))

    kept = merge([finding(0.6, 10), finding(0.8, 12)], tiles, (64, 100))
    assert kept.scores.tolist() == pytest.approx([0.8])
    assert int(kept.masks.area) == 120


@pytest.mark.parametrize("side", [1, 63])
def test_tiles_that_are_too_small(side: int) -> None:
    with pytest.raises(UsageError, match="64 or more"):
        tiled(canvas((100, 100)), side)
    with pytest.raises(UsageError, match="64 or more"):
        PredictOptions(tile=side)


def person(x0: float, x1: float, *points: tuple[float, float]) -> Regions:
    """A finding with box x0 to x1 and keypoints, each an x and a score."""
    triples = torch.tensor([[[x, 25.0, score] for x, score in points]])
    return Regions(torch.tensor([[x0, 20.0, x1, 30.0]]), torch.tensor([0]), torch.tensor([0.9]), keypoints=triples)


def test_each_keypoint_of_an_object_in_pieces_is_from_the_piece_that_knows_it_best() -> None:
    tiles = tiles_of((64, 100), 64)  # from 0 to 64, and from 36 to 100
    left, right = person(20, 64, (30, 0.9), (62, 0.3)), person(36, 80, (38, 0.2), (75, 0.8))
    other = person(2, 10, (3, 0.4), (9, 0.5))
    united = merge([Regions.cat([left, other]), right], tiles, (64, 100))
    assert united.boxes.tolist() == [[20, 20, 80, 30], [2, 20, 10, 30]]
    torch.testing.assert_close(
        united.keypoints,
        torch.tensor([[[30, 25, 0.9], [75, 25, 0.8]], [[3, 25, 0.4], [9, 25, 0.5]]]),
    )


def test_a_whole_finding_keeps_its_keypoints() -> None:
    tiles = tiles_of((64, 100), 64)
    whole, cut = person(40, 60, (45, 0.2), (55, 0.2)), person(36, 60, (37, 0.9), (57, 0.9))
    kept = merge([whole, cut], tiles, (64, 100))
    assert torch.equal(kept.keypoints, whole.keypoints)


def test_best_points_against_a_plain_loop() -> None:
    torch.manual_seed(0)
    points, names = torch.randn(30, 4, 3), torch.cat([torch.arange(7), torch.randint(0, 7, (23,))])  # logits, too
    points[5] = points[0] = 0.0
    expected = torch.empty(7, 4, 3)
    for name in range(7):
        for k in range(4):
            rows = [i for i in range(30) if names[i] == name]
            expected[name, k] = points[max(rows, key=lambda i: float(points[i, k, 2])), k]
    assert torch.equal(best_points(points, names, 7), expected)
