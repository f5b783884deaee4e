"""DeconvNet (Noh et al. 2015): VGG16 down to one vector, and transposed convolutions and unpooling all the way back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.layers import PointBatchNorm, initialise
from segue.nn.dense.network import DenseNetwork
from segue.nn.vgg import VGG, MirroredVGG


@dataclass(frozen=True)
class DeconvNetSettings:
    """Recipe values of DeconvNet.

    Attributes:
        width: channels of the finest stage; 64 is the published network. The two inner layers have 64 times as many.
        fc_kernel: side of the first inner layer's filter, in cells of 32 pixels. The published 7 sees all of a picture
            of 224 pixels; for smaller pictures a smaller one saves most of the network's weights. Where the filter sees
            all, the inner norms have one value per picture: small batches learn next to nothing then, while a filter
            smaller than the coarsest map gives them more.
    """

    width: int = 64
    fc_kernel: int = 7


class DeconvNet(DenseNetwork):
    """VGG16 with batch norm; fc6 without padding, fc7, and a transposed fc6 that restores its input's size; then the
    mirrored VGG16 of paired max unpooling and transposed convolutions (section 3 and the released model).

    A picture of any size will do: odd sides are pooled rounding up and restored by unpooling, and where the coarsest
    map is smaller than fc6's filter, zeros right and below it make it as large. With one picture per batch and a map as
    small as the filter, the inner norms use their running averages (see `PointBatchNorm`).
    """

    def __init__(self, classes: int, settings: DeconvNetSettings) -> None:
        super().__init__()
        s = settings
        self.fc_kernel = s.fc_kernel
        self.encoder = VGG(s.width)
        channels, inner = self.encoder.channels[-1], 64 * s.width
        self.inner = nn.Sequential(
            nn.Conv2d(channels, inner, s.fc_kernel, bias=False),
            PointBatchNorm(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 1, bias=False),
            PointBatchNorm(inner),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(inner, channels, s.fc_kernel, bias=False),
            PointBatchNorm(channels),
            nn.ReLU(inplace=True),
        )
        self.decoder = MirroredVGG(s.width, transposed=True)
        self.score = nn.Conv2d(s.width, classes, 1)
        initialise(self)

    @property
    def period(self) -> int:
        """As of `DenseNetwork`."""
        return 32

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W)."""
        pools = self.encoder.pooled(images)
        x = pools[-1].values
        h, w = x.shape[-2:]
        x = F.pad(x, (0, max(self.fc_kernel - w, 0), 0, max(self.fc_kernel - h, 0)))
        x = self.inner(x)[..., :h, :w]
        scores: Tensor = self.score(self.decoder(x, pools))
        return scores
