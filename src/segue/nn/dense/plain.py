"""The plainest fully convolutional network: 3x3 convolutions at full resolution, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.unet import convolution
from segue.nn.norm import NormKind


@dataclass(frozen=True)
class PlainSettings:
    """Recipe values of the plain network.

    Attributes:
        layers: convolutions, with the one that makes the scores.
        width: channels between them.
        norm: ``batch`` (trained), ``frozen`` or ``group``.
    """

    layers: int = 8
    width: int = 32
    norm: NormKind = "batch"

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError("layers must be at least 1")


class Plain(DenseNetwork):
    """L convolutions without downsampling. A score sees only 1 + 2L pixels each way, and every layer costs as much as
    the picture has pixels: the two problems that downsampling solves.
    """

    def __init__(self, classes: int, settings: PlainSettings) -> None:
        super().__init__()
        s = settings
        channels = [3] + [s.width] * (s.layers - 1)
        self.features = nn.Sequential(*(convolution(a, s.width, s.norm) for a in channels[:-1]))
        self.score = nn.Conv2d(channels[-1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W)."""
        scores: Tensor = self.score(self.features(images))
        return scores
