"""Dilation in place of stride, and torchvision's heads."""

from typing import Any

import pytest
import torch
from torch import nn

from segue.nn.dense.dilated import DeepLabV3, DeepLabV3Settings, DilatedSettings, FCNDilated
from segue.nn.dense.layers import PointBatchNorm
from segue.nn.resnet import BackboneSettings, ResNet


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_every_second_cell_of_a_dilated_stage_is_the_strided_stage(depth: Any, stride_in_1x1: bool) -> None:
    torch.manual_seed(0)
    settings = BackboneSettings(depth=depth, width=4)
    strided = ResNet(settings, stride_in_1x1).eval()
    dilated = ResNet(settings, stride_in_1x1, dilated=2).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 128, 160)
    coarse, fine = strided(x), dilated(x)
    assert [m.shape[-1] for m in fine] == [160 // s for s in dilated.strides] == [40, 20, 20, 20]
    for a, b, step in zip(coarse, fine, (1, 1, 2, 4), strict=True):
        torch.testing.assert_close(b[..., ::step, ::step], a, rtol=1e-4, atol=1e-4)


def test_dilations_are_torchvisions() -> None:
    with torch.device("meta"):
        network = ResNet(BackboneSettings(depth=50), dilated=2)
    rates = [[block.conv2.dilation[0] for block in stage] for stage in network.stages]  # type: ignore[union-attr]
    assert rates == [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [2, 4, 4]]


def test_heads_have_torchvisions_names() -> None:
    with torch.device("meta"):
        deeplab, fcn = DeepLabV3(21, DeepLabV3Settings()), FCNDilated(21, DilatedSettings())
    convolutions = {
        name: tuple(m.weight.shape) for name, m in deeplab.classifier.named_modules() if isinstance(m, nn.Conv2d)
    }
    assert convolutions == {
        "0.convs.0.0": (256, 2048, 1, 1),
        "0.convs.1.0": (256, 2048, 3, 3),
        "0.convs.2.0": (256, 2048, 3, 3),
        "0.convs.3.0": (256, 2048, 3, 3),
        "0.convs.4.1": (256, 2048, 1, 1),
        "0.project.0": (256, 1280, 1, 1),
        "1": (256, 256, 3, 3),
        "4": (21, 256, 1, 1),
    }
    assert [deeplab.classifier[0].convs[i][0].dilation for i in (1, 2, 3)] == [(12, 12), (24, 24), (36, 36)]  # type: ignore[index,union-attr]
    assert {name for name, _ in fcn.classifier.named_parameters()} == {
        "0.weight", "1.weight", "1.bias", "4.weight", "4.bias",
    }  # fmt: skip
    assert fcn.aux_classifier is not None
    assert fcn.aux_classifier[0].weight.shape == (256, 1024, 3, 3)


def test_training_looks_at_the_auxiliary_head_only_where_there_is_one() -> None:
    images = torch.randn(2, 3, 40, 56)
    for weight, weights in (0.5, [1.0, 0.5]), (0.0, [1.0]):
        network = FCNDilated(4, DilatedSettings(depth=18, width=4, auxiliary=weight)).eval()
        outputs = network.training_logits(images)
        assert [w for _, w in outputs] == weights
        assert all(scores.shape == (2, 4, 40, 56) for scores, _ in outputs)
        assert torch.equal(outputs[0][0], network(images))


def test_a_lone_value_is_normalised_by_the_running_averages() -> None:
    norm = PointBatchNorm(4).train()
    norm.running_mean.fill_(2.0)  # type: ignore[union-attr]
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = torch.randn(1, 4, 1, 1)
    torch.testing.assert_close(norm(x), (x - 2) / (1 + norm.eps) ** 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_more_values_are_normalised_as_by_every_batch_norm() -> None:
    ours, theirs, x = PointBatchNorm(4).train(), nn.BatchNorm2d(4).train(), torch.randn(2, 4, 1, 1)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean)  # type: ignore[arg-type]
