"""Optimiser, learning rate and averaged weights."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from segue.engine.recipe import TrainingSettings
from segue.errors import RecipeError


def freeze(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Parts of a network by name, from now on without gradients.

    They also have to stay in evaluation mode, which every ``network.train()`` ends.

    Raises:
        RecipeError: there is no such part.
    """
    parts = dict(network.named_modules())
    for name in names:
        if name not in parts or not name:
            near = difflib.get_close_matches(name, parts, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "name a part such as trunk, rpn or heads.boxes"
            raise RecipeError(f"the network has no part {name!r}", where="training.freeze", cure=hint)
    return [parts[name].requires_grad_(False) for name in names]


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW; no decay on norms and biases (one-dimensional parameters)."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """The rate of a step (from 0): linear warm-up, then cosine to zero or a tenth after each milestone."""
    s = settings
    if step < s.warmup:
        return s.lr * (step + 1) / s.warmup
    if s.schedule == "step":
        return float(s.lr * 0.1 ** sum(step >= share * s.steps for share in s.milestones))
    done = (step - s.warmup) / max(1, s.steps - s.warmup)
    return s.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the network's; young averages forget faster."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    own, new = _floats(average), _floats(network)
    torch._foreach_lerp_(own, new, share)
    for a, b in zip(average.buffers(), network.buffers(), strict=True):
        if not a.is_floating_point():
            a.copy_(b)


def _floats(module: nn.Module) -> list[Tensor]:
    tensors: Iterable[Tensor] = (*module.parameters(), *module.buffers())
    return [t for t in tensors if t.is_floating_point()]
