from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from segue.nn.dense.plain import Plain, PlainSettings
from segue.nn.upsamplers import UpsamplerKind, make_upsampler
from segue.ops.upsample import max_pool

KINDS: tuple[UpsamplerKind, ...] = get_args(UpsamplerKind)
FINE = torch.randn(2, 8, 6, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(6, 10), (5, 9)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_upsampler_undoes_the_halving(kind: UpsamplerKind, size: tuple[int, int]) -> None:
    x, indices = max_pool(FINE[..., : size[0], : size[1]], 2)
    assert make_upsampler(kind, 8)(x, indices, size).shape == (2, 8, *size)


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic", "transposed"])
def test_a_constant_stays_one_inside(kind: UpsamplerKind) -> None:
    x = torch.full((1, 3, 4, 4), 2.5)
    up = make_upsampler(kind, 3)(x, torch.zeros_like(x, dtype=torch.int64), (8, 8))
    torch.testing.assert_close(up[..., 1:-1, 1:-1], torch.full((1, 3, 6, 6), 2.5))


@pytest.mark.parametrize("kind", ["bed_of_nails", "max_unpool"])
def test_three_of_four_are_holes(kind: UpsamplerKind) -> None:
    x, indices = max_pool(FINE, 2)
    up = make_upsampler(kind, 8)(x, indices, (6, 10))
    assert torch.equal(F.max_pool2d(up.abs(), 2), x.abs())
    assert up.count_nonzero() == x.numel()


def test_max_unpooling_puts_values_back_and_the_bed_of_nails_moves_them() -> None:
    x, indices = max_pool(FINE, 2)
    back, nails = (make_upsampler(kind, 8)(x, indices, (6, 10)) for kind in ("max_unpool", "bed_of_nails"))
    assert torch.equal(back[back != 0], FINE[back != 0])
    assert not torch.equal(nails[nails != 0], FINE[nails != 0])


def test_transposed_begins_bilinear_and_learns_every_tap() -> None:
    x, indices = max_pool(FINE, 2)
    learned, bilinear = make_upsampler("transposed", 8), make_upsampler("bilinear", 8)
    up = learned(x, indices, (6, 10))
    torch.testing.assert_close(up[..., 1:-1, 1:-1], bilinear(x, indices, (6, 10))[..., 1:-1, 1:-1])
    up.square().sum().backward()
    weight = next(learned.parameters())
    assert weight.grad is not None
    assert weight.grad.all()
    assert [sum(p.numel() for p in make_upsampler(kind, 8).parameters()) for kind in KINDS] == [0] * 5 + [1032]


def seen_from_the_centre(network: torch.nn.Module, size: int) -> Tensor:
    """Which pixels (size, size) the score at the centre depends on, with all weights positive so that none cancel."""
    for parameter in network.parameters():
        parameter.data.abs_()
    images = torch.rand(1, 3, size, size, requires_grad=True)
    network.eval()(images)[0, :, size // 2, size // 2].sum().backward()
    assert images.grad is not None
    return images.grad.sum((0, 1)) > 0


@pytest.mark.parametrize("layers", [1, 2, 5, 8])
def test_plain_sees_one_plus_twice_its_layers(layers: int) -> None:
    torch.manual_seed(0)
    seen = seen_from_the_centre(Plain(2, PlainSettings(layers=layers, width=2)), 25)
    expected = torch.zeros(25, 25, dtype=torch.bool)
    expected[12 - layers : 13 + layers, 12 - layers : 13 + layers] = True
    assert torch.equal(seen, expected)


def test_plain_has_the_layers_it_says_and_keeps_any_size() -> None:
    network = Plain(5, PlainSettings(layers=4, width=6))
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(3, 6), (6, 6), (6, 6), (6, 5)]
    assert network.stride == 1
    assert network(torch.zeros(2, 3, 7, 11)).shape == (2, 5, 7, 11)


def test_encoder_decoder_sees_far_more_than_plain() -> None:
    torch.manual_seed(0)
    settings = EncoderDecoderSettings(upsampler="nearest", depth=3, width=2, convolutions=1)
    assert seen_from_the_centre(EncoderDecoder(2, settings), 64).any(0).sum() > 1 + 2 * 8  # as many convolutions


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_decoder_trains_every_weight_with_every_upsampler(kind: UpsamplerKind) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(3, EncoderDecoderSettings(kind, depth=2, width=4))
    images, labels = torch.randn(2, 3, 16, 24), torch.randint(0, 3, (2, 16, 24))
    assert network.stride == 4
    logits = network(images)
    assert logits.shape == (2, 3, 16, 24)
    F.cross_entropy(logits, labels).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def gradient(network: torch.nn.Module, logits: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(logits.float().square().mean(), network.parameters())])


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_decoder_in_bfloat16_and_channels_last_is_nearly_itself(kind: UpsamplerKind) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(3, EncoderDecoderSettings(kind, depth=2, width=8, convolutions=1)).eval()
    images = torch.randn(2, 3, 16, 24)
    exact = network(images)
    expected = gradient(network, exact)
    network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.bfloat16
    assert (logits - exact).norm() < 0.05 * exact.norm()
    assert F.cosine_similarity(gradient(network, logits), expected, dim=0) > 0.99


def test_widths_double_up_to_the_most() -> None:
    settings = EncoderDecoderSettings(depth=4, width=8, max_width=24, convolutions=1)
    network = EncoderDecoder(2, settings)
    outputs = [
        [m.out_channels for m in part.modules() if isinstance(m, torch.nn.Conv2d)] for part in network.children()
    ]
    assert outputs == [[8, 16, 24, 24], [24], [], [24, 16, 8, 8], [2]]  # encoder, middle, upsamplers, decoder, scores


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (PlainSettings, {"layers": 0}),
        (EncoderDecoderSettings, {"depth": 0}),
        (EncoderDecoderSettings, {"convolutions": 0}),
    ],
)
def test_settings_without_a_network_are_refused(
    settings: type[PlainSettings | EncoderDecoderSettings], values: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        settings(**values)  # type: ignore[arg-type]
