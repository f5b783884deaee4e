from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing.keypoints import LEFT, MIDDLE, RIGHT, draw_keypoints, line_width, side_color
from segue.errors import UsageError
from segue.structures import Categories, Category, Regions, Scene
from segue.tasks.keypoints import draw

PERSON = Category("person", 1, keypoints=("nose", "left_hand", "right_hand"), skeleton=((0, 1), (1, 2)))
POINTS = torch.tensor([[[100.5, 30.5, 2], [40.5, 120.5, 2], [160.5, 120.5, 2]]])
NO_RING = torch.zeros(1, 3, dtype=torch.bool)
GRAY = (90, 90, 90)


def blank(size: tuple[int, int] = (200, 150)) -> Image.Image:
    return Image.new("RGB", size, GRAY)


def near(image: Image.Image, place: tuple[int, int], color: tuple[int, ...]) -> bool:
    pixel = np.array(image.getpixel(place), dtype=int)
    return bool(np.abs(pixel - color).max() <= 30)


def touched(image: Image.Image) -> np.ndarray:
    return (np.asarray(image) != np.asarray(blank(image.size))).any(-1)


def test_left_right_and_middle_have_their_colours() -> None:
    painted = draw_keypoints(blank(), POINTS, NO_RING, [PERSON])
    for place, color in (((100, 30), MIDDLE), ((40, 120), LEFT), ((160, 120), RIGHT)):
        assert near(painted, place, color)
    assert near(painted, (70, 75), LEFT)  # from the nose to the left hand
    assert near(painted, (100, 120), MIDDLE)  # from hand to hand
    assert near(painted, (130, 75), GRAY)  # no bone there
    assert blank().tobytes() != painted.tobytes()


def test_colours_go_by_name() -> None:
    assert side_color("left_eye") == side_color("Left ear", "nose") == LEFT
    assert side_color("right_knee", "right_hip") == RIGHT
    assert side_color("left_hip", "right_hip") == side_color("neck", "head_top") == MIDDLE


def test_occluded_points_are_rings_through_which_the_picture_shows() -> None:
    alone = replace(PERSON, skeleton=())
    rings = torch.tensor([[False, True, False]])
    big = POINTS * torch.tensor([10.0, 10, 1])
    painted = draw_keypoints(blank((2000, 1500)), big, rings, [alone])
    assert near(painted, (405, 1205), GRAY)
    assert not near(painted, (1605, 1205), GRAY)
    width = line_width((2000, 1500), 1200)
    assert near(painted, (405 + round(width * 1.15), 1205), LEFT)


def test_points_that_are_not_shown_leave_no_trace_nor_their_bones() -> None:
    points = POINTS.clone()
    points[0, 1, 2] = 0
    painted = touched(draw_keypoints(blank(), points, NO_RING, [PERSON]))
    assert not painted[:, :90].any()
    assert painted[30, 100]
    assert painted[120, 160]
    points[..., 2] = 0
    assert not touched(draw_keypoints(blank(), points, NO_RING, [PERSON])).any()


def test_lines_suit_the_picture_and_the_object() -> None:
    assert line_width((1700, 3000), 1000) == pytest.approx(10)
    assert line_width((1700, 3000), 64) == pytest.approx(2)
    assert line_width((100, 100), 80) == pytest.approx(1.2)


def test_points_beyond_the_edge_and_objects_without_keypoints() -> None:
    far = POINTS + torch.tensor([150.0, 0, 0])
    assert touched(draw_keypoints(blank(), far, NO_RING, [PERSON])).any()
    gone = POINTS + torch.tensor([1500.0, 0, 0])
    assert not touched(draw_keypoints(blank(), gone, NO_RING, [PERSON])).any()
    assert not touched(draw_keypoints(blank(), POINTS, NO_RING, [Category("mug", 2)])).any()
    assert not touched(draw_keypoints(blank(), POINTS[:0], NO_RING[:0], [])).any()


def test_numbers_must_agree() -> None:
    with pytest.raises(UsageError, match="as many"):
        draw_keypoints(blank(), POINTS, NO_RING, [])


def test_scenes_with_and_without_scores() -> None:
    regions = Regions(torch.rand(1, 4), torch.tensor([0]), keypoints=POINTS * torch.tensor([1, 1, 0.5]))
    annotated = Scene((150, 200), Categories((PERSON,)), regions)  # all occluded
    assert near(draw(blank(), annotated), (40, 120), GRAY)
    predicted = replace(annotated, regions=replace(regions, scores=torch.ones(1), keypoints=POINTS / 2 * 2))
    assert near(draw(blank(), predicted), (40, 120), LEFT)
    doubtful = replace(predicted, regions=replace(predicted.regions, keypoints=POINTS * torch.tensor([1, 1, 0.01])))
    assert not touched(draw(blank(), doubtful)).any()
    bare = replace(annotated, regions=replace(regions, keypoints=None))
    assert not touched(draw(blank(), bare)).any()
