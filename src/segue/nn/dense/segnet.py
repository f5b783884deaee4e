"""SegNet (Badrinarayanan et al. 2017): a decoder that gets nothing from the encoder but where its maxima stood."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from segue.nn.dense.layers import initialise
from segue.nn.dense.network import DenseNetwork
from segue.nn.vgg import VGG, MirroredVGG


@dataclass(frozen=True)
class SegNetSettings:
    """Recipe values of SegNet.

    Attributes:
        width: channels of the finest stage; 64 is the published network.
    """

    width: int = 64


class SegNet(DenseNetwork):
    """VGG16's thirteen convolutions with batch norm, and the same backwards with paired max unpooling (section 3).

    Odd sides are pooled rounding up and restored by unpooling, so that a picture of any size will do. The last
    convolution, 3x3, gives the scores themselves. Convolutions before a norm have no bias, which it would take away.
    """

    def __init__(self, classes: int, settings: SegNetSettings) -> None:
        super().__init__()
        self.encoder = VGG(settings.width)
        self.decoder = MirroredVGG(settings.width, transposed=False)
        self.decoder.stages[-1] = self.decoder.stages[-1][:-1]  # type: ignore[index]
        self.score = nn.Conv2d(settings.width, classes, 3, padding=1)
        initialise(self)

    @property
    def period(self) -> int:
        """As of `DenseNetwork`."""
        return 32

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W)."""
        pools = self.encoder.pooled(images)
        scores: Tensor = self.score(self.decoder(pools[-1].values, pools))
        return scores
