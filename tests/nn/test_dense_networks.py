"""What every network that scores pixels must do, and what is particular to DeconvNet, SegNet and FC-DenseNet."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.deconvnet import DeconvNet, DeconvNetSettings
from segue.nn.dense.dilated import DeepLabV3, DeepLabV3Settings, DilatedSettings, FCNDilated
from segue.nn.dense.fc_densenet import FCDenseNet, FCDenseNetSettings, centre_crop
from segue.nn.dense.fcn import FCN, FCNSettings
from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.segnet import SegNet, SegNetSettings
from segue.nn.vgg import VGG, MirroredVGG

CLASSES = 3


@dataclass
class Case:
    kind: type[Any]
    settings: Any

    def build(self) -> DenseNetwork:
        """The network, without dropout, and with scores that are not zero."""
        torch.manual_seed(0)
        network: DenseNetwork = self.kind(CLASSES, self.settings)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.Conv2d) and not module.weight.any():
                nn.init.normal_(module.weight)
        return network


CASES = {
    "fcn32": Case(FCN, FCNSettings(stride=32, width=1)),
    "fcn8": Case(FCN, FCNSettings(stride=8, width=1)),
    "fcn16-same": Case(FCN, FCNSettings(stride=16, width=2, padding="same", norm="batch", upsampling="learned")),
    "fcn8-resnet": Case(FCN, FCNSettings(trunk="resnet18", stride=8, width=4)),
    "deconvnet": Case(DeconvNet, DeconvNetSettings(width=1, fc_kernel=3)),
    "segnet": Case(SegNet, SegNetSettings(width=2)),
    "fc_densenet": Case(FCDenseNet, FCDenseNetSettings(layers=(1, 2, 3, 2, 1), growth=2, first=4)),
    "fcn_dilated": Case(FCNDilated, DilatedSettings(depth=18, width=4)),
    "deeplabv3": Case(DeepLabV3, DeepLabV3Settings(depth=18, width=4, rates=(1, 2))),
}
every_network = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_network
@pytest.mark.parametrize("size", [(64, 96), (45, 67), (33, 31), (9, 130)])
def test_every_pixel_gets_its_scores(case: Case, size: tuple[int, int]) -> None:
    network = case.build().eval()
    assert network.stride == 1
    with torch.no_grad():
        scores = network(torch.randn(2, 3, *size))
    assert scores.shape == (2, CLASSES, *size)
    assert bool(scores.isfinite().all())


@every_network
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_reach_every_trained_parameter(case: Case, precision: torch.dtype) -> None:
    network = case.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 72, 80).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs = network.training_logits(images)
    assert all(bool(scores.isfinite().all()) for scores, _ in outputs)
    weighted = [weight * (scores.float() * torch.randn_like(scores.float())).sum() for scores, weight in outputs]
    torch.stack(weighted).sum().backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert silent == []


@every_network
def test_a_batch_of_one_trains(case: Case) -> None:
    scores = case.build().train()(torch.randn(1, 3, 96, 96))
    assert bool(scores.isfinite().all())


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("kind", "settings", "classes", "millions", "within"),
    [
        (FCN, FCNSettings(stride=32), 21, 134, 0.5),
        (DeconvNet, DeconvNetSettings(), 21, 252, 0.5),
        (SegNet, SegNetSettings(), 11, 29.5, 0.06),
        (FCDenseNet, FCDenseNetSettings(depth=56), 11, 1.377, 5e-4),
        (FCDenseNet, FCDenseNetSettings(depth=67), 11, 3.463, 5e-4),
        (FCDenseNet, FCDenseNetSettings(depth=103), 11, 9.322, 5e-4),
        (FCNDilated, DilatedSettings(depth=50), 21, 35.322218, 0),
        (DeepLabV3, DeepLabV3Settings(depth=50), 21, 42.004074, 0),
        (DeepLabV3, DeepLabV3Settings(depth=101), 21, 60.996202, 0),
    ],
)
def test_parameters_equal_the_published_networks(
    kind: type[Any], settings: Any, classes: int, millions: float, within: float
) -> None:
    with torch.device("meta"):  # shapes without memory
        network = kind(classes, settings)
    assert abs(parameters(network) / 1e6 - millions) <= within


def test_unpooling_puts_every_maximum_back_where_it_stood() -> None:
    torch.manual_seed(0)
    vgg, mirror = VGG(width=2), MirroredVGG(2, transposed=False)
    before: list[Tensor] = []  # what each stage gives to its pooling
    after: list[Tensor] = []  # what each unpooling gives to its stage
    for stage in vgg.stages:
        stage.register_forward_hook(lambda _, __, output: before.append(output))
    for stage in mirror.stages:
        stage.register_forward_pre_hook(lambda _, inputs: after.append(inputs[0]))
    pools = vgg.pooled(torch.rand(1, 3, 45, 50))
    mirror(pools[-1].values, pools)
    assert [x.shape[-2:] for x in after] == [x.shape[-2:] for x in reversed(before)]
    assert after[-1].shape[-2:] == (45, 50)
    placed = after[0] != 0
    assert torch.equal(after[0][placed], before[-1][placed])
    assert torch.equal(F.max_pool2d(after[0], 2, ceil_mode=True), pools[-1].values)
    assert pools[-1].values.any()


def test_segnet_pools_its_published_picture_to_the_published_sizes() -> None:
    pools = VGG(width=1).pooled(torch.zeros(1, 3, 360, 480))
    assert [p.values.shape[-2:] for p in pools] == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]


@pytest.mark.parametrize(("side", "inner"), [(224, 1), (256, 2)])
def test_deconvnet_sees_its_published_picture_as_one_vector(side: int, inner: int) -> None:
    network = DeconvNet(CLASSES, DeconvNetSettings(width=1)).eval()
    seen: list[Tensor] = []
    network.inner[3].register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        scores = network(torch.randn(1, 3, side, side))
    assert seen[0].shape[-2:] == (inner, inner)
    assert scores.shape[-2:] == (side, side)


def test_fc_densenet_103_stacks_what_its_paper_says() -> None:
    with torch.device("meta"):
        network = FCDenseNet(11, FCDenseNetSettings(depth=103))
    blocks = [*network.down, network.bottom, *network.up]
    assert [b.width for b in blocks] == [112, 192, 304, 464, 656, 896, 1088, 816, 576, 384, 256]
    assert network.score.in_channels == 256


@pytest.mark.parametrize("depth", [56, 67, 103])
def test_fc_densenets_have_as_many_convolutions_as_their_names_say(depth: Any) -> None:
    with torch.device("meta"):
        network = FCDenseNet(11, FCDenseNetSettings(depth=depth))
    assert sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in network.modules()) == depth


def test_fc_densenet_refuses_blocks_that_do_not_mirror() -> None:
    with pytest.raises(ValueError, match="odd"):
        FCDenseNetSettings(layers=(2, 3))


def test_a_centre_crop_is_the_middle() -> None:
    x = torch.arange(5.0).expand(1, 1, 5, 5)
    assert centre_crop(x, (5, 3))[0, 0].tolist() == [[1, 2, 3]] * 5
    assert centre_crop(x, (4, 4))[0, 0, 0].tolist() == [0, 1, 2, 3]
