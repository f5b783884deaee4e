"""How pictures come to the network's size: the published rules, on odd, tall and wide pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from segue.nn.conventions import DETECTRON2, SEGUE, TORCHVISION, TORCHVISION_SEMANTIC
from segue.nn.normalise import resize_image, shown_size

SIZES = [(37, 91), (133, 40), (64, 64), (3, 500)]


@pytest.mark.parametrize(
    ("size", "conventions", "expected"),
    [
        ((427, 640), DETECTRON2, (800, 1199)),  # 1199.06
        ((640, 802), DETECTRON2, (800, 1003)),  # 1002.5
        ((480, 641), DETECTRON2, (800, 1068)),  # 1068.3
        ((375, 500), TORCHVISION, (800, 1066)),  # 1066.7
        ((97, 97), TORCHVISION, (799, 799)),  # 97 * (800 / 97) is below 800 in doubles
        ((400, 2000), TORCHVISION, (266, 1333)),  # 266.6
        ((400, 2000), DETECTRON2, (267, 1333)),
        ((97, 97), TORCHVISION_SEMANTIC, (800, 800)),
        ((300, 401), TORCHVISION_SEMANTIC, (800, 1069)),  # 1069.3
    ],
)
def test_sizes_of_the_published_rules(size, conventions, expected):
    assert shown_size(size, (800, 1333), conventions) == expected
    assert shown_size(size[::-1], (800, 1333), conventions) == expected[::-1]


def test_no_rule_keeps_every_size():
    assert shown_size((37, 91), None, TORCHVISION) == (37, 91)


@pytest.mark.parametrize("size", SIZES)
def test_detectron2_s_pictures_are_pillow_s(size):
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8))
    height, width = shown_size(size, (80, 200), DETECTRON2)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    wanted = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    found = resize_image(picture, (height, width), DETECTRON2).permute(1, 2, 0).numpy()
    assert np.array_equal(found, wanted)


def test_torchvision_s_pictures_are_not_rounded_and_read_two_pixels_an_axis():
    picture = torch.tensor([[0, 0, 100, 0, 0, 50]], dtype=torch.uint8).expand(3, 1, 6)
    found = resize_image(picture, (1, 2), TORCHVISION)
    assert found.dtype == torch.float32
    assert found[0, 0].tolist() == [0.0, 0.0]  # of three pixels the one in the middle, without a filter
    assert resize_image(picture, (1, 4), TORCHVISION)[0, 0].tolist() == [0.0, 75.0, 0.0, 37.5]


@pytest.mark.parametrize("conventions", [SEGUE, DETECTRON2, TORCHVISION_SEMANTIC])
def test_bytes_stay_bytes_and_equal_sizes_stay_equal(conventions):
    picture = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)
    assert torch.equal(resize_image(picture, (9, 7), conventions), picture)
