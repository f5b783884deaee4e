"""Hierarchical features at several scales (Farabet et al. 2013): one network at every scale of a pyramid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.network import DenseNetwork
from segue.nn.pyramids import laplacian_pyramid, local_normalise, rgb_to_yuv

KERNEL = 7
TABLE_SEED = 0  # of the random connections, which are part of the network


@dataclass(frozen=True)
class FarabetSettings:
    """Recipe values of the network of Farabet et al.

    Attributes:
        maps: channels after each of the three convolutions. In the first, 10 of 16 see the brightness and the others
            the colours; in the second and third, every map sees half of the maps before it.
        scales: levels of the pyramid; 1 is the single-scale network.
        window: odd side of the windows that are normalised, in pixels of each scale.
        hidden: units of the layer before the scores, 1024 in the paper; 0 for a linear classifier.
    """

    maps: tuple[int, int, int] = (16, 64, 256)
    scales: int = 3
    window: int = 15
    hidden: int = 0

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or self.scales < 1:
            raise ValueError("window must be odd and scales at least 1")


class Farabet(DenseNetwork):
    """The picture in YUV becomes a Laplacian pyramid, each band is normalised in small windows, and all pass the same
    three convolutions. The coarse features are brought to the finest ones (a quarter of the picture), and a classifier
    looks at all of them, 768 with the published values, at every place (sections 3 and 4 of the paper).

    The colour matrix works on the normalised picture as it comes. Convolutions pad with zeros, which after the local
    normalisation are the mean, so that every place of the picture has its features. Features and scores are upsampled
    bilinearly. The labels of the paper come from its superpixels: see ``segue.engine.superpixels``.
    """

    def __init__(self, classes: int, settings: FarabetSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.stride = 4 * 2 ** (s.scales - 1)
        self.features = shared_network(s)
        channels = s.scales * s.maps[2]
        self.score = nn.Sequential()
        if s.hidden:
            self.score.extend([nn.Conv2d(channels, s.hidden, 1), nn.Tanh()])
            channels = s.hidden
        self.score.append(nn.Conv2d(channels, classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of ``stride`` -> logits (B, K, H, W)."""
        return F.interpolate(self._coarse(images).float(), images.shape[2:], mode="bilinear", align_corners=False)

    def training_logits(self, images: Tensor) -> list[tuple[Tensor, float]]:
        """The logits (B, K, H / 4, W / 4) as the classifier gives them."""
        return [(self._coarse(images), 1.0)]

    def _coarse(self, images: Tensor) -> Tensor:
        maps = [self.features(band) for band in self._bands(images)]  # (B, maps[2], H / 2^i / 4, W / 2^i / 4)
        size = maps[0].shape[2:]
        fine = [maps[0], *(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps[1:])]
        scores: Tensor = self.score(torch.cat(fine, 1))
        return scores

    def _bands(self, images: Tensor) -> list[Tensor]:
        with torch.autocast(images.device.type, enabled=False):  # differences of near values need all their digits
            bands = laplacian_pyramid(rgb_to_yuv(images.float()), self.settings.scales)
            return [local_normalise(band, self.settings.window) for band in bands]


class SparseConvolution(nn.Module):
    """A 7x7 convolution padded by zeros whose output maps each see some of the input maps.

    Attributes:
        table: (out, in) float, 1 where the output map sees the input map.
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        out, channels = table.shape
        self.conv = nn.Conv2d(channels, out, KERNEL, padding=KERNEL // 2)
        self.register_buffer("table", table)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="tanh")
        with torch.no_grad():  # He's variance counts the inputs that there are
            self.conv.weight.mul_((channels / table.sum(1)).sqrt()[:, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        c = self.conv
        return F.conv2d(x, c.weight * self.table[:, :, None, None], c.bias, padding=c.padding)


def shared_network(settings: FarabetSettings) -> nn.Sequential:
    """(B, 3, H, W) YUV -> features (B, maps[2], H / 4, W / 4); each sees 46 by 46 pixels with the published values."""
    first, second, third = settings.maps
    random = torch.Generator().manual_seed(TABLE_SEED)
    return nn.Sequential(
        SparseConvolution(colour_table(first)),
        nn.Tanh(),
        nn.MaxPool2d(2),
        SparseConvolution(random_table(first, second, random)),
        nn.Tanh(),
        nn.MaxPool2d(2),
        SparseConvolution(random_table(second, third, random)),
    )


def colour_table(maps: int) -> Tensor:
    """(maps, 3): ten of sixteen see Y, the others U and V."""
    bright = torch.arange(maps) < round(maps * 10 / 16)
    return torch.stack([bright, ~bright, ~bright], 1).float()


def random_table(inputs: int, outputs: int, random: torch.Generator) -> Tensor:
    """(outputs, inputs): each output sees half of the inputs, different ones by chance."""
    ranks = torch.rand(outputs, inputs, generator=random).argsort(1).argsort(1)
    return (ranks < (inputs + 1) // 2).float()
