"""Losses over the pixels of a label map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

UNLABELLED = -1


@dataclass(frozen=True)
class PixelLossSettings:
    """Recipe values of the loss.

    Attributes:
        balance: power of the median-frequency class weights: 0 counts every pixel alike, 1 is the weighting of Eigen &
            Fergus (2015), which SegNet used; between them rare classes gain less.
        hardest: share of the labelled pixels, those with the highest loss, that count (online hard examples).
        dice: weight of the soft Dice loss that is added.
    """

    balance: float = 0.0
    hardest: float = 1.0
    dice: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.hardest <= 1:
            raise ValueError("hardest must be above 0 and at most 1")
        if self.balance < 0 or self.dice < 0:
            raise ValueError("balance and dice must not be negative")


def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor, settings: PixelLossSettings) -> Tensor:
    """Cross-entropy per pixel, with Dice where wanted; 0 where nothing is labelled.

    Args:
        logits: (B, K, h, w).
        labels: (B, H, W) int64 class indices, -1 where unlabelled; sampled at the cells' centres where the logits are
            coarser.
        weights: (K,) of the classes.
        settings: what counts.
    """
    logits, labels = logits.float(), sample_labels(labels, (logits.shape[2], logits.shape[3]))
    loss = cross_entropy(logits, labels, weights, settings.hardest)
    return loss + settings.dice * dice_loss(logits, labels) if settings.dice else loss


def sample_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) labels at the centres of a grid of ``size`` cells -> (B, h, w)."""
    if tuple(labels.shape[1:]) == size:
        return labels
    rows, columns = (
        ((torch.arange(n, device=labels.device) + 0.5) * old / n).long()
        for n, old in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, hardest: float = 1.0) -> Tensor:
    """Weighted mean of -log p(label) over the labelled pixels, or over the ``hardest`` share of them.

    Args:
        logits: (B, K, H, W) float.
        labels: (B, H, W) int64, -1 where unlabelled.
        weights: (K,); a pixel counts as much as the weight of its class.
        hardest: in (0, 1].
    """
    losses = F.cross_entropy(logits, labels, weights, ignore_index=UNLABELLED, reduction="none")  # (B, H, W)
    labelled = labels != UNLABELLED
    counts = weights[labels.clamp(min=0)] * labelled
    if hardest < 1:
        keep = max(1, int(hardest * int(labelled.sum())))
        threshold = losses.detach().flatten().topk(keep).values[-1]
        chosen = labelled & (losses.detach() >= threshold)
        losses, counts = losses * chosen, counts * chosen
    return losses.sum() / counts.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - mean over the classes that occur of 2 sum(p t) / (sum p + sum t), over the labelled pixels of the batch.

    V-Net (Milletari et al. 2016, section 3), with the denominator of the common variant without squares.
    """
    labelled = labels != UNLABELLED
    p = logits.softmax(1)  # (B, K, H, W)
    true = labels[labelled]
    counts = torch.bincount(true, minlength=logits.shape[1])
    of_truth = p.gather(1, labels[:, None].clamp(min=0))[:, 0][labelled]
    both = p.new_zeros(logits.shape[1]).index_add(0, true, of_truth)
    dice = 2 * both / ((p * labelled[:, None]).sum((0, 2, 3)) + counts).clamp(min=1.0)
    occurs = counts > 0
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp(min=1)


def median_frequency(frequencies: Tensor, power: float) -> Tensor:
    """(K,) class frequencies -> (K,) float32 weights ``(median / frequency) ** power``; 1 for classes never seen."""
    seen = frequencies > 0
    if not bool(seen.any()):
        return torch.ones(len(frequencies))
    weights = (frequencies[seen].double().quantile(0.5) / frequencies.double().clamp(min=1e-12)) ** power
    return torch.where(seen, weights, torch.ones_like(weights)).float()
