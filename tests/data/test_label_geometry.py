from __future__ import annotations

import numpy as np
import pytest
import torch

from segue.data.geometry import Geometry
from segue.data.transforms import Augmentation, random_geometry

LABELS = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int16)


def test_without_change_the_map_stays():
    assert torch.equal(Geometry.resize((2, 3), (2, 3)).label_map(LABELS), LABELS)


def test_mirror_and_turn():
    mirrored = Geometry((2, 3), False, True, False, (2, 3), (0, 0, 3, 2))
    assert mirrored.label_map(LABELS).tolist() == [[2, 1, 0], [5, 4, 3]]
    turned = Geometry((2, 3), True, False, False, (3, 2), (0, 0, 2, 3))
    assert turned.label_map(LABELS).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_enlarging_copies_and_keeps_the_type():
    twice = Geometry.resize((2, 3), (4, 6)).label_map(LABELS)
    assert twice.dtype == torch.int16
    assert torch.equal(twice, LABELS.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_shrinking_takes_the_pixel_at_the_centre():
    labels = torch.arange(9).reshape(3, 3)
    assert Geometry.resize((3, 3), (1, 1)).label_map(labels).tolist() == [[4]]


def test_beyond_the_picture_nothing_is_labelled():
    wider = Geometry((2, 3), False, False, False, (2, 3), (-1, -1, 4, 2))
    assert wider.label_map(LABELS).tolist() == [[-1] * 5, [-1, 0, 1, 2, -1], [-1, 3, 4, 5, -1]]


@pytest.mark.parametrize("seed", range(8))
def test_labels_move_with_the_pixels(seed):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, 5, (6, 8))).repeat_interleave(8, 0).repeat_interleave(8, 1).short()
    image = (labels * 50).byte().expand(3, -1, -1)
    change = Augmentation(crop=40, scale=(0.7, 1.5), mirror_vertical=True, quarter_turns=True)
    geometry = random_geometry((48, 64), change, rng)
    pixels, moved = geometry.image(image)[0], geometry.label_map(labels)
    assert pixels.shape == moved.shape == (40, 40)
    inside = moved >= 0
    agree = (pixels[inside].float() / 50).round() == moved[inside]  # only at the blocks' blurred edges they may differ
    assert agree.float().mean() > 0.8
