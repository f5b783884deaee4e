"""An encoder-decoder in which any upsampler can stand, after SegNet (Badrinarayanan et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.unet import convolution
from segue.nn.norm import NormKind
from segue.nn.upsamplers import UpsamplerKind, make_upsampler
from segue.ops.upsample import max_pool


@dataclass(frozen=True)
class EncoderDecoderSettings:
    """Recipe values of the encoder-decoder.

    Attributes:
        upsampler: how the resolution is doubled: ``bed_of_nails``, ``nearest``, ``bilinear``, ``bicubic``,
            ``max_unpool`` (by the indices of the pooling, as in SegNet) or ``transposed`` (learned).
        depth: times that the resolution is halved, and doubled again.
        width: channels of the finest stage; each coarser one has twice as many, up to ``max_width``.
        max_width: most channels of a stage.
        convolutions: 3x3 convolutions per stage.
        norm: ``batch`` (trained), ``frozen`` or ``group``.
    """

    upsampler: UpsamplerKind = "transposed"
    depth: int = 4
    width: int = 32
    max_width: int = 256
    convolutions: int = 2
    norm: NormKind = "batch"

    def __post_init__(self) -> None:
        if self.depth < 1 or self.convolutions < 1:
            raise ValueError("depth and convolutions must be at least 1")


class EncoderDecoder(DenseNetwork):
    """Stages of convolutions with 2x2 max pooling between them, a stage at the coarsest resolution, and the same
    stages mirrored, with an upsampler before each.

    Unlike in a U-Net, no features go across: what a score knows of the details came through the upsamplers, so that
    networks with different ones can be compared. Only "max_unpool" is told more: where the maxima stood.
    """

    def __init__(self, classes: int, settings: EncoderDecoderSettings) -> None:
        super().__init__()
        s = settings
        widths = [min(s.width * 2**i, s.max_width) for i in range(s.depth)]
        self.stride = 2**s.depth
        self.encode = nn.ModuleList(
            _stage([before, *[w] * s.convolutions], s.norm) for before, w in pairwise([3, *widths])
        )
        self.middle = _stage([widths[-1]] * (s.convolutions + 1), s.norm)
        self.upsample = nn.ModuleList(make_upsampler(s.upsampler, w) for w in reversed(widths))
        self.decode = nn.ModuleList(
            _stage([*[w] * s.convolutions, after], s.norm) for w, after in pairwise([*reversed(widths), widths[0]])
        )
        self.score = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of ``stride`` -> logits (B, K, H, W)."""
        x, pooled = images, []
        for stage in self.encode:
            fine = stage(x)  # (B, width * 2^i, H / 2^i, W / 2^i)
            x, indices = max_pool(fine, 2)
            pooled.append((indices, fine.shape[-2:]))
        x = self.middle(x)
        for upsample, stage, (indices, size) in zip(self.upsample, self.decode, reversed(pooled), strict=True):
            x = stage(upsample(x, indices, size))
        scores: Tensor = self.score(x)
        return scores


def _stage(widths: Sequence[int], norm: NormKind) -> nn.Sequential:
    """Convolutions from each number of channels to the next."""
    return nn.Sequential(*(convolution(a, b, norm) for a, b in pairwise(widths)))
