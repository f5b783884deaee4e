"""The form for inference against the network as it was trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import segue
from segue.data.cells import make_cells
from segue.data.images import to_tensor
from segue.data.toybox import render
from segue.engine.load import load_trained
from segue.errors import UsageError
from segue.models import inference
from segue.models.inference import number_format, optimise
from segue.nn.conventions import CONVENTIONS
from segue.nn.dense import ARCHITECTURES, Architecture
from segue.nn.fpn import PyramidSettings
from segue.nn.fused import FusedBlock, FusedConv
from segue.nn.resnet import BackboneSettings
from segue.nn.trunk import Trunk
from segue.ops import box_iou

BACKBONES = [
    BackboneSettings(depth=18, width=8),
    BackboneSettings(depth=50, width=8, norm="frozen"),
    BackboneSettings(depth=50, width=8, norm="group", stem_pool=False),
    BackboneSettings(depth=50, width=8, groups=2, group_width=8),
]


def stirred(network: nn.Module) -> nn.Module:
    """A network in use whose norms do something."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("settings", BACKBONES, ids=str)
@pytest.mark.parametrize("conventions", ["segue", "detectron2"])
@torch.no_grad()
def test_trunks_compute_the_same(settings: BackboneSettings, conventions: str) -> None:
    pyramid = PyramidSettings(channels=16, norm="batch", colours=True)
    trunk = stirred(Trunk(settings, pyramid, CONVENTIONS[conventions]))  # type: ignore[index]
    quick = copy.deepcopy(trunk)
    optimise(quick)
    x = torch.randn(2, 3, 64, 96)
    for level, other in zip(quick(x), trunk(x), strict=True):
        assert (level - other).abs().max() <= 3e-4 * other.abs().max()  # random weights make much of rounding
    kinds = [type(module) for module in quick.modules()]
    assert nn.Conv2d not in kinds
    assert (FusedBlock in kinds) == (settings.norm != "group")
    assert nn.BatchNorm2d not in kinds


@pytest.mark.parametrize("kind", ARCHITECTURES, ids=lambda kind: kind.name)
@torch.no_grad()
def test_networks_that_score_pixels_compute_the_same(kind: Architecture) -> None:
    network = stirred(kind.build(3, kind.settings()))
    quick = copy.deepcopy(network)
    optimise(quick)
    side = max(64, network.stride)
    x = torch.randn(1, 3, side, side)
    expected: Tensor = network(x)
    apart = (quick(x) - expected).abs() / expected.abs().max()
    assert (apart <= 1e-4).float().mean() >= 0.99  # of two nearly equal maxima that are pooled, rounding picks one


PICTURES = {"toybox": lambda: to_tensor(render(5_000_003, (256, 256)).image), "nuclei": lambda: make_cells(0)[0]}


@pytest.fixture(params=PICTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def picture(name: str) -> Tensor:
    return PICTURES[name]()


def test_exact_is_what_the_trained_network_says(name: str, picture: Tensor) -> None:
    found, expected = segue.load(name, "cpu").predict(picture), load_trained(name).predict(picture)
    a, b = found.regions, expected.regions
    assert len(a) == len(b)
    torch.testing.assert_close(a.boxes, b.boxes, atol=1e-2, rtol=0)
    torch.testing.assert_close(a.scores, b.scores, atol=1e-4, rtol=0)
    assert a.captions == b.captions
    assert found.label == expected.label


def test_fast_finds_nearly_the_same(name: str, picture: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "multiplies_bfloat16", lambda: True)  # slowly, where the processor does not
    model = segue.load(name, "cpu", "fast")
    assert {m.weight.dtype for m in model.network.modules() if isinstance(m, FusedConv)} == {torch.bfloat16}
    sure = segue.load(name, "cpu").predict(picture, threshold=0.9)
    found = model.predict(picture, threshold=0.5)
    assert len(sure.regions) >= 3
    assert (box_iou(sure.regions.boxes, found.regions.boxes).max(1).values > 0.8).all()


def test_fast_finds_nothing_where_nothing_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "multiplies_bfloat16", lambda: True)
    scene = segue.load(name, "cpu", "fast").predict(torch.full((3, 64, 64), 20, dtype=torch.uint8), threshold=0.99)
    assert len(scene.regions) == 0


def test_without_bfloat16_fast_is_exact_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "multiplies_bfloat16", lambda: False)
    with pytest.warns(UserWarning, match="fast is exact here"):
        assert number_format("fast", torch.device("cpu")) == torch.float32


def test_another_speed_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--speed.*no speed 'slow'.*exact or fast"):
        segue.load("nuclei", speed="slow")  # type: ignore[arg-type]
