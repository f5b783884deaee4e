from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from segue.nn.pixel_losses import (
    PixelLossSettings,
    cross_entropy,
    dice_loss,
    median_frequency,
    pixel_loss,
    sample_labels,
)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(-1, 3, (2, 5, 7), generator=torch.Generator().manual_seed(1))


def test_cross_entropy_is_torch_s_weighted_mean(logits, labels):
    weights = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    expected = F.cross_entropy(logits, labels, weights, ignore_index=-1)
    assert torch.allclose(cross_entropy(logits, labels, weights), expected)


def test_unlabelled_pixels_change_nothing(logits, labels):
    weights = torch.ones(3)
    other = torch.where(labels[:, None] == -1, logits + 5 * torch.randn_like(logits), logits)
    settings = PixelLossSettings(dice=1.0, hardest=0.5)
    assert torch.allclose(pixel_loss(other, labels, weights, settings), pixel_loss(logits, labels, weights, settings))


@pytest.mark.parametrize("settings", [PixelLossSettings(), PixelLossSettings(hardest=0.3, dice=0.5)])
def test_an_unlabelled_batch_costs_nothing_and_moves_nothing(logits, settings):
    logits = logits.requires_grad_()
    loss = pixel_loss(logits, torch.full((2, 5, 7), -1), torch.ones(3), settings)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_hardest_share_is_the_mean_of_the_highest_losses(logits, labels):
    every = F.cross_entropy(logits, labels, ignore_index=-1, reduction="none")[labels >= 0]
    keep = int(0.25 * len(every))
    expected = every.sort(descending=True).values[:keep].mean()
    assert torch.allclose(cross_entropy(logits, labels, torch.ones(3, dtype=torch.float64), 0.25), expected)


def test_dice_of_a_certain_right_answer_is_zero_and_of_a_wrong_one_is_one(labels):
    right = F.one_hot(labels.clamp(min=0), 3).permute(0, 3, 1, 2) * 100.0
    assert dice_loss(right, labels).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(right.roll(1, 1), labels).item() == pytest.approx(1, abs=1e-6)


def test_dice_by_hand():
    logits = torch.zeros(1, 2, 1, 2)  # each class has probability 1/2 in both pixels
    labels = torch.tensor([[[0, 0]]])
    assert dice_loss(logits, labels).item() == pytest.approx(1 - 2 * 1 / (1 + 2))  # class 1 does not occur


def test_gradients(logits, labels):
    weights = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    small, few = logits[:, :, :2, :3].clone().requires_grad_(), labels[:, :2, :3]
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, few, weights) + dice_loss(x, few), [small])


def test_labels_are_sampled_at_the_centres_of_coarser_cells():
    labels = torch.arange(36).reshape(1, 6, 6)
    assert sample_labels(labels, (2, 2)).tolist() == [[[7, 10], [25, 28]]]
    assert sample_labels(labels, (6, 6)) is labels


def test_median_frequency_weights():
    frequencies = torch.tensor([0.1, 0.2, 0.4, 0.0])
    assert median_frequency(frequencies, 1.0).tolist() == pytest.approx([2.0, 1.0, 0.5, 1.0])
    assert median_frequency(frequencies, 0.5).tolist() == pytest.approx([math.sqrt(2), 1.0, math.sqrt(0.5), 1.0])
    assert median_frequency(torch.zeros(2), 1.0).tolist() == [1, 1]


@pytest.mark.parametrize("values", [{"hardest": 0.0}, {"hardest": 1.1}, {"balance": -1.0}, {"dice": -0.1}])
def test_impossible_settings_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        PixelLossSettings(**values)
