import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.sliding_window import main
from segue.errors import UsageError
from segue.nn.pixel_losses import sample_labels
from segue.nn.sliding_window import (
    Field,
    SlidingWindow,
    as_convolution,
    dilate,
    receptive_field,
    shift_and_stitch,
    surround,
)


def small() -> nn.Sequential:
    """Sees 28 pixels at a stride of 6, with kernels and strides of different sizes."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 6), nn.MaxPool2d(3, 2), nn.Tanh(), nn.Conv2d(6, 7, 3), nn.MaxPool2d(3)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(7, 5, 3))


def span(gradient: Tensor) -> list[tuple[int, int]]:
    """First and last row, first and last column of a picture's gradient (1, C, H, W) that is not zero."""
    rows, columns = gradient.abs().sum((0, 1)).nonzero().unbind(1)
    return [(int(rows.min()), int(rows.max())), (int(columns.min()), int(columns.max()))]


def sees(network: nn.Module, images: Tensor, at: tuple[int, int]) -> list[tuple[int, int]]:
    images = images.clone().requires_grad_()
    network(images)[0, :, at[0], at[1]].sum().backward()
    assert images.grad is not None
    return span(images.grad)


@torch.no_grad()
def test_literal_shifted_and_dilated_give_the_same_scores() -> None:
    network = small()
    images = torch.randn(2, 3, 23, 32)
    field = receptive_field(network)
    literal = SlidingWindow(network, field.size, chunk=100)(images)
    assert literal.shape == (2, 5, 23, 32)
    padded = surround(images, Field(field.size, 1))
    torch.testing.assert_close(shift_and_stitch(network, padded, field), literal, atol=1e-5, rtol=0)
    torch.testing.assert_close(dilate(network)(padded), literal, atol=1e-5, rtol=0)
    assert float(literal.std()) > 0.05


@torch.no_grad()
def test_one_pass_gives_every_cell_the_scores_of_its_middle_pixel() -> None:
    network, images = small(), torch.randn(1, 3, 24, 30)
    field = receptive_field(network)
    literal = SlidingWindow(network, field.size)(images)
    torch.testing.assert_close(network(surround(images, field)), literal[..., 3::6, 3::6], atol=1e-5, rtol=0)


def test_a_patch_is_the_pixels_around() -> None:
    class Corners(nn.Module):
        def forward(self, patches: Tensor) -> Tensor:
            return patches[:, 0, [0, 2, 4], [0, 2, 4]]

    image = torch.arange(1.0, 57).view(1, 1, 7, 8)
    scores = SlidingWindow(Corners(), 5, chunk=9)(image)
    assert scores[0, :, 3, 4].tolist() == [image[0, 0, y, y + 1] for y in (1, 3, 5)]
    assert scores[0, :, 0, 0].tolist() == [0, 1, float(image[0, 0, 2, 2])]


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ([nn.Conv2d(3, 2, 3)] * 1 + [nn.Conv2d(2, 2, 3)] * 4, Field(11, 1)),  # 1 + 2 L
        (
            [nn.Conv2d(3, 2, 6), nn.MaxPool2d(8), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 7)],
            Field(133, 16),
        ),
        ([nn.Conv2d(3, 2, 3, stride=2), nn.Tanh(), nn.Conv2d(2, 2, 3, dilation=3)], Field(15, 2)),
    ],
)
def test_the_receptive_field_is_what_an_output_reacts_to(layers: Sequence[nn.Module], field: Field) -> None:
    network = nn.Sequential(*layers)
    assert receptive_field(network) == field
    smooth = nn.Sequential(*(nn.AvgPool2d(m.kernel_size) if isinstance(m, nn.MaxPool2d) else m for m in network))
    side = field.size + 2 * field.stride
    first = 2 * field.stride
    last = first + field.size - 1
    assert sees(smooth, torch.randn(1, 3, side, side), (2, 2)) == [(first, last)] * 2


@pytest.mark.parametrize("field", [Field(1, 1), Field(4, 1), Field(7, 2), Field(8, 2), Field(9, 3), Field(2, 4)])
def test_cells_are_centred_where_the_loss_samples_the_labels(field: Field) -> None:
    labels = torch.arange(12 * 24).view(1, 12, 24)
    padded = surround(labels[:, None], field)
    middle = padded[0, 0, field.size // 2 :: field.stride, field.size // 2 :: field.stride]
    cells = (12 // field.stride, 24 // field.stride)
    assert padded.shape[2] == 12 + field.size - field.stride
    assert torch.equal(middle[: cells[0], : cells[1]], sample_labels(labels, cells)[0])


def test_the_dilated_network_shares_the_weights() -> None:
    network = small()
    twin = dilate(network)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in network.parameters()]
    assert receptive_field(network) == Field(28, 6)  # and the old one keeps its strides
    assert receptive_field(twin) == Field(28, 1)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 2, 3, padding=1),
        nn.Conv2d(3, 2, 3, padding="same"),
        nn.Conv2d(3, 2, (3, 5)),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
    ],
)
def test_modules_whose_answer_depends_on_the_place_are_refused(module: nn.Module) -> None:
    with pytest.raises(UsageError, match="use "):
        dilate(nn.Sequential(module))


@torch.no_grad()
def test_a_linear_layer_on_a_map_is_a_convolution() -> None:
    front, linear = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(4 * 5 * 5, 6)
    images = torch.randn(2, 3, 9, 8)
    literal = SlidingWindow(nn.Sequential(*front, nn.Flatten(), linear), 7)(images)
    convolutional = nn.Sequential(*front, as_convolution(linear, 5))
    torch.testing.assert_close(convolutional(surround(images, Field(7, 1))), literal, atol=1e-5, rtol=0)
    bare = nn.Linear(12, 2, bias=False)
    assert as_convolution(bare, 2).bias is None


def test_the_benchmark_runs_and_its_ways_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sliding_window", "--quick", "--out", str(tmp_path / "page.md")])
    main()
    text = (tmp_path / "page.md").read_text()
    assert text == capsys.readouterr().out
    assert "no measurements" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["literal", "shift and stitch", "dilated"]
    assert all(float(row[-1]) < 1e-5 for row in rows[2:])
