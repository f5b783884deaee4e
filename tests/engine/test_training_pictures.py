"""Training pictures come in the size, and by the resampling, in which the network sees them when it predicts."""

from pathlib import Path

import pytest
import torch

from segue.data.dataset import Dataset, open_dataset
from segue.data.transforms import Augmentation
from segue.engine.loader import Place, TrainingPictures
from segue.nn.conventions import CONVENTIONS
from segue.nn.normalise import resize_image, shown_size
from segue.tasks import BOXES, MASKS, parsers_of

RESIZE = (97, 131)
PLAIN = Augmentation(resize=RESIZE, mirror=False)


@pytest.fixture
def dataset(cells: Path) -> Dataset:
    return open_dataset(str(cells), parsers_of([BOXES, MASKS]))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_pictures_are_resized_as_in_prediction(dataset: Dataset, name: str) -> None:
    conventions = CONVENTIONS[name]
    pictures = TrainingPictures(dataset, PLAIN, [BOXES, MASKS], 0, conventions=conventions)
    for i in range(len(dataset)):
        picture, sample = dataset.image(i), pictures[Place(i, i)]
        size = (picture.shape[1], picture.shape[2])
        wanted = resize_image(picture, shown_size(size, RESIZE, conventions), conventions)
        assert sample.image.shape == wanted.shape
        assert sample.image.dtype == torch.uint8
        assert float((sample.image - wanted.float()).abs().max()) <= 0.5001
        scale = torch.tensor([wanted.shape[2] / size[1], wanted.shape[1] / size[0]]).repeat(2)
        regions = dataset.regions(i)
        assert len(sample.regions) <= len(regions)
        apart = torch.cdist(sample.regions.boxes, regions.boxes * scale, p=torch.inf)
        assert float(apart.amin(1).max()) < 1e-3


def test_conventions_make_a_difference(dataset: Dataset) -> None:
    first, second = (
        TrainingPictures(dataset, PLAIN, [BOXES, MASKS], 0, conventions=CONVENTIONS[name])[Place(0, 0)].image
        for name in ("torchvision", "detectron2")
    )
    assert first.shape != second.shape or not torch.equal(first, second)


def test_a_random_scale_comes_on_top(dataset: Dataset) -> None:
    doubled = Augmentation(resize=RESIZE, mirror=False, scale=(2.0, 2.0))
    sample = TrainingPictures(dataset, doubled, [BOXES, MASKS], 0, conventions=CONVENTIONS["torchvision"])[Place(0, 0)]
    shown = shown_size(tuple(dataset.image(0).shape[1:]), RESIZE, CONVENTIONS["torchvision"])
    assert tuple(sample.image.shape[1:]) == (2 * shown[0], 2 * shown[1])
