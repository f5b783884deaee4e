import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.farabet import Farabet, FarabetSettings, SparseConvolution, random_table, shared_network
from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.recurrent import Recurrent, RecurrentSettings
from segue.nn.pixel_losses import PixelLossSettings, pixel_loss
from segue.nn.pyramids import double, halve, laplacian_pyramid, local_normalise, rgb_to_yuv
from segue.nn.sliding_window import Field, SlidingWindow

SMALL_FARABET = FarabetSettings(maps=(8, 8, 8))
SMALL_RECURRENT = RecurrentSettings(instances=2, maps=(6, 8))


def seeded(kind: type[Farabet] | type[Recurrent], settings: FarabetSettings | RecurrentSettings) -> DenseNetwork:
    torch.manual_seed(0)
    return kind(4, settings)  # type: ignore[arg-type]


def extent(gradient: Tensor) -> tuple[int, int, int, int]:
    """First and last row, first and last column of (B, C, H, W) where it is not zero."""
    rows, columns = gradient.abs().sum((0, 1)).nonzero().unbind(1)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


both = pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Farabet, SMALL_FARABET),
        (Farabet, FarabetSettings(maps=(8, 8, 8), scales=1, hidden=16)),
        (Recurrent, SMALL_RECURRENT),
        (Recurrent, RecurrentSettings(instances=1, maps=(8, 8), full_resolution=False)),
    ],
)


@both
def test_every_pixel_gets_scores(kind: type[Farabet], settings: FarabetSettings) -> None:
    network = seeded(kind, settings)
    images = torch.randn(2, 3, 3 * network.stride, 4 * network.stride)
    for mode in (True, False):
        assert network.train(mode)(images).shape == (2, 4, *images.shape[2:])


@both
def test_it_learns_in_half_precision_and_channels_last(kind: type[Farabet], settings: FarabetSettings) -> None:
    network = seeded(kind, settings).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    labels = torch.arange(32).div(8, rounding_mode="floor").expand(1, 32, 32)
    colours = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    images = colours[labels].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = network.training_logits(images)
        loss = torch.stack([w * pixel_loss(x, labels, torch.ones(4), PixelLossSettings()) for x, w in outputs]).sum()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# The pictures before the network of Farabet et al.


def test_grey_has_no_colour_and_keeps_its_brightness() -> None:
    grey = torch.rand(2, 1, 4, 5)
    yuv = rgb_to_yuv(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(yuv[:, :1], grey)
    assert float(yuv[:, 1:].abs().max()) < 1e-4
    red = rgb_to_yuv(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(red, torch.tensor([0.299, -0.147, 0.615]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_the_pyramid_adds_up_to_the_picture(levels: int) -> None:
    images = torch.randn(2, 3, 16, 24)
    bands = laplacian_pyramid(images, levels)
    assert [band.shape[2] for band in bands] == [16, 8, 4, 2][:levels]
    total = bands[-1]
    for band in reversed(bands[:-1]):
        total = band + double(total)
    torch.testing.assert_close(total, images)


def test_only_the_last_band_sees_an_even_picture_and_only_inner_ones_a_ramp() -> None:
    even = laplacian_pyramid(torch.full((1, 1, 16, 16), 7.0), 3)
    assert [float(band.abs().max()) for band in even] == pytest.approx([0, 0, 7])
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    bands = laplacian_pyramid(ramp, 2)
    assert float(bands[0][..., 4:-4].abs().max()) < 1e-5  # halving and doubling move nothing sideways
    torch.testing.assert_close(bands[1][..., 2:-2], (torch.arange(16.0) * 2 + 0.5).expand(1, 1, 16, 16)[..., 2:-2])


def test_halving_is_the_transpose_of_doubling() -> None:
    fine, coarse = torch.randn(1, 1, 16, 16).double(), torch.randn(1, 1, 8, 8).double()
    coarse[..., [0, -1], :] = 0
    coarse[..., :, [0, -1]] = 0
    torch.testing.assert_close((halve(fine) * coarse).sum() * 4, (fine * double(coarse)).sum())


def test_local_normalisation_equals_window_after_window() -> None:
    images, half = torch.randn(1, 2, 9, 11) * 3 + 20, 2
    for y in range(9):
        for x in range(11):
            window = images[0, :, max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1].flatten(1)
            expected = (images[0, :, y, x] - window.mean(1)) / window.std(1, correction=0)
            actual = local_normalise(images, 5)[0, :, y, x]
            torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-3)


def test_flat_places_stay_flat() -> None:
    noise = 5 + 1e-4 * torch.randn(1, 1, 20, 20)
    assert float(local_normalise(noise, 15, floor=0.01).abs().max()) < 0.1


# The network of Farabet et al.


def test_features_see_46_pixels_of_their_scale_at_a_stride_of_4() -> None:
    features = shared_network(FarabetSettings(maps=(16, 16, 8)))
    smooth = nn.Sequential(*(nn.AvgPool2d(2) if isinstance(m, nn.MaxPool2d) else m for m in features))
    band = torch.randn(1, 3, 96, 96, requires_grad=True)
    out = smooth(band)
    assert out.shape == (1, 8, 24, 24)
    out[0, :, 12, 10].sum().backward()
    assert band.grad is not None
    assert extent(band.grad) == (27, 72, 19, 64)  # 46 pixels, around the cells' middles 50 and 42


def test_the_published_network_has_768_features_from_the_published_connections() -> None:
    network = Farabet(8, FarabetSettings())
    assert network.score[0].in_channels == 768
    tables = [m.table for m in network.features if isinstance(m, SparseConvolution)]
    colours, second, third = tables
    assert colours.unique(dim=0, return_counts=True)[1].tolist() == [6, 10]
    assert colours[0].tolist() == [1, 0, 0]
    assert colours[-1].tolist() == [0, 1, 1]
    assert second.shape == (64, 16)
    assert third.shape == (256, 64)
    assert set(second.sum(1).tolist()) == {8}
    assert set(third.sum(1).tolist()) == {32}
    assert len(third.unique(dim=0)) == 256
    assert Farabet(8, FarabetSettings(hidden=1024)).score[0].out_channels == 1024


def test_the_random_connections_are_always_the_same_and_saved() -> None:
    state = Farabet(3, SMALL_FARABET).state_dict()
    torch.rand(1)
    again = Farabet(3, SMALL_FARABET).state_dict()
    tables = [name for name in state if name.endswith("table")]
    assert len(tables) == 3
    assert all(torch.equal(state[name], again[name]) for name in tables)


def test_missing_connections_carry_nothing() -> None:
    layer = SparseConvolution(random_table(6, 4, torch.Generator().manual_seed(1)))
    x = torch.randn(1, 6, 5, 5, requires_grad=True)
    for out, row in enumerate(layer.table):
        (gradient,) = torch.autograd.grad(layer(x)[0, out].sum(), x)
        assert ((gradient[0].abs().sum((1, 2)) > 0) == (row > 0)).all()


def test_windows_have_a_middle() -> None:
    with pytest.raises(ValueError, match="odd"):
        FarabetSettings(window=14)


@torch.no_grad()
def test_contrast_and_brightness_do_not_matter() -> None:
    network, images = seeded(Farabet, SMALL_FARABET), torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(network(3 * images + 1), network(images), atol=1e-3, rtol=1e-3)


# The recurrent network of Pinheiro & Collobert


@pytest.mark.parametrize(("instances", "field"), [(1, Field(23, 2)), (2, Field(67, 4)), (3, Field(155, 8))])
def test_compositions_see_what_is_published_around_their_cells(instances: int, field: Field) -> None:
    torch.manual_seed(0)
    network = Recurrent(3, RecurrentSettings(instances=3, maps=(4, 4)))
    assert network.field(instances) == field
    images = torch.randn(12, 3, 176, 192, requires_grad=True)  # several, as pooling only looks at the largest
    out = network.coarse(images, instances)
    assert out.shape == (12, 3, 176 // field.stride, 192 // field.stride)
    row, column = (side // 2 // field.stride for side in images.shape[2:])
    out[:, :, row, column].sum().backward()
    assert images.grad is not None
    reach = field.size // 2
    y, x = (field.stride * i + field.stride // 2 for i in (row, column))
    assert extent(images.grad) == (y - reach, y + reach, x - reach, x + reach)


@torch.no_grad()
def test_two_instances_equal_the_recurrence_on_one_patch() -> None:
    network = seeded(Recurrent, SMALL_RECURRENT)
    assert isinstance(network, Recurrent)
    patch = torch.randn(1, 3, 67, 67)
    first = network.f(torch.cat([torch.zeros(1, 4, 67, 67), patch], 1))  # (1, 4, 23, 23), cells centred on 11, 13, ...
    weights = torch.tensor([1.0, 2, 1]) / 4
    blurred = F.conv2d(patch.transpose(0, 1), (weights[:, None] * weights)[None, None], padding=1).transpose(0, 1)
    second = network.f(torch.cat([first, blurred[..., 11:57:2, 11:57:2]], 1))  # (1, 4, 1, 1)
    images = torch.zeros(1, 3, 72, 72)
    images[..., :67, :67] = patch
    shifted = F.pad(images, (1, 0, 1, 0))[..., :72, :72]  # the patch's middle, 33, is now 34 = 8 cells of 4, and 2
    torch.testing.assert_close(network.coarse(shifted, 2)[..., 8, 8], second[..., 0, 0])


@torch.no_grad()
def test_full_resolution_equals_the_coarse_network_on_every_shifted_picture() -> None:
    network = seeded(Recurrent, SMALL_RECURRENT).eval()
    assert isinstance(network, Recurrent)
    images = torch.randn(2, 3, 12, 16)
    expected = torch.full((2, 4, 12, 16), torch.nan)
    for dy in range(4):
        for dx in range(4):
            moved = F.pad(images, (dx, 4 - dx, dy, 4 - dy))  # zeros, as around every picture
            cells = network.coarse(moved, 2)
            rows, columns = (torch.arange(n) * 4 + 2 - d for n, d in ((4, dy), (5, dx)))
            y, x = (rows >= 0) & (rows < 12), (columns >= 0) & (columns < 16)
            expected[:, :, rows[y, None], columns[x]] = cells[:, :, y][..., x]
    torch.testing.assert_close(network(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_full_resolution_equals_one_patch_after_another() -> None:
    network = seeded(Recurrent, RecurrentSettings(instances=1, maps=(8, 8))).eval()
    assert isinstance(network, Recurrent)

    class Patches(nn.Module):
        def forward(self, patches: Tensor) -> Tensor:
            scores: Tensor = network.f(F.pad(patches, (0, 0, 0, 0, 4, 0)))
            return scores

    images = torch.randn(1, 3, 8, 10)
    torch.testing.assert_close(network(images), SlidingWindow(Patches(), 23)(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("classes", "maps"), [(5, 25), (9, 25), (4, 8), (4, 12), (4, 25)])
def test_half_precision_only_rounds(classes: int, maps: int) -> None:
    torch.manual_seed(0)
    network = Recurrent(classes, RecurrentSettings(instances=1, maps=(maps, 16)))
    images = torch.randn(1, 3, 16, 16)
    full = network.coarse(images, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network.coarse(images, 1)
    assert float((half.float() - full).norm() / full.norm()) < 0.03


def test_every_instance_has_its_loss_and_all_share_the_weights() -> None:
    network, single = (
        Recurrent(4, RecurrentSettings(instances=n, maps=(8, 8)))
        for n in (3, 1)  # type: ignore[arg-type]
    )
    single.load_state_dict(network.state_dict())
    images = torch.randn(1, 3, 16, 24)
    outputs = network.training_logits(images)
    assert [(tuple(x.shape[2:]), w) for x, w in outputs] == [((8, 12), 1.0), ((4, 6), 1.0), ((2, 3), 1.0)]
    torch.testing.assert_close(outputs[0][0], single.training_logits(images)[0][0])
