import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing import draw_panoptic
from segue.drawing.panoptic import ALPHA, coarse, roomiest, segment_colors, shade
from segue.errors import DataError, UsageError
from segue.structures import Categories, Category, Segments

SKY, CAR = Category("sky", 1, isthing=False, color=(0, 0, 200)), Category("car", 2, color=(200, 40, 0))
CLASSES = Categories((SKY, CAR))
GRAY = 100


def gray(height, width):
    return Image.new("RGB", (width, height), (GRAY, GRAY, GRAY))


def pixels(image):
    return np.asarray(image).astype(int)


def segments(ids, labels):
    return Segments(torch.tensor(ids, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64))


def tint(color):
    return [round(GRAY + ALPHA * (channel - GRAY)) for channel in color]


def test_segments_have_their_tint_with_a_line_between_and_void_stays_plain():
    panoptic = torch.tensor([[7, 7, 7, 9, 9, 9, 0, 0]] * 6, dtype=torch.int32)
    painted = pixels(draw_panoptic(gray(6, 8), panoptic, segments([9, 7], [1, 0]), CLASSES))
    assert (painted[:, :2] == tint(SKY.color)).all()
    assert (painted[:, 3:5] == tint(CAR.color)).all()
    assert (painted[:, 6:] == GRAY).all()
    for column, color in ((2, SKY.color), (5, CAR.color)):
        assert (painted[:, column] != tint(color)).any(1).all()


def test_every_thing_has_a_colour_of_its_own_and_all_stuff_that_of_its_class():
    colors = segment_colors(segments(range(1, 21), [0, 1] * 10), CLASSES)
    assert set(colors[::2]) == {SKY.color}
    assert len(set(colors[1::2])) == 10
    assert colors[1] == CAR.color


@pytest.mark.parametrize("color", [(200, 40, 0), (128, 128, 128), (0, 0, 0), (255, 255, 255), (20, 120, 50)])
def test_shades_next_to_each_other_differ_clearly(color):
    shades = [shade(color, number) for number in range(30)]
    steps = np.abs(np.diff(np.array(shades), axis=0)).max(1)
    assert shades[0] == color
    assert steps.min() >= 20


def test_shades_stay_related():
    red, green, blue = np.array([shade((220, 20, 20), number) for number in range(40)]).T
    assert (red >= green).all()
    assert (red >= blue).all()


def written(panoptic, segs, **options):
    """Where names are: what differs from the same picture with names of one blank."""
    blank = Categories(tuple(Category("\n" * (c.id + 1), c.id, c.isthing, c.color) for c in CLASSES))
    image = gray(*panoptic.shape)
    named, bare = (pixels(draw_panoptic(image, panoptic, segs, c, **options)) for c in (CLASSES, blank))
    return torch.from_numpy((named != bare).any(2))


@pytest.mark.parametrize("scale", [1, 6])
def test_names_stay_inside_their_segments(scale):
    panoptic = torch.ones(120, 160, dtype=torch.int32)
    y, x = torch.meshgrid(torch.arange(120), torch.arange(160), indexing="ij")
    panoptic[(x - 110) ** 2 + (y - 60) ** 2 < 40**2] = 2  # room for a name
    panoptic[20:26, 20:60] = 3 if scale == 1 else 1  # none
    panoptic = panoptic.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    ink = written(panoptic, segments([1, 2, 3], [0, 1, 1]))
    assert ink[panoptic == 1].any()
    assert ink[panoptic == 2].any()
    assert not ink[panoptic == 3].any()
    edge = torch.zeros_like(ink)
    edge[1:] |= panoptic[1:] != panoptic[:-1]
    edge[:, 1:] |= panoptic[:, 1:] != panoptic[:, :-1]
    assert not (ink & edge).any()


def test_no_name_in_segments_that_are_thin_or_small_however_large_their_box():
    panoptic = torch.ones(100, 100, dtype=torch.int32)
    y, x = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    panoptic[(x - y).abs() < 6] = 2
    ink = written(panoptic, segments([1, 2], [0, 1]))
    assert ink.any()
    assert not ink[panoptic == 2].any()


def test_names_of_things_can_be_left_to_boxes():
    panoptic = torch.ones(60, 200, dtype=torch.int32)
    panoptic[:, 100:] = 2
    segs = segments([1, 2], [0, 1])
    assert written(panoptic, segs)[:, 100:].any()
    assert written(panoptic, segs, name_things=False)[:, :100].any()
    assert not written(panoptic, segs, name_things=False)[:, 100:].any()


def test_maps_without_segments_and_segments_without_pixels():
    nothing = torch.zeros(5, 7, dtype=torch.int32)
    assert (pixels(draw_panoptic(gray(5, 7), nothing, segments([], []), CLASSES)) == GRAY).all()
    assert (pixels(draw_panoptic(gray(5, 7), nothing, segments([3], [1]), CLASSES)) == GRAY).all()


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="over a picture"):
        draw_panoptic(gray(5, 7), torch.zeros(7, 5, dtype=torch.int32), segments([], []), CLASSES)
    with pytest.raises(DataError, match="none of its segments"):
        draw_panoptic(gray(5, 7), torch.full((5, 7), 4), segments([3], [1]), CLASSES)


def test_a_square_keeps_the_label_that_it_has_alone():
    labels = torch.tensor([[0, 0, 1, 1, 5], [0, 0, 2, 1, 5], [-1, -1, 3, 3, 5], [-1, 3, 3, 3, 5]])
    assert coarse(labels, 2).tolist() == [[0, -1], [-1, 3]]
    assert (coarse(labels, 1) == labels).all()


def test_a_place_is_free_as_brute_force_finds_it():
    rng = torch.Generator().manual_seed(0)
    found = 0
    for _ in range(60):
        inside = torch.rand(12, 15, generator=rng) < 0.9
        w, h = (int(v) for v in torch.randint(1, 6, (2,), generator=rng))
        possible = any(bool(inside[y : y + h, x : x + w].all()) for y in range(13 - h) for x in range(16 - w))
        place = roomiest(inside, w, h)
        assert (place is not None) == possible
        if place:
            x, y = place[0] - w // 2, place[1] - h // 2
            assert inside[y : y + h, x : x + w].all()
            found += 1
    assert 10 < found < 60


def test_the_place_is_where_most_room_is():
    inside = torch.zeros(40, 100, dtype=torch.bool)
    inside[10:20, 0:40] = True  # a narrow arm
    inside[0:40, 60:100] = True  # a wide body
    inside[12, :] = True
    assert roomiest(inside, 10, 8) == (80, 20)
    assert roomiest(inside, 41, 2) is None
    assert roomiest(inside, 100, 1) == (50, 12)
