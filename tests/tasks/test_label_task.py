"""The one word for a picture: its head, its place in the network, its drawing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segue.data.records import Dataset, Record
from segue.data.transforms import Augmentation
from segue.engine.loader import Collate, Place, TrainingPictures
from segue.engine.output import scene_entry
from segue.engine.picture import draw as draw_all
from segue.models.batch import Batch
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings, RegionSettings
from segue.nn.conventions import CONVENTIONS
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Regions, Scene
from segue.tasks import BOXES, LABEL
from segue.tasks.label import LabelHead, LabelSettings

CATEGORIES = Categories.from_names(["mug", "car", "cone"])
SETTINGS = NetworkSettings(
    backbone=BackboneSettings(depth=18, width=8),
    pyramid=PyramidSettings(channels=16),
    proposals=ProposalSettings(pre_nms=20, post_nms=20, pre_nms_train=20),
    regions=RegionSettings(samples=8),
    tasks={"boxes": {"channels": 16}, "label": {"channels": 8}},
)


def head() -> LabelHead:
    torch.manual_seed(0)
    return LabelHead(4, CATEGORIES, LabelSettings(channels=8))


def network(with_label: bool = True) -> RegionNetwork:
    torch.manual_seed(0)
    tasks = [BOXES, LABEL] if with_label else [BOXES]
    return RegionNetwork(SETTINGS, CATEGORIES, tasks).eval()


def batch(labels: Tensor | None, count: int = 2) -> Batch:
    torch.manual_seed(1)
    sizes = torch.tensor([[64, 64], [48, 64]])[:count]
    regions = Regions(torch.tensor([[4.0, 4.0, 40.0, 40.0]]).repeat(count, 1), torch.zeros(count, dtype=torch.int64))
    images = torch.randn(count, 3, 64, 64)
    return Batch(images, sizes, regions, torch.arange(count), ["x.png"] * count, labels=labels)


# --- the head ----------------------------------------------------------------------------------------------------


def test_the_default_head_is_small() -> None:
    made = LabelHead(64, Categories.from_names(list("abcdefghijklm")), LabelSettings())
    assert sum(parameter.numel() for parameter in made.parameters()) < 120_000


def test_the_loss_is_the_mean_over_labelled_pictures() -> None:
    raw = torch.randn(4, 3, requires_grad=True)
    loss = head().losses(raw, torch.tensor([2, -1, 0, -1]))["label"]
    expected = -(raw.log_softmax(1)[0, 2] + raw.log_softmax(1)[2, 0]) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert raw.grad is not None
    assert raw.grad.abs().sum(1).gt(0).tolist() == [True, False, True, False]


def test_without_labels_the_loss_is_zero_and_every_weight_has_a_gradient() -> None:
    made = head()
    loss = made.losses(made(torch.randn(2, 4, 14, 14)), torch.tensor([-1, -1]))["label"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in made.parameters())


def test_the_likeliest_class_is_told() -> None:
    assert head().decode(torch.tensor([0.1, 3.0, -2.0])) == "car"


def test_a_head_learns_which_thing_is_larger() -> None:
    """One square per channel, class and size drawn at random: the label is the channel of the larger one."""
    generator = torch.Generator().manual_seed(0)
    rois, labels = torch.zeros(300, 2, 14, 14), torch.randint(2, (300,), generator=generator)
    for picture, label in zip(rois, labels.tolist(), strict=True):
        for channel, side in ((label, 8), (1 - label, 4)):
            x, y = torch.randint(14 - side, (2,), generator=generator).tolist()
            picture[channel, y : y + side, x : x + side] = 1
    torch.manual_seed(0)
    made = LabelHead(2, Categories.from_names(["a", "b"]), LabelSettings(channels=8, dropout=0))
    optimizer = torch.optim.Adam(made.parameters(), 0.02)
    for _ in range(60):
        loss = made.losses(made(rois[:200]), labels[:200])["label"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((made(rois[200:]).argmax(1) == labels[200:]).float().mean()) > 0.95


# --- in the network ----------------------------------------------------------------------------------------------


def test_the_head_reads_the_whole_picture_and_not_its_padding() -> None:
    net = network()
    levels = [torch.randn(2, 16, 64 // s, 64 // s) for s in net.trunk.strides]
    sizes = torch.tensor([[64, 64], [32, 32]])
    raw = net.read_images(levels, sizes, ["label"])["label"]
    boxes = torch.tensor([[0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 32.0, 32.0]])
    rois = net.pool(levels, boxes, torch.tensor([0, 1]), 14)
    torch.testing.assert_close(raw, net.image_heads["label"](rois))
    for level, stride in zip(levels, net.trunk.strides, strict=True):
        level[1, :, 32 // stride + 1 :] = 9
    torch.testing.assert_close(net.read_images(levels, sizes, ["label"])["label"], raw)
    assert net.read_images(levels, sizes, []) == {}


def test_labels_reach_the_loss() -> None:
    net, labels = network(), torch.tensor([1, -1])
    given = batch(labels)
    loss = net(given)["label"]
    raw = net.read_images(net.trunk(given.images), given.sizes, ["label"])["label"]
    torch.testing.assert_close(loss, F.cross_entropy(raw[:1], labels[:1]))
    assert float(net(batch(None))["label"].detach()) == 0
    moved = given.to(torch.device("cpu"), channels_last=True)
    assert torch.equal(moved.labels, labels)


def test_a_frozen_head_has_no_loss() -> None:
    net = network()
    net.image_heads.requires_grad_(False)
    assert "label" not in net(batch(torch.tensor([0, 1])))


def test_a_network_without_the_task_is_as_it_was() -> None:
    net = network(with_label=False)
    assert not [name for name in net.state_dict() if name.startswith("image_heads")]
    assert {"label"} == network()(batch(None)).keys() - net(batch(None)).keys()


def test_every_change_of_a_picture_keeps_its_label() -> None:
    stuff_last = Categories((*CATEGORIES, replace(CATEGORIES[0], name="sky", id=9, isthing=False, color=(9, 9, 9))))
    records = [Record(None, (40, 50), i, {}) for i in range(3)]  # type: ignore[arg-type]
    dataset = Dataset("three", stuff_last, records, [[]] * 3, {}, labels=["cone", None, "mug"])
    dataset.image = lambda index: torch.zeros(3, 40, 50, dtype=torch.uint8)  # type: ignore[method-assign]
    every = Augmentation(crop=32, scale=(0.5, 2.0), mirror=True, mirror_vertical=True, quarter_turns=True)
    pictures = TrainingPictures(dataset, every, [BOXES], 0)
    samples = [pictures[Place(number, number % 3)] for number in range(9)]
    made = Collate(CONVENTIONS["segue"], 32)(samples)
    assert isinstance(made, Batch)
    assert made.labels.tolist() == [2, -1, 0] * 3


# --- in files and pictures ---------------------------------------------------------------------------------------


def scene(label: str | None) -> Scene:
    return Scene((40, 60), CATEGORIES, Regions.empty(), label=label, file="a.png")


def test_the_label_is_in_the_file_where_the_task_is() -> None:
    assert scene_entry(scene("mug"), [LABEL], "a.png")["label"] == "mug"
    assert "label" not in scene_entry(scene("mug"), [BOXES], "a.png")
    assert "label" not in scene_entry(scene(None), [LABEL], "a.png")


@pytest.mark.parametrize("label", ["mug", "unicorn", "<b>a word that is much longer than the picture</b>", "\n"])
def test_the_label_is_drawn_in_the_lower_left_corner(label: str) -> None:
    plain = Image.new("RGB", (60, 40), (250, 250, 250))
    changed = np.array(draw_all(scene(label), plain)) != np.array(plain)
    assert changed[-1, 0].any() == bool(label.strip())
    assert not changed[:20].any()
    if label == "mug":
        assert draw_all(scene(label), plain).getpixel((0, 39)) == CATEGORIES[0].color
        assert not changed[:, 40:].any()


def test_a_picture_too_small_for_the_letters_stays_as_it_is() -> None:
    tiny = Image.new("RGB", (5, 4), (9, 9, 9))
    drawn = LABEL.draw(tiny, Scene((4, 5), CATEGORIES, Regions.empty(), label="mug"))
    assert drawn.tobytes() == tiny.tobytes()


@pytest.mark.parametrize("values", [{"channels": 0}, {"convolutions": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LabelSettings(**values)  # type: ignore[arg-type]
