"""VGG16's convolutions (Simonyan & Zisserman 2015), forwards and backwards: the body of FCN, DeconvNet and SegNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from segue.ops.upsample import max_pool, max_unpool

COUNTS = (2, 2, 3, 3, 3)  # convolutions of the five stages: column D of table 1


class Pooled(NamedTuple):
    """One 2x2 max pooling: its values and their indices, both (B, C, h, w), and the size (H, W) of what it pooled."""

    values: Tensor
    indices: Tensor
    size: tuple[int, int]


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each followed by 2x2 max pooling that rounds odd sides up.

    Args:
        width: channels of the first stage; 64 is the published network. They double up to eightfold.
        norm: batch norm after every convolution, which then has no bias, or none.
        padding: of the very first convolution.

    Attributes:
        channels: of the five maps.
    """

    def __init__(self, width: int = 64, norm: Literal["none", "batch"] = "batch", padding: int = 1) -> None:
        super().__init__()
        self.channels = widths(width)
        stages = []
        for i, (before, out, count) in enumerate(zip([3, *self.channels], self.channels, COUNTS, strict=False)):
            layers = [
                with_norm(nn.Conv2d(out if j else before, out, 3, 1, 1 if i or j else padding, bias=norm == "none"))
                for j in range(count)
            ]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)

    def pooled(self, images: Tensor) -> list[Pooled]:
        """(B, 3, H, W) -> the poolings at strides 2, 4, 8, 16 and 32, each (B, channels[i], ...)."""
        x, pools = images, []
        for stage in self.stages:
            x = stage(x)
            pool = Pooled(*max_pool(x, 2), (x.shape[2], x.shape[3]))
            pools.append(pool)
            x = pool.values
        return pools

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the pooled maps at strides 2, 4, 8, 16 and 32."""
        return [pool.values for pool in self.pooled(images)]


class MirroredVGG(nn.Module):
    """The way back: for each pooling, from the last to the first, its unpooling and the stage's convolutions mirrored.

    The last convolution of a stage has as many channels as the stage before; that of the first stage has ``width``.

    Args:
        width: of the `VGG` that it mirrors.
        transposed: transposed convolutions (DeconvNet) in place of ordinary ones (SegNet). With stride 1 the two can
            compute the same, with filters turned by half a turn.
    """

    def __init__(self, width: int, transposed: bool) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        channels = widths(width)
        stages = []
        for own, out, count in zip(channels, [width, *channels], COUNTS, strict=False):
            outs = [own] * (count - 1) + [out]
            stages.append(nn.Sequential(*(with_norm(kind(own, c, 3, padding=1, bias=False)) for c in outs)))
        self.stages = nn.ModuleList(reversed(stages))

    def forward(self, x: Tensor, pools: Sequence[Pooled]) -> Tensor:
        """(B, 8 * width, h, w) like the last of ``pools`` -> (B, width, H, W), the size of what the first pooled."""
        for stage, pool in zip(self.stages, reversed(pools), strict=True):
            x = stage(max_unpool(x, pool.indices, pool.size))
        return x


def widths(width: int) -> list[int]:
    """Channels of the five stages."""
    return [width * scale for scale in (1, 2, 4, 8, 8)]


def with_norm(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """A convolution with ReLU, and with batch norm in place of a bias."""
    norm = [nn.BatchNorm2d(conv.out_channels)] if conv.bias is None else []
    return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))
