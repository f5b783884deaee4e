from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.data.geometry import Geometry
from segue.data.transforms import (
    Augmentation,
    apply_geometry,
    gaussian_blur,
    jitter_intensity,
    plain_geometry,
    random_geometry,
    resized_size,
)
from segue.errors import UsageError
from segue.structures import Masks, Regions

TRANSFORMS = {"masks": lambda masks, geometry: geometry.masks(masks)}
STILL = Augmentation(mirror=False)
TURNS = Augmentation(mirror_vertical=True, quarter_turns=True)


def rectangles(seed: int, size: tuple[int, int], n: int) -> Regions:
    """Regions whose masks are full rectangles of 3 pixels or more a side."""
    rng = np.random.default_rng(seed)
    dense = torch.zeros(n, *size, dtype=torch.bool)
    for mask in dense:
        y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        mask[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)] = True
    masks = Masks.from_dense(dense)
    labels = torch.arange(n)
    return Regions(masks.boxes.float(), labels, masks=masks, areas=masks.area.float())


def as_picture(regions: Regions, size: tuple[int, int]) -> torch.Tensor:
    """(3, H, W) uint8 that holds in each pixel which of the first 24 masks cover it, one bit each."""
    dense = regions.masks.dense().long()
    planes = [sum((dense[i] << (i % 8) for i in range(8 * c, min(8 * c + 8, len(dense)))), 0) for c in range(3)]
    return torch.stack([torch.as_tensor(p).expand(size) for p in planes]).to(torch.uint8)


def change(regions: Regions, geometry: Geometry) -> tuple[torch.Tensor, Regions]:
    return apply_geometry(as_picture(regions, geometry.source), regions, geometry, TRANSFORMS)


@pytest.mark.parametrize("seed", range(12))
def test_pixels_masks_and_boxes_move_together(seed):
    size = (37, 52)
    regions = rectangles(seed, size, 24)
    augmentation = replace(TURNS, crop=(None, 30, 60)[seed % 3])
    geometry = random_geometry(size, augmentation, np.random.default_rng(seed))
    picture, moved = change(regions, geometry)
    assert tuple(picture.shape[1:]) == geometry.size
    bits = torch.stack([picture[i // 8] >> (i % 8) & 1 for i in range(24)]).bool()  # what the pixels say of each mask
    assert torch.equal(moved.masks.dense(), bits[moved.labels]), "labels number the regions"
    assert torch.equal(moved.boxes, Masks.from_dense(bits[moved.labels]).boxes.float())
    sides = Masks.from_dense(bits).boxes
    wide = ((sides[:, 2:] - sides[:, :2]) >= 2).all(1)
    assert moved.labels.tolist() == wide.nonzero()[:, 0].tolist(), "all that are wide enough stay, no other"
    assert moved.areas is None


@pytest.mark.parametrize("seed", range(6))
def test_rescaled_masks_fit_their_boxes(seed):
    size = (60, 80)
    regions = rectangles(seed, size, 20)
    augmentation = replace(TURNS, scale=(0.6, 1.8), crop=64)
    geometry = random_geometry(size, augmentation, np.random.default_rng(seed))
    _, moved = change(regions, geometry)
    assert len(moved)
    assert (moved.masks.boxes.float() - moved.boxes).abs().max() <= 1.0, "within the rounding to pixels"
    scale = geometry.resized[0] / geometry.turned[0]
    whole = (moved.boxes[:, :2] > 0).all(1) & (moved.boxes[:, 2:] < 64).all(1)
    expected = regions.areas[moved.labels][whole] * scale**2
    sides = (moved.boxes[:, 2:] - moved.boxes[:, :2])[whole].sum(1)
    assert ((moved.masks.area[whole] - expected).abs() <= sides + 1).all(), "within one pixel along the outline"


def test_mirrored_twice_is_unchanged():
    regions = rectangles(1, (31, 44), 9)
    for flips in ((True, False), (False, True), (True, True)):
        geometry = Geometry((31, 44), False, *flips, (31, 44), (0, 0, 44, 31))
        picture, once = change(regions, geometry)
        assert not torch.equal(once.boxes, regions.boxes)
        back, twice = apply_geometry(picture, once, geometry, TRANSFORMS)
        assert torch.equal(back, as_picture(regions, (31, 44)))
        assert torch.equal(twice.boxes, regions.boxes)
        assert torch.equal(twice.masks.dense(), regions.masks.dense())


def test_four_quarter_turns_are_none():
    regions = rectangles(2, (31, 44), 9)
    picture = start = as_picture(regions, (31, 44))
    turned = regions
    for k in range(4):
        h, w = picture.shape[1:]
        geometry = Geometry((h, w), True, True, False, (w, h), (0, 0, h, w))
        picture, turned = apply_geometry(picture, turned, geometry, TRANSFORMS)
        assert torch.equal(picture, start.rot90(-(k + 1), (1, 2)))
    assert torch.equal(turned.boxes, regions.boxes)
    assert torch.equal(turned.masks.dense(), regions.masks.dense())


def test_turns_and_mirrors_reach_what_they_should():
    def kinds(augmentation: Augmentation) -> set[tuple[bool, bool, bool]]:
        rng = np.random.default_rng(0)
        drawn = [random_geometry((8, 9), augmentation, rng) for _ in range(200)]
        return {(g.transpose, g.mirror_x, g.mirror_y) for g in drawn}

    assert len(kinds(STILL)) == 1
    assert len(kinds(Augmentation())) == 2
    assert len(kinds(TURNS)) == 8
    turns = kinds(replace(STILL, quarter_turns=True))
    assert len(turns) == 4
    assert all(t ^ x ^ y is False for t, x, y in turns), "a turn alone never mirrors"


def test_the_same_chance_gives_the_same_picture():
    augmentation = Augmentation(crop=20, scale=(0.5, 2), brightness=0.5, contrast=0.5, gamma=0.5, saturation=0.5)
    augmentation = replace(augmentation, gray=0.5, invert=0.5, blur=2, noise=9)
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)

    def run(seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        geometry = random_geometry((40, 50), augmentation, rng)
        return jitter_intensity(geometry.image(image), augmentation, rng)

    assert torch.equal(run(5), run(5))
    assert not torch.equal(run(5), run(6))


def test_crop_stays_inside_and_small_pictures_are_padded():
    rng = np.random.default_rng(0)
    windows = {random_geometry((20, 9), replace(STILL, crop=12), rng).window for _ in range(300)}
    assert windows == {(0, y, 12, y + 12) for y in range(9)}
    geometry = random_geometry((20, 9), replace(STILL, crop=12), rng)
    picture = geometry.image(torch.full((3, 20, 9), 7, dtype=torch.uint8))
    assert picture.shape == (3, 12, 12)
    assert (picture[:, :, :9] == 7).all()
    assert (picture[:, :, 9:] == 0).all()


def test_scale_is_log_uniform_in_its_range():
    rng = np.random.default_rng(0)
    augmentation = replace(STILL, scale=(0.25, 4.0))
    scales = np.array([random_geometry((1000, 1000), augmentation, rng).resized[0] / 1000 for _ in range(400)])
    assert scales.min() >= 0.25
    assert scales.max() <= 4.0
    assert abs((scales < 1).mean() - 0.5) < 0.1


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),
        ((640, 480), (800, 1333), (1067, 800)),
        ((300, 900), (800, 1333), (444, 1333)),
        ((1600, 1600), (800, 1333), (800, 800)),
        ((1, 4000), (800, 1333), (1, 1333)),
        ((33, 44), None, (33, 44)),
    ],
)
def test_resized_size(size, resize, expected):
    assert resized_size(size, resize) == expected
    geometry = plain_geometry(size, Augmentation(resize=resize))
    assert geometry == Geometry.resize(size, expected)


def test_cut_objects_get_the_box_of_what_is_left():
    dense = torch.zeros(1, 10, 20, dtype=torch.bool)
    dense[0, 1:9, 2:6] = True  # an L: tall on the left, low on the right
    dense[0, 7:9, 2:15] = True
    masks = Masks.from_dense(dense)
    regions = Regions(masks.boxes.float(), torch.tensor([0]), masks=masks)
    window = (8, 0, 20, 10)
    _, cut = change(regions, Geometry((10, 20), False, False, False, (10, 20), window))
    assert cut.boxes.tolist() == [[0, 7, 7, 9]]


def test_boxes_without_masks_are_cut_and_slivers_dropped():
    boxes = torch.tensor([[2.0, 2, 9, 9], [9, 2, 11.5, 9], [-5, -5, 30, 30], [15, 15, 20, 20]])
    geometry = Geometry((30, 30), False, False, False, (30, 30), (0, 0, 10, 10))
    regions = Regions(boxes, torch.arange(4), areas=torch.ones(4))
    _, cut = apply_geometry(torch.zeros(3, 30, 30, dtype=torch.uint8), regions, geometry, {})
    assert cut.labels.tolist() == [0, 2]
    assert cut.boxes.tolist() == [[2, 2, 9, 9], [0, 0, 10, 10]]


def test_uncut_boxes_stay_as_annotated():
    dense = torch.zeros(1, 20, 20, dtype=torch.bool)
    dense[0, 5:9, 5:9] = True
    regions = Regions(torch.tensor([[4.25, 4.5, 9.75, 9.5]]), torch.tensor([0]), masks=Masks.from_dense(dense))
    _, moved = change(regions, Geometry.resize((20, 20), (20, 20)))
    assert moved.boxes.tolist() == [[4.25, 4.5, 9.75, 9.5]]


def test_regions_without_a_pixel_are_dropped():
    dense = torch.zeros(2, 20, 20, dtype=torch.bool)
    dense[0, 5:9, 5:9] = True
    regions = Regions(torch.tensor([[5.0, 5, 9, 9]] * 2), torch.arange(2), masks=Masks.from_dense(dense))
    _, moved = change(regions, Geometry.resize((20, 20), (20, 20)))
    assert moved.labels.tolist() == [0]


def test_no_regions():
    for masks in (None, Masks.from_dense(torch.zeros(0, 20, 30))):
        regions = replace(Regions.empty(), masks=masks)
        geometry = random_geometry((20, 30), Augmentation(crop=16), np.random.default_rng(0))
        image, moved = apply_geometry(torch.zeros(3, 20, 30, dtype=torch.uint8), regions, geometry, TRANSFORMS)
        assert image.shape == (3, 16, 16)
        assert len(moved) == 0


def test_fields_of_other_tasks():
    regions = Regions(torch.tensor([[1.0, 1, 9, 9], [15, 15, 19, 19]]), torch.arange(2), captions=["left", "right"])
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    window = Geometry((20, 20), False, False, False, (20, 20), (0, 0, 10, 10))
    assert apply_geometry(image, regions, window, {"captions": None})[1].captions == ["left"]
    shout = {"captions": lambda texts, geometry: [text.upper() for text in texts]}
    assert apply_geometry(image, regions, window, shout)[1].captions == ["LEFT"]
    with pytest.raises(UsageError, match="captions"):
        apply_geometry(image, regions, window, {})


def test_nothing_changes_where_all_is_off():
    image = torch.randint(0, 256, (3, 12, 9), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    assert torch.equal(jitter_intensity(image, STILL, rng), image)
    assert random_geometry((12, 9), STILL, rng) == Geometry.resize((12, 9), (12, 9))


def test_inverted_twice_and_gray():
    image = torch.randint(0, 256, (3, 12, 9), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    inverted = jitter_intensity(image, replace(STILL, invert=1), rng)
    assert torch.equal(inverted, 255 - image)
    gray = jitter_intensity(image, replace(STILL, gray=1), rng)
    assert torch.equal(gray[0], gray[1])
    expected = image.float().mul(torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    assert (gray[0].float() - expected).abs().max() <= 0.51


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "saturation", "blur", "noise"])
def test_every_jitter_changes_something_and_stays_in_range(name):
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    jittered = jitter_intensity(image, replace(STILL, **{name: 0.9}), np.random.default_rng(1))
    assert jittered.dtype == torch.uint8
    assert jittered.shape == image.shape
    assert not torch.equal(jittered, image)


def test_noise_has_the_strength_that_was_asked_for():
    image = torch.full((3, 200, 200), 128, dtype=torch.uint8)
    rng = np.random.default_rng(0)
    spread = [jitter_intensity(image, replace(STILL, noise=20), rng).float().std().item() for _ in range(20)]
    assert max(spread) <= 21
    assert 5 < float(np.mean(spread)) < 15


def test_blur_spreads_a_point_by_its_standard_deviation():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1
    blurred = gaussian_blur(image, 2.5)[0]
    offsets = torch.arange(41.0) - 20
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert (blurred.sum(0) * offsets**2).sum().sqrt() == pytest.approx(2.5, rel=0.02)
    assert torch.equal(gaussian_blur(image, 0.0), image)


@pytest.mark.parametrize(
    "values",
    [
        {"crop": 0},
        {"resize": (800, 600)},
        {"resize": (0, 600)},
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"brightness": 1.5},
        {"gray": -0.1},
        {"noise": -1},
        {"gamma": float("nan")},
    ],
)
def test_impossible_recipes_are_refused(values):
    with pytest.raises(ValueError):
        Augmentation(**values)
