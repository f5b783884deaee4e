"""ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017): the part of the trunk that turns pixels into ever coarser
features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from segue.nn.norm import NormKind, make_norm

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1 of the paper


@dataclass(frozen=True)
class BackboneSettings:
    """Recipe values of the ResNet.

    Attributes:
        depth: 18, 34, 50 or 101.
        width: channels of the first stage's 3x3 convolutions; 64 is the published network.
        norm: ``batch`` (trained), ``frozen`` or ``group``.
        stem_pool: the max pooling after the first convolution. Without it every level is twice as fine, for objects
            of a few pixels.
        freeze: how many of the five parts (stem, four stages) stay as they are.
        groups: of the 3x3 convolutions, from depth 50 on (ResNeXt).
        group_width: channels of each group in the first stage; 0 shares ``width`` among the groups.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: int = 64
    norm: NormKind = "batch"
    stem_pool: bool = True
    freeze: int = 0
    groups: int = 1
    group_width: int = 0

    def __post_init__(self) -> None:
        if self.groups < 1 or self.group_width < 0:
            raise ValueError("groups must be at least 1, and group_width not below 0")
        if self.depth < 50 and (self.groups > 1 or self.group_width):
            raise ValueError("groups need depth 50 or 101")
        if self.inner % self.groups:
            raise ValueError(f"{self.inner} channels do not make {self.groups} groups")

    @property
    def inner(self) -> int:
        """Channels of the first stage's 3x3 convolutions."""
        return self.groups * self.group_width or self.width


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18 and 34).

    ``rates`` are the dilations of what computes at the resolution before the stride, the strided convolution included,
    and of what comes after it.
    """

    expansion = 1

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        norm: NormKind,
        eps: float,
        stride_in_1x1: bool,
        rates: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        before, after = rates
        self.conv1 = nn.Conv2d(channels, width, 3, stride, before, before, bias=False)
        self.norm1 = make_norm(norm, width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, 1, after, after, bias=False)
        self.norm2 = make_norm(norm, width, eps)
        self.shortcut = make_shortcut(channels, width, stride, norm, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride)."""
        y = self.norm1(self.conv1(x)).relu_()
        out: Tensor = self.norm2(self.conv2(y))
        return out.add_(self.shortcut(x)).relu_()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 around a shortcut (ResNet-50 and 101); the 3x3 may be wider, and in groups (ResNeXt).

    The stride sits in the 3x3 (torchvision) or in the first 1x1 (the original MSRA weights): a network computes
    something else when its weights meet the other placement. ``rates`` as of `BasicBlock`; ``inner`` are the channels
    of the 3x3, None for ``width``.
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        norm: NormKind,
        eps: float,
        stride_in_1x1: bool,
        rates: tuple[int, int] = (1, 1),
        inner: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        inner = inner or width
        first, second, rate = (stride, 1, rates[1]) if stride_in_1x1 else (1, stride, rates[0])
        self.conv1 = nn.Conv2d(channels, inner, 1, first, bias=False)
        self.norm1 = make_norm(norm, inner, eps)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, rate, rate, groups, bias=False)
        self.norm2 = make_norm(norm, inner, eps)
        self.conv3 = nn.Conv2d(inner, 4 * width, 1, bias=False)
        self.norm3 = make_norm(norm, 4 * width, eps)
        self.shortcut = make_shortcut(channels, 4 * width, stride, norm, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 * width, H / stride, W / stride)."""
        y = self.norm1(self.conv1(x)).relu_()
        y = self.norm2(self.conv2(y)).relu_()
        out: Tensor = self.norm3(self.conv3(y))
        return out.add_(self.shortcut(x)).relu_()


def make_shortcut(channels: int, out: int, stride: int, norm: NormKind, eps: float) -> nn.Module:
    """The identity where the shape stays, else a strided 1x1 convolution with its norm (option B of the paper)."""
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), make_norm(norm, out, eps))


class ResNet(nn.Module):
    """Stages 2 to 5 of a ResNet.

    The last ``dilated`` stages, at most three, keep their input's resolution: each stride becomes a doubled dilation of
    all that follows it (Yu et al. 2017; DeepLab's "hole" algorithm). Every second cell of the finer map is then exactly
    what the strided network computes, so that its weights fit.

    Attributes:
        channels: channels of the four maps that it returns.
        strides: pixels of the image per cell of each map: 4, 8, 16, 32, or half of that without ``stem_pool``; from
            the first dilated stage on they stay.
    """

    def __init__(
        self, settings: BackboneSettings, stride_in_1x1: bool = False, frozen_eps: float = 1e-5, dilated: int = 0
    ) -> None:
        super().__init__()
        s, block = settings, BasicBlock if settings.depth < 50 else Bottleneck
        self.stem = nn.Sequential(
            nn.Conv2d(3, s.width, 7, 2, padding=3, bias=False),
            make_norm(s.norm, s.width, frozen_eps),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1) if s.stem_pool else nn.Identity(),
        )
        channels, rate, stages = s.width, 1, []
        for i, count in enumerate(BLOCKS[s.depth]):
            before, rate = rate, 2 * rate if i >= 4 - dilated else rate
            layers: list[nn.Module] = []
            for j in range(count):
                stride = 2 if 0 < i < 4 - dilated and j == 0 else 1
                rates = (rate if j else before, rate)
                shape = channels, s.width * 2**i, stride, s.norm, frozen_eps, stride_in_1x1, rates
                layers.append(BasicBlock(*shape) if s.depth < 50 else Bottleneck(*shape, s.inner * 2**i, s.groups))
                channels = s.width * 2**i * block.expansion
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.channels = [s.width * 2**i * block.expansion for i in range(4)]
        first = 4 if s.stem_pool else 2
        self.strides = [first * 2 ** min(i, 3 - dilated) for i in range(4)]
        self._initialise()
        self.frozen = [self.stem, *self.stages][: s.freeze]
        for part in self.frozen:
            part.requires_grad_(False)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def train(self, mode: bool = True) -> ResNet:
        """As every module; frozen parts keep their batch statistics, too."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps, finest first: (B, channels[i], H / strides[i], W / strides[i]), rounded up."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
