"""Feature pyramid network (Lin et al. 2017): every level gets the meaning of the coarse and the place of the fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.norm import NormKind, normed


@dataclass(frozen=True)
class PyramidSettings:
    """Recipe values of the pyramid.

    Attributes:
        channels: of every level; 256 is the published network.
        norm: after every convolution, which then has no bias; None for none, as published.
        colours: every cell also has the mean colour of its pixels, in three channels more. What a thing is survives the
            way through the backbone, its hue does not.
    """

    channels: int = 256
    norm: NormKind | None = None
    colours: bool = False


class FPN(nn.Module):
    """Lateral 1x1, nearest-neighbour top-down sum, output 3x3, and one coarser level by subsampling the last.

    The coarser level (P6) is for proposals of large objects only; RoIAlign does not read it (section 4.1).
    """

    def __init__(self, channels: Sequence[int], settings: PyramidSettings) -> None:
        super().__init__()
        out, norm, bias = settings.channels, settings.norm, settings.norm is None
        self.lateral = nn.ModuleList(normed(nn.Conv2d(c, out, 1, bias=bias), norm) for c in channels)
        self.output = nn.ModuleList(normed(nn.Conv2d(out, out, 3, padding=1, bias=bias), norm) for _ in channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, H_i, W_i), finest first -> one more map than came in, each (B, channels, H_i, W_i)."""
        inner = self.lateral[-1](maps[-1])
        levels = [self.output[-1](inner)]
        for i in range(len(maps) - 2, -1, -1):
            lateral = self.lateral[i](maps[i])
            inner = lateral.add_(F.interpolate(inner, size=lateral.shape[-2:], mode="nearest"))
            levels.insert(0, self.output[i](inner))
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]
