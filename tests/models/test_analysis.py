from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segue.errors import UsageError
from segue.models.analysis import Cost, cost, multiply_adds, pixel_network, receptive_field, smallest_square
from segue.models.semantic_network import SemanticNetwork, SemanticSettings
from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from segue.nn.dense.fcn import FCN, FCNSettings
from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.plain import Plain, PlainSettings
from segue.nn.dense.recurrent import Recurrent, RecurrentSettings
from segue.nn.dense.unet import UNet, UNetSettings
from segue.nn.upsamplers import UpsamplerKind

VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def plain(layers: int, width: int = 4) -> nn.Sequential:
    convs = [nn.Conv2d(3 if i == 0 else width, width, 3, padding=1) for i in range(layers)]
    return nn.Sequential(*(m for conv in convs for m in (conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))))


def vgg16(thinner: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for count, out in VGG16:
        for _ in range(count):
            layers += [nn.Conv2d(channels, out // thinner, 3, padding=1), nn.ReLU()]
            channels = out // thinner
        layers.append(nn.MaxPool2d(2))
    wide = 4096 // thinner
    layers += [nn.Conv2d(channels, wide, 7), nn.ReLU(), nn.Conv2d(wide, wide, 1), nn.ReLU(), nn.Conv2d(wide, 1000, 1)]
    return nn.Sequential(*layers)


class UpAgain(DenseNetwork):
    """Down by a pooling, a convolution, up again in some way."""

    def __init__(self, up: str, stride: int = 2) -> None:
        super().__init__()
        self.stride, self.up = stride, up
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x, where = F.max_pool2d(x, self.stride, return_indices=True)
        x = self.conv(x)
        return F.max_unpool2d(x, where, self.stride) if self.up == "unpool" else F.interpolate(x, size, mode=self.up)


class OfEveryPixel(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, 3)).movedim(3, 1)


class Summary(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("layers", range(1, 11))
def test_every_convolution_adds_a_pixel_on_each_side(layers: int) -> None:
    found = receptive_field(plain(layers), inputs=1)
    assert found.theoretical == (1 + 2 * layers, 1 + 2 * layers)
    assert found.stride == 1
    assert found.effective <= 1 + 2 * layers


def test_vgg16_sees_404_pixels_at_stride_32() -> None:
    found = receptive_field(vgg16(thinner=64), inputs=1)
    assert (found.theoretical, found.stride) == ((404, 404), 32)


def test_pinheiro_and_collobert_see_23_and_133_pixels() -> None:
    recurrent = nn.Sequential(nn.Conv2d(3, 2, 8), nn.MaxPool2d(2), nn.Tanh(), nn.Conv2d(2, 2, 8), nn.Conv2d(2, 4, 1))
    found = receptive_field(recurrent, inputs=1)
    assert (found.theoretical, found.stride) == ((23, 23), 2)
    first = nn.Sequential(nn.Conv2d(3, 2, 6), nn.MaxPool2d(8), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 4, 7))
    found = receptive_field(first, inputs=1)
    assert (found.theoretical, found.stride) == ((133, 133), 16)


def test_axes_differ_where_kernels_do() -> None:
    assert receptive_field(nn.Conv2d(3, 2, (3, 7), dilation=(1, 2)), inputs=1).theoretical == (3, 13)


def test_two_recurrent_instances_see_67_pixels() -> None:
    network = Recurrent(2, RecurrentSettings(2, maps=(2, 2)))
    assert receptive_field(network, inputs=1).theoretical == (67, 67)  # three see 155, in a minute


@pytest.mark.parametrize("stride", [32, 16])
def test_fcn_adds_what_interpolation_mixes(stride: Literal[32, 16]) -> None:
    network = FCN(2, FCNSettings(width=1, padding="same", stride=stride))
    fields = {32: 404 + 32, 16: 404 + 32 + 32}  # two cells of 32 pixels; up to three where cells are mixed twice
    assert receptive_field(network, inputs=1).theoretical == (fields[stride], fields[stride])
    assert [stage.stride for stage in cost(network, (90, 70)).stages] == [1, 2, 4, 8, *[16][: 32 // stride], 32]


def test_unpooling_by_indices_sees_what_copying_sees() -> None:
    kinds: tuple[UpsamplerKind, ...] = ("max_unpool", "nearest", "bilinear")
    networks = [EncoderDecoder(2, EncoderDecoderSettings(kind, depth=2, width=3)) for kind in kinds]
    unpooled, copied, mixed = (receptive_field(network, inputs=1).theoretical for network in networks)
    # Pixels of each resolution on the way back: 5, 7, 8, 20, 44; where each pixel mixes two cells, 5, 8, 10, 24, 52.
    assert unpooled == copied == (44, 44)
    assert mixed == (52, 52)


def test_the_way_up_decides_how_many_coarse_cells_a_pixel_sees() -> None:
    cells = {"nearest": 3, "unpool": 3, "bilinear": 4, "bicubic": 6}
    for up, count in cells.items():
        assert receptive_field(UpAgain(up), inputs=1).theoretical == (2 * count, 2 * count), up


def test_from_far_apart_to_the_whole_picture() -> None:
    wide = nn.Conv2d(3, 1, 3, padding=150, dilation=150)
    assert receptive_field(wide, inputs=1).theoretical == (301, 301)
    found = receptive_field(nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), Summary()), inputs=1)
    assert found.theoretical == (None, None)
    assert found.gradient.shape == (258, 258)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)]
)
def test_statistics_over_the_picture_do_not_count(norm: nn.Module) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    assert receptive_field(nn.Sequential(conv, norm, nn.ReLU(), norm), inputs=1).theoretical == (3, 3)


def test_unet_against_its_whole_jacobian() -> None:
    """A slow twin: every weight positive and every pooling an average, so that nothing cancels, pixel by pixel."""
    network = UNet(2, UNetSettings(width=2, depth=2)).double().eval()
    found = receptive_field(network, inputs=1)
    for p in network.parameters():
        p.data = p.data.abs() + 0.1
    picture = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "max_pool2d", F.avg_pool2d)
        scores = network(picture).sum(1)[0]
    spans = []
    for i in range(32, 36):
        (gradient,) = torch.autograd.grad(scores[i, i], picture, retain_graph=True)
        rows = gradient[0].sum((0, 2)).nonzero()
        spans.append(int(rows.max() - rows.min()) + 1)
    assert min(rows.min(), 63 - rows.max()) > 0
    assert found.theoretical == (max(spans), max(spans))


def test_effective_field_of_constant_filters_is_the_binomial_blob() -> None:
    network = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 1, 1, 3, padding=1, bias=False) for i in range(6)))
    for p in network.parameters():
        nn.init.ones_(p)
    found = receptive_field(network, inputs=2)
    line = torch.ones(1)
    for _ in range(6):
        line = torch.tensor([sum(line[max(0, i - 2) : i + 1]) for i in range(len(line) + 2)])
    blob = torch.outer(line, line) / line.sum() ** 2
    middle = found.gradient.shape[0] // 2
    seen = found.gradient[middle - 6 : middle + 7, middle - 6 : middle + 7]
    torch.testing.assert_close(seen / found.gradient.sum(), blob)
    sides = [
        side
        for side in range(1, 14, 2)
        if blob[6 - side // 2 : 7 + side // 2, 6 - side // 2 : 7 + side // 2].sum() >= 0.95
    ]
    assert sides[0] - 1 <= found.effective <= sides[0]  # an even square may do, too
    assert found.effective < 13


def test_smallest_square_is_the_smallest_of_all_squares() -> None:
    density = torch.rand(9, 7, generator=torch.Generator().manual_seed(3)) ** 6
    for share in (0.1, 0.5, 0.9):
        best = next(
            s
            for s in range(1, 8)
            if any(
                density[y : y + s, x : x + s].sum() >= share * density.sum()
                for y in range(10 - s)
                for x in range(8 - s)
            )
            or s == 7
        )
        assert smallest_square(density, share) == best
    assert smallest_square(torch.zeros(4, 5)) == 0


def test_the_model_is_left_as_it_is() -> None:
    model = plain(3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    receptive_field(model, inputs=1)
    cost(model, (16, 16))
    assert model.training
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(model[1], nn.BatchNorm2d)


def test_vgg16_costs_what_is_published() -> None:
    with torch.device("meta"):
        network = vgg16()
    found = cost(network, (224, 224))
    assert found.parameters == 138_357_544
    assert found.multiply_adds == 15_470_264_320
    assert [stage.stride for stage in found.stages] == [1, 2, 4, 8, 16, 32]
    assert found.stages[0].multiply_adds == 224 * 224 * 9 * (3 * 64 + 64 * 64)
    assert found.stages[0].activations == 2 * 224 * 224 * 64


@pytest.mark.parametrize(
    "network",
    [
        UNet(5, UNetSettings(width=4, depth=2)),
        nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, groups=3), nn.ConvTranspose2d(6, 4, 4, stride=2, groups=2)),
        nn.Sequential(nn.Conv2d(3, 6, 3, dilation=2), OfEveryPixel(nn.Linear(6, 7), nn.Linear(7, 2, bias=False))),
    ],
)
def test_multiply_adds_against_the_counter_of_pytorch(network: nn.Module) -> None:
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, 3, 40, 48))
    assert 2 * cost(network, (40, 48)).multiply_adds == counter.get_total_flops() > 0


def test_cost_grows_with_the_area_and_counts_the_padding() -> None:
    network = UNet(5, UNetSettings(width=4, depth=3))
    small, large = cost(network, (40, 64)), cost(network, (75, 121))
    assert large.size == (80, 128)
    assert large.multiply_adds == 4 * small.multiply_adds
    assert large.activations == 4 * small.activations
    assert [stage.stride for stage in small.stages] == [1, 2, 4, 8]


class DependsOnValues(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum().item() >= 0 else x


def test_a_graph_that_reads_values_is_counted_on_the_cpu() -> None:
    assert cost(DependsOnValues(3, 2, 1), (4, 4)).multiply_adds == 4 * 4 * 3 * 2


def test_models_around_a_network() -> None:
    semantic = SemanticNetwork(SemanticSettings({"unet": {"width": 2, "depth": 1}}), 3)

    class Model:
        network: nn.Module = semantic

    assert pixel_network(Model()) is pixel_network(semantic) is semantic.body
    found = cost(Model(), (4, 4))
    assert isinstance(found, Cost)
    assert found.parameters == sum(p.numel() for p in semantic.parameters())


def test_what_takes_no_picture_is_an_error() -> None:
    with pytest.raises(UsageError, match="takes no picture"):
        receptive_field(nn.Conv2d(4, 1, 1))
    with pytest.raises(UsageError, match="does not grow"):
        receptive_field(nn.AdaptiveAvgPool2d(1))


def test_a_field_says_in_words_what_is_seen_and_what_it_costs() -> None:
    text = str(receptive_field(Plain(11, PlainSettings(layers=2, width=4)), inputs=1, size=(36, 48)))
    assert "sees 5x5 px" in text
    assert "48x36" in text
    adds = 36 * 48 * 9 * (3 * 4 + 4 * 11) / 1e9
    assert f"together   {adds:9.3f} G" in text


def test_multiply_adds_of_a_call_are_those_of_its_products() -> None:
    x, weight = torch.zeros(2, 3, 8, 8), torch.zeros(5, 3, 3, 3)
    assert multiply_adds(F.conv2d, x, weight) == 2 * 5 * 6 * 6 * 27
    assert multiply_adds(F.conv_transpose2d, torch.zeros(2, 5, 4, 4), weight) == 2 * 5 * 4 * 4 * 27
    assert multiply_adds(lambda: torch.zeros(4, 6) @ torch.zeros(6, 7) + 1) == 4 * 6 * 7
    assert multiply_adds(torch.relu, x) == 0
