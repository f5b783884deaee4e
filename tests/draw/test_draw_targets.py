import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing.keypoints import LEFT, RIGHT
from segue.drawing.targets import (
    DARK,
    KEYPOINT_CELLS,
    MASK_CELLS,
    SIDE,
    Example,
    keypoint_panels,
    mask_panels,
    target_sheet,
)
from segue.errors import UsageError
from segue.structures import Categories, Category, Masks, Regions, Scene

PERSON = Category("person", 1, keypoints=("left_eye", "right_eye", "left_knee"), skeleton=((0, 2),))
CLASSES = Categories((PERSON, Category("mug", 2)))


def example(rois=((8.0, 8.0, 36.0, 36.0), (28.0, 0.0, 56.0, 56.0)), **changes):
    """A person over columns 8 to 21 and rows 8 to 35 and a mug, in a picture whose right half is white."""
    dense = torch.zeros(2, 56, 64, dtype=torch.bool)
    dense[0, 8:36, 8:22] = True
    dense[1, 40:50, 30:50] = True
    masks = Masks.from_dense(dense)
    points = torch.zeros(2, 3, 3)
    points[0] = torch.tensor([[8.25, 8.25, 2.0], [35.75, 8.25, 1.0], [60.0, 50.0, 2.0]])  # the last is outside
    regions = Regions(masks.boxes.float(), torch.tensor([0, 1]), masks=masks, keypoints=points)
    for name, value in changes.items():
        regions = regions.with_field(name, value)
    image = Image.new("RGB", (64, 56), (10, 20, 30))
    image.paste((255, 255, 255), (32, 0, 64, 56))
    return Example(image, Scene((56, 64), CLASSES, regions), torch.tensor(rois))


def test_the_mask_target_is_enlarged_cell_by_cell():
    titles, pictures = zip(*mask_panels(example()), strict=True)
    assert len(pictures) == 6
    assert titles[:3] == ("person", "its RoI, 28x28", "mask 28x28")
    target = np.asarray(pictures[2])
    assert target.shape == (SIDE, SIDE)
    assert (target[:, : SIDE // 2] == 255).all()  # one pixel of the picture is one cell
    assert (target[:, SIDE // 2 :] == 0).all()
    assert SIDE % MASK_CELLS == 0


def test_the_region_is_stretched_to_a_square():
    crop = np.asarray(mask_panels(example())[4][1]).astype(int)  # columns 28 to 55: white from 32 on
    assert crop.shape == (SIDE, SIDE, 3)
    edge, reach = 4 * SIDE // 28, 2 * SIDE // 28  # interpolation reaches over two pixels
    assert (crop[:, : edge - reach] == (10, 20, 30)).all()
    assert (crop[:, edge + reach :] == 255).all()
    assert abs(crop[:, edge - 1 : edge + 1, 0].mean() - (10 + 255) / 2) < 2


def test_one_cell_is_lit_for_each_keypoint_inside_the_region():
    (_, _), (_, _), (title, picture) = keypoint_panels(example())
    assert title == "2 of 3 maps, 56x56"
    lit, size = np.asarray(picture), SIDE // KEYPOINT_CELLS
    assert (lit[:size, :size] == LEFT).all()
    assert (lit[:size, -size:] == RIGHT).all()
    assert sum(int((lit == color).all(2).sum()) for color in (LEFT, RIGHT)) == 2 * size**2
    assert (lit[size + 1, size + 1] == DARK).all()


def test_objects_without_a_keypoint_in_their_region_have_no_keypoint_target():
    assert keypoint_panels(example(rois=((40.0, 0.0, 50.0, 10.0), (28.0, 0.0, 56.0, 56.0)))) == []
    assert keypoint_panels(example(keypoints=None)) == []
    assert mask_panels(example(masks=None)) == []


def test_a_sheet_has_three_pictures_for_every_target():
    both, masks = target_sheet([example()], columns=1), target_sheet([example(keypoints=None)], columns=1)
    assert both.width == masks.width
    assert both.width >= 3 * SIDE
    assert both.height - masks.height >= SIDE  # a third row


def test_examples_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="regions for 2 objects"):
        example(rois=((8.0, 8.0, 36.0, 36.0),))
    for roi in ((8.0, 8.0, 8.0, 36.0), (-1.0, 0.0, 9.0, 9.0), (0.0, 0.0, 65.0, 9.0)):
        with pytest.raises(UsageError, match="outside its picture"):
            example(rois=(roi, (28.0, 0.0, 56.0, 56.0)))
    with pytest.raises(UsageError, match="no object"):
        target_sheet([example(masks=None, keypoints=None)])
    with pytest.raises(UsageError, match="no object"):
        target_sheet([])
