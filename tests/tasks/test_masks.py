import pytest
import torch

from segue.nn.conventions import DETECTRON2, SEGUE, TORCHVISION, Conventions
from segue.structures import Categories, Masks, Regions
from segue.tasks.masks import MASKS, MaskHead, MaskSettings, parse, to_json
from segue.tasks.task import Sampled

CATEGORIES = Categories.from_names(["mug", "chair"])


def disc(size: int, x: float, y: float, radius: float) -> torch.Tensor:
    grid = torch.arange(size) + 0.5
    return (grid[None] - x) ** 2 + (grid[:, None] - y) ** 2 <= radius**2


def head_of(conventions: Conventions) -> MaskHead:
    return MaskHead(4, CATEGORIES, conventions, MaskSettings(channels=8, convolutions=1))


@pytest.mark.parametrize("conventions", [SEGUE, TORCHVISION, DETECTRON2])
def test_shapes(conventions: Conventions) -> None:
    head = head_of(conventions)
    assert head.logits.out_channels == (3 if conventions is TORCHVISION else 2)
    assert head(torch.randn(3, 4, 14, 14)).shape == (3, 2, 28, 28)


def test_loss_sees_only_the_true_class_of_regions_with_an_object() -> None:
    head, masks = head_of(SEGUE), Masks.from_dense(disc(64, 30, 30, 20)[None])
    truth = Regions(torch.tensor([[10.0, 10, 50, 50]]), torch.tensor([1]), masks=masks)
    regions = Sampled(
        boxes=torch.tensor([[10.0, 10, 50, 50], [0, 0, 5, 5]]),
        labels=torch.tensor([1, 0]),
        matched=torch.tensor([0, 0]),
        positive=torch.tensor([True, False]),
        valid=torch.tensor([True, True]),
    )
    goal = disc(28, 14, 14, 14)
    raw = torch.randn(2, 2, 28, 28) * 50  # nonsense everywhere but in the true class
    raw[0, 1] = torch.where(goal, 30.0, -30.0)
    loss = float(head.losses(raw, regions, truth)["masks"])
    assert loss < 30 * 0.06  # only cells that the contour crosses may differ
    raw[0, 1] *= -1
    assert float(head.losses(raw, regions, truth)["masks"]) > 20


def test_loss_without_any_object_is_zero_and_differentiable() -> None:
    head = head_of(SEGUE)
    no = torch.zeros(2, dtype=torch.bool)
    regions = Sampled(torch.zeros(2, 4), torch.zeros(2).long(), torch.zeros(2).long(), no, no)
    loss = head.losses(head(torch.randn(2, 4, 14, 14)), regions, Regions.empty())["masks"]
    loss.backward()
    assert float(loss.detach()) == 0


@pytest.mark.parametrize("conventions", [SEGUE, TORCHVISION])
def test_decode_gives_back_the_shape_that_the_logits_say(conventions: Conventions) -> None:
    raw = torch.full((1, 2, 28, 28), -9.0)
    raw[0, 1] = torch.where(disc(28, 14, 14, 14), 9.0, -9.0)
    regions = Regions(torch.tensor([[20.0, 30, 76, 86]]), torch.tensor([1]), torch.tensor([0.9]))
    masks = head_of(conventions).decode(raw, regions, (100, 120))
    assert isinstance(masks, Masks)
    wanted = torch.zeros(100, 120, dtype=torch.bool)
    wanted[:100, :100] = disc(100, 48, 58, 28)[:100, :100]
    got = masks[0]
    assert int((got & wanted).sum()) / int((got | wanted).sum()) > 0.95


def test_decode_of_no_detection_is_empty() -> None:
    masks = head_of(SEGUE).decode(torch.zeros(0, 2, 28, 28), Regions.empty(), (10, 12))
    assert isinstance(masks, Masks)
    assert masks.dense().shape == (0, 10, 12)


def test_json_round_trip() -> None:
    masks = Masks.from_dense(torch.stack([disc(40, 12, 12, 9), disc(40, 25, 20, 5)]))
    regions = Regions(torch.rand(2, 4), torch.zeros(2).long(), masks=masks)
    again = parse(to_json(regions), (40, 40))
    assert again is not None
    assert torch.equal(again.dense(), masks.dense())


def test_annotations_without_masks_give_none() -> None:
    assert parse([{"bbox": [0, 0, 1, 1]}], (4, 4)) is None
    assert MASKS.name == "masks"
