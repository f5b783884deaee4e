"""The semantic model: any network that scores pixels, with its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.batch import Batch
from segue.nn.conventions import CONVENTIONS, ConventionName
from segue.nn.dense import Architecture, architecture_named
from segue.nn.pixel_losses import PixelLossSettings, pixel_loss


@dataclass(frozen=True)
class SemanticSettings:
    """Recipe values of a semantic model.

    Attributes:
        network: one network by its name, with the values of its own settings class, such as ``unet: {width: 32}``.
        conventions: whose mean and standard deviation normalise the pictures.
        loss: what is minimised.
    """

    network: Mapping[str, Any]
    conventions: ConventionName = "segue"
    loss: PixelLossSettings = field(default_factory=PixelLossSettings)

    def __post_init__(self) -> None:
        if len(self.network) != 1:
            raise ValueError("network must name one network with its values, such as {unet: {width: 32}}")

    @property
    def architecture(self) -> Architecture:
        """The kind of network."""
        return architecture_named(next(iter(self.network)))


class SemanticNetwork(nn.Module):
    """Scores of every pixel, and the loss that teaches them.

    Attributes:
        multiple: what the sides of a batch must be multiples of.
        class_weights: (K,) weights of the classes in the loss.
    """

    class_weights: Tensor

    def __init__(self, settings: SemanticSettings, classes: int) -> None:
        super().__init__()
        self.settings, self.conventions = settings, CONVENTIONS[settings.conventions]
        kind = settings.architecture
        values = settings.network[kind.name] or {}
        self.body = kind.build(classes, values if isinstance(values, kind.settings) else kind.settings(**values))
        self.multiple = self.body.stride
        self.register_buffer("class_weights", torch.ones(classes))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch with label maps."""
        assert batch.semantic is not None
        outputs = self.body.training_logits(batch.images)
        loss = self.settings.loss
        losses = [weight * pixel_loss(x, batch.semantic, self.class_weights, loss) for x, weight in outputs]
        return {"semantic": torch.stack(losses).sum()}

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures -> (B, K, H, W) float32 probabilities; sides multiples of ``multiple``."""
        return F.softmax(self.body(images).float(), dim=1)
