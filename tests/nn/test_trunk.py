import pytest
import torch

from segue.nn.conventions import DETECTRON2, SEGUE, TORCHVISION
from segue.nn.fpn import PyramidSettings
from segue.nn.norm import FrozenBatchNorm
from segue.nn.resnet import BackboneSettings, ResNet
from segue.nn.trunk import Trunk

PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}  # with the 1000-way classifier


@pytest.mark.parametrize(("depth", "published"), PUBLISHED.items())
def test_parameters_equal_the_published_networks(depth: int, published: int) -> None:
    network = ResNet(BackboneSettings(depth=depth))  # type: ignore[arg-type]
    features = 512 if depth < 50 else 2048
    assert sum(p.numel() for p in network.parameters()) == published - (features + 1) * 1000


def test_resnext_has_as_many_parameters_as_published() -> None:
    network = ResNet(BackboneSettings(depth=101, groups=32, group_width=8))
    assert sum(p.numel() for p in network.parameters()) == 88_791_336 - (2048 + 1) * 1000
    assert network.channels == [256, 512, 1024, 2048]


def test_groups_of_a_convolution_do_not_see_each_other() -> None:
    block = ResNet(BackboneSettings(depth=50, width=8, groups=4, group_width=6)).stages[0][0]
    assert block.conv2.weight.shape == (24, 6, 3, 3)
    x = torch.randn(1, 24, 5, 5)
    changed = x.clone()
    changed[:, 6:12] += 1
    differs = (block.conv2(x) != block.conv2(changed)).any(0).flatten(1).any(1)
    assert differs.tolist() == [False] * 6 + [True] * 6 + [False] * 12


@pytest.mark.parametrize("wrong", [{"groups": 0}, {"groups": 3}, {"group_width": -1}, {"depth": 18, "groups": 2}])
def test_impossible_groups_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="group"):
        BackboneSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("stem_pool", [True, False])
def test_maps_have_the_stated_channels_and_strides(stem_pool: bool) -> None:
    trunk = Trunk(BackboneSettings(depth=18, width=8, stem_pool=stem_pool), PyramidSettings(channels=16), SEGUE)
    levels = trunk(torch.zeros(2, 3, 64, 96))
    assert len(levels) == len(trunk.strides) == 5
    for level, stride in zip(levels, trunk.strides, strict=True):
        assert level.shape == (2, 16, -(-64 // stride), -(-96 // stride))


def test_stride_placement_changes_the_function_but_not_the_weights() -> None:
    settings = BackboneSettings(depth=50, width=8, norm="frozen")
    ours, theirs = (ResNet(settings, c.stride_in_1x1).eval() for c in (TORCHVISION, DETECTRON2))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 64, 64)
    a, b = ours(x), theirs(x)
    assert torch.equal(a[0], b[0])
    assert a[1].shape == b[1].shape
    assert not torch.allclose(a[1], b[1])


def test_frozen_norm_is_batch_norm_with_fixed_statistics() -> None:
    torch.manual_seed(0)
    trained = torch.nn.BatchNorm2d(6, eps=1e-3).eval()
    for tensor in (trained.weight, trained.bias, trained.running_mean):
        torch.nn.init.normal_(tensor)  # type: ignore[arg-type]
    trained.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    frozen = FrozenBatchNorm(6, eps=1e-3)
    frozen.load_state_dict({k: v for k, v in trained.state_dict().items() if k != "num_batches_tracked"})
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(frozen(x), trained(x))
    assert not list(frozen.parameters())


def test_frozen_parts_get_no_gradient_and_keep_their_statistics() -> None:
    network = ResNet(BackboneSettings(depth=18, width=8, freeze=2)).train()
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    sum(m.sum() for m in network(torch.randn(2, 3, 64, 64))).backward()
    assert network.stem[0].weight.grad is None
    assert next(network.stages[0].parameters()).grad is None
    assert next(network.stages[1].parameters()).grad is not None
    changed = {name[:8] for name, tensor in network.named_buffers() if not torch.equal(tensor, before[name])}
    assert changed == {"stages.1", "stages.2", "stages.3"}


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_every_norm_trains(norm: str) -> None:
    network = ResNet(BackboneSettings(depth=18, width=8, norm=norm))  # type: ignore[arg-type]
    maps = network(torch.randn(2, 3, 64, 64))
    assert all(bool(m.isfinite().all()) for m in maps)


def test_cells_have_the_mean_colour_of_their_pixels() -> None:
    torch.manual_seed(0)
    trunk = Trunk(BackboneSettings(depth=18, width=8), PyramidSettings(channels=6, colours=True), SEGUE).eval()
    images = torch.randn(2, 3, 64, 128)
    levels = trunk(images)
    assert trunk.channels == 9
    for level, stride in zip(levels, trunk.strides, strict=True):
        cells = images.view(2, 3, 64 // stride, stride, 128 // stride, stride)
        torch.testing.assert_close(level[:, 6:], cells.mean((3, 5)))
    plain = Trunk(BackboneSettings(depth=18, width=8), PyramidSettings(channels=6), SEGUE).eval()
    plain.load_state_dict(trunk.state_dict())
    for level, other in zip(levels, plain(images), strict=True):
        assert torch.equal(level[:, :6], other)
