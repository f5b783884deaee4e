"""Training the label head of a frozen network on features that are computed once."""

import sys
from pathlib import Path

import pytest
import torch

import segue
from segue.data.dataset import open_dataset
from segue.data.toybox.categories import TOYBOX
from segue.data.toybox.write import Order, write_toybox
from segue.engine.recipe import to_plain
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings
from segue.models.weights import ModelFile, read_model, write_model
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.tasks import BOXES, LABEL
from tools import train_heads


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Boxes of Toybox's things with random weights; it has no label head."""
    torch.manual_seed(0)
    settings = NetworkSettings(
        backbone=BackboneSettings(depth=18, width=8),
        pyramid=PyramidSettings(channels=16),
        proposals=ProposalSettings(pre_nms=20, post_nms=20),
        tasks={"boxes": {"channels": 16}},
    )
    network = RegionNetwork(settings, TOYBOX, [BOXES])
    path = tmp_path / "boxes.safetensors"
    write_model(path, ModelFile("boxes", to_plain(settings), TOYBOX.to_json(), None, network.state_dict()))
    return path


def test_a_label_head_is_added_and_nothing_else_changes(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toybox(tmp_path / "toys", Order(train=3, val=0, size=64))
    command = ["train_heads.py", str(model), "--heads", "label", "--data", f"{tmp_path / 'toys'}:train"]
    options = ["--set", "label.channels=8", "--steps", "2", "--views", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*command, *options])
    train_heads.main()
    before, after = read_model(model).state, read_model(tmp_path / "out/best.safetensors").state
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"label"}
    trained = segue.load(tmp_path / "out/best.safetensors", device="cpu")
    scene = trained.predict(tmp_path / "toys/images/train/000001.png")
    assert scene.label in TOYBOX.names[:13]


def test_with_colours_no_head_changes_what_it_says(model: Path, tmp_path: Path) -> None:
    settings = ["pyramid.colours=true"]
    wider = train_heads.frozen(train_heads.changed(read_model(model), [], settings), model)
    before = train_heads.frozen(read_model(model), model)
    assert wider.network.trunk.channels == before.network.trunk.channels + 3
    x, _ = before.inputs([torch.randint(256, (3, 64, 96), dtype=torch.uint8)])
    boxes = torch.tensor([[3.0, 4.0, 50.0, 60.0], [20.0, 0.0, 96.0, 30.0]])
    said = []
    for network in (before.network, wider.network):
        levels, head = network.trunk(x), network.heads["boxes"]
        raw = network.rpn(levels, (64, 96))
        said.append([raw.logits, raw.deltas, *head(network.pool(levels, boxes, torch.zeros(2).long(), 7))])
    for a, b in zip(*said, strict=True):
        torch.testing.assert_close(a, b)
    assert float(said[0][2].std()) > 0


def test_the_features_are_those_that_the_network_reads(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pictures as they are, in the order of the set; those without a label are left out."""
    write_toybox(tmp_path / "toys", Order(train=3, val=0, size=64))
    dataset = open_dataset(f"{tmp_path / 'toys'}:train", {"boxes": BOXES.parse}, labels=True)
    assert dataset.labels is not None
    dataset.labels = [None, *dataset.labels[1:]]
    monkeypatch.setattr(train_heads, "WHOLE", train_heads.Augmentation(mirror=False))
    predictor = train_heads.frozen(train_heads.changed(read_model(model), ["label"], []), model)
    seen = train_heads.glance(predictor, LABEL, dataset, views=2)
    assert [TOYBOX.names[i] for i in seen.labels.tolist()] == [*dataset.labels[1:]] * 2
    x, sizes = predictor.inputs([dataset.image(2)])
    head = predictor.network.image_heads["label"]
    expected = predictor.network.read_images(predictor.network.trunk(x), sizes, ["label"])["label"]
    torch.testing.assert_close(head(seen.features[[1, 3]].float()), expected.expand(2, -1), atol=1e-2, rtol=0.1)
