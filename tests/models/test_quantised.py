"""Layers in 8 bits against the same in 32, and whose pictures decide on their scales."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import segue
from segue.cli import main
from segue.data.cells import make_cells, write_cells
from segue.data.images import to_pil, to_tensor
from segue.data.toybox import render
from segue.engine import calibrate as calibrating
from segue.engine.calibrate import calibration_pictures, to_int8
from segue.errors import ImageError, UsageError
from segue.models.inference import multiplies_int8, optimise
from segue.models.quantised import calibrate, quantise
from segue.nn.conventions import CONVENTIONS
from segue.nn.dense import ARCHITECTURES, Architecture
from segue.nn.fpn import PyramidSettings
from segue.nn.fused import FusedConv
from segue.nn.quantised import QuantisedBlock, QuantisedConv, Scale
from segue.nn.resnet import BackboneSettings
from segue.nn.trunk import Trunk
from segue.ops import box_iou

pytestmark = pytest.mark.skipif(
    not multiplies_int8(), reason="this processor, or this torch, does not multiply 8-bit integers"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [Scale(0.02, 0), Scale(0.05, 128), Scale(0.1, 17)], ids=str)
def test_quantising_rounds_to_the_nearest_of_256(scale: Scale, dtype: torch.dtype) -> None:
    x = torch.linspace(-30, 30, 70_000 * 3).view(1, 3, 700, 100).to(dtype)
    found = scale.quantise(x)
    assert found.dtype == torch.uint8
    ends = scale.step * (0 - scale.zero), scale.step * (255 - scale.zero)
    apart = scale.restore(found, torch.float32) - x.float().clamp(*ends)
    assert apart.abs().max() <= scale.step * 0.501
    assert found.min() == 0
    assert found.max() == 255


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 24, 3, padding=1),
        nn.Conv2d(16, 24, 1, 2, bias=False),
        nn.Conv2d(16, 16, 3, 2, 2, 2, groups=4),
        nn.Conv2d(16, 32, (3, 5), padding=(0, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("zero", [0, 100])
@torch.no_grad()
def test_a_layer_is_the_convolution_of_the_rounded_numbers(layer: nn.Conv2d, zero: int) -> None:
    torch.manual_seed(0)
    fused = FusedConv(layer, None, True, torch.float32)
    given = Scale(0.05, zero)
    quick = QuantisedConv(fused, given)
    x = torch.randn(2, 16, 12, 14) * 3
    seen = given.restore(given.quantise(x), torch.float32)
    step = fused.weight.abs().amax((1, 2, 3), keepdim=True) / 127
    fused.weight = (fused.weight / step).round() * step
    expected = fused(seen)
    assert (quick(x) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert quick(x[:0]).shape == expected[:0].shape
    out = Scale(float(expected.max()) / 255, 0)
    packed = QuantisedConv(fused, given, out)(x)
    assert packed.dtype == torch.uint8
    assert (out.restore(packed, torch.float32) - expected).abs().max() <= 0.51 * out.step


BACKBONES = [
    BackboneSettings(depth=18, width=16),
    BackboneSettings(depth=50, width=16, norm="frozen"),
    BackboneSettings(depth=50, width=16, norm="group"),
    BackboneSettings(depth=50, width=16, groups=2, group_width=8),
]


@pytest.mark.parametrize("settings", BACKBONES, ids=str)
@torch.no_grad()
def test_trunks_compute_nearly_the_same(settings: BackboneSettings) -> None:
    torch.manual_seed(0)
    trunk = Trunk(settings, PyramidSettings(channels=32), CONVENTIONS["segue"]).eval()
    for name, norm in trunk.named_modules():
        if name.endswith(("norm2", "norm3")):
            nn.init.constant_(norm.weight, 0.3)  # residual branches do not pile up
    quick = copy.deepcopy(trunk)
    optimise(quick)
    x = torch.randn(2, 3, 64, 96)
    quantise(quick, calibrate(quick, lambda: quick(x)))
    before = x.clone()
    for level, other in zip(quick(x), trunk(x), strict=True):
        assert (level - other).norm() <= 0.1 * other.norm()
    assert torch.equal(x, before)
    kinds = [type(module) for module in quick.modules()]
    assert (QuantisedBlock in kinds) == (settings.norm != "group")
    assert FusedConv in kinds  # the first layer


@pytest.mark.parametrize("kind", ARCHITECTURES, ids=lambda kind: kind.name)
@torch.no_grad()
def test_networks_that_score_pixels_compute_nearly_the_same(kind: Architecture) -> None:
    torch.manual_seed(0)
    network = kind.build(3, kind.settings()).eval()
    side = max(64, network.stride)
    x = torch.randn(1, 3, side, side)
    optimise(network)
    expected: Tensor = network(x)
    quantise(network, calibrate(network, lambda: network(x)))
    assert (network(x) - expected).norm() <= 0.3 * expected.norm()  # unpooling puts values where rounding says


@torch.no_grad()
def test_what_saw_nothing_stays() -> None:
    network = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU())
    optimise(network)
    quantise(network, calibrate(network, lambda: network(torch.zeros(0, 16, 8, 8))))
    assert isinstance(network[0], FusedConv)


PICTURES = {"toybox": lambda: to_tensor(render(5_000_003, (256, 256)).image), "nuclei": lambda: make_cells(0)[0]}


@pytest.mark.parametrize("name", PICTURES)
def test_int8_finds_nearly_the_same(name: str) -> None:
    picture = PICTURES[name]()
    model = segue.load(name, "cpu", "int8", picture)
    sure = segue.load(name, "cpu").predict(picture, threshold=0.9)
    found = model.predict(picture, threshold=0.4)
    assert len(sure.regions) >= 3
    assert (box_iou(sure.regions.boxes, found.regions.boxes).max(1).values > 0.75).all()
    assert model.predict(torch.zeros(3, 64, 64, dtype=torch.uint8)).size == (64, 64)


def test_only_the_pictures_given_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "PICTURES", 2)
    model = segue.load("nuclei", "cpu")
    seen: list[Tensor] = []
    monkeypatch.setattr(model, "scenes", lambda pictures, threshold: seen.extend(pixels for pixels, _ in pictures))
    pictures = [make_cells(seed, (64, 64), (4, 5))[0] for seed in range(3)]
    to_int8(model, iter(pictures))
    assert len(seen) == 2
    assert all(torch.equal(*pair) for pair in zip(seen, pictures, strict=False))
    large = torch.zeros(3, 1200, 700, dtype=torch.uint8)
    to_int8(model, [large])
    assert seen[-1].shape == (3, 1024, 700)


def test_pictures_come_from_folders_lists_and_arrays(tmp_path: Path) -> None:
    write_cells(tmp_path, 2, seed=1)
    picture = make_cells(3)[0]
    assert len(list(calibration_pictures(tmp_path))) == 2
    given = [tmp_path / "cells_000.png", to_pil(picture), picture]
    assert torch.equal(list(calibration_pictures(given))[2], picture)
    (tmp_path / "cells_000.png").write_bytes(b"no picture")
    assert len(list(calibration_pictures([str(tmp_path)]))) == 1
    with pytest.raises(ImageError, match="cells_000"):
        list(calibration_pictures(tmp_path / "cells_000.png"))


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="int8 needs pictures to calibrate on; name some"):
        segue.load("nuclei", "cpu", "int8")
    with pytest.raises(UsageError, match="int8 needs pictures"):
        to_int8(segue.load("nuclei", "cpu"), [])
    monkeypatch.setattr(calibrating, "pick_device", lambda _: torch.device("cuda:0"))
    with pytest.raises(UsageError, match=r"int8 runs on the CPU, not on cuda:0; use fast, or --device cpu"):
        segue.load("nuclei", "cpu", "int8", make_cells(0)[0])


def test_without_vnni_int8_is_fast_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "multiplies_int8", lambda: False)
    with pytest.warns(UserWarning, match="int8 is fast here"):
        model = segue.load("nuclei", "cpu", "int8", make_cells(0)[0])
    assert not any(isinstance(module, QuantisedConv) for module in model.network.modules())


def test_the_commands_calibrate_on_what_they_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cells(tmp_path / "photos", 2, seed=1)
    photos, options = str(tmp_path / "photos"), ["--speed", "int8", "--device", "cpu"]
    assert main(["predict", photos, *options, "--out", str(tmp_path / "out")]) == 0
    assert "int8 is calibrated on the first pictures of" in capsys.readouterr().err
    assert (tmp_path / "out" / "scenes.json").is_file()
    assert main(["evaluate", "--model", "nuclei", "--data", f"{photos}/cells.json", *options]) == 0
    assert "calibrated on the first pictures" in capsys.readouterr().err
    assert main(["predict", photos, *options, "--calibrate", str(tmp_path / "no"), "--out", str(tmp_path / "x")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
