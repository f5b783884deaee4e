"""Losses that more than one head uses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def smooth_l1(predicted: Tensor, target: Tensor, beta: float) -> Tensor:
    """Elementwise Huber-like loss of Fast R-CNN, section 2.3; ``beta`` 0 gives plain L1."""
    if beta == 0:
        return (predicted - target).abs()
    return F.smooth_l1_loss(predicted, target, beta=beta, reduction="none")
