"""The recurrent convolutional network of Pinheiro & Collobert (2014): it corrects its own labels, seeing ever more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.nn.dense.network import DenseNetwork
from segue.nn.sliding_window import Field, receptive_field, shift_and_stitch, surround

WRONG_IN_BFLOAT16 = {8, 12}
"""Input planes for which oneDNN 3.12 (torch 2.13) gives wrong 8x8 convolutions on processors with AMX."""


@dataclass(frozen=True)
class RecurrentSettings:
    """Recipe values of the recurrent network.

    Attributes:
        instances: times that the network is applied to its own scores.
        maps: channels of its two large convolutions.
        full_resolution: in use, each pixel gets the scores of its own surroundings; else those of every
            ``2 ** instances``-th are interpolated, which takes a small part of the time.
    """

    instances: Literal[1, 2, 3] = 3
    maps: tuple[int, int] = (25, 50)
    full_resolution: bool = True


class Recurrent(DenseNetwork):
    """One small network f without padding: it maps scores and picture, K + 3 planes, to scores on a grid half as fine.

    The first instance gets zeros for scores, each later one the scores of the one before beside the picture at their
    resolution (section 3 of the paper). One, two and three instances see 23, 67 and 155 pixels at strides of 2, 4, 8.

    The paper resizes a patch to the size of its scores, which moves the two against each other. Here the smaller
    picture is taken where the scores are: at the centre of what each has seen, weighted 1 2 1 down and across.
    Zeros around the picture let every pixel have its surroundings; see `surround` for where cells have their centre.
    """

    def __init__(self, classes: int, settings: RecurrentSettings) -> None:
        super().__init__()
        s = self.settings = settings
        self.classes = classes
        self.float_on_cpu = not WRONG_IN_BFLOAT16.isdisjoint((classes + 3, s.maps[0]))
        self.stride = 2**s.instances
        self.f = nn.Sequential(
            nn.Conv2d(classes + 3, s.maps[0], 8),
            nn.MaxPool2d(2),
            nn.Tanh(),
            nn.Conv2d(s.maps[0], s.maps[1], 8),
            nn.Conv2d(s.maps[1], classes, 1),
        )
        for module in self.f:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        self.seen = receptive_field(self.f)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of ``stride`` -> logits (B, K, H, W); while training always interpolated."""
        instances = self.settings.instances
        if self.settings.full_resolution and not self.training:
            size = self.field(instances).size
            return self._scores(self._start(images, Field(size, 1)), instances, dense=True)
        coarse = self.coarse(images, instances).float()
        return F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)

    def training_logits(self, images: Tensor) -> list[tuple[Tensor, float]]:
        """The logits (B, K, H / 2^p, W / 2^p) of 1 ... p ... ``instances`` instances, whose losses are added.

        Each is computed by itself: the cells' centres of one grid are no cells' centres of the next.
        """
        return [(self.coarse(images, p), 1.0) for p in range(1, self.settings.instances + 1)]

    def coarse(self, images: Tensor, instances: int) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H / 2^p, W / 2^p) of p instances, for cells of 2^p by 2^p pixels."""
        return self._scores(self._start(images, self.field(instances)), instances, dense=False)

    def field(self, instances: int) -> Field:
        """What an output of so many instances sees."""
        f, size = self.seen, 1
        for _ in range(instances):
            size = f.size + (size - 1) * f.stride
        return Field(size, f.stride**instances)

    def _start(self, images: Tensor, field: Field) -> Tensor:
        """What the first instance gets: no scores yet, and the picture with its surroundings."""
        padded = surround(images, field)
        blank = padded.new_zeros(len(padded), self.classes, *padded.shape[2:])
        return torch.cat([blank, padded], 1)

    def _scores(self, state: Tensor, instances: int, dense: bool) -> Tensor:
        """The scores after some more instances; ``dense`` at every position of the state, not every 2^p-th.

        Shifting each instance by one of its own pixels makes all 2^p shifts of the picture, but each instance runs on
        each position once.
        """
        if instances == 0:
            return state[:, : self.classes]

        def rest(x: Tensor) -> Tensor:
            return self._scores(self._instance(x), instances - 1, dense)

        return shift_and_stitch(rest, state, Field(self.field(instances).size, 2)) if dense else rest(state)

    def _instance(self, state: Tensor) -> Tensor:
        """Scores and picture (B, K + 3, H, W) -> the same on the grid of the new scores."""
        device = state.device.type
        low_precision = torch.is_autocast_enabled(device) and not (self.float_on_cpu and device == "cpu")
        with torch.autocast(device, enabled=low_precision):
            scores: Tensor = self.f(state)
        first = self.seen.size // 2 - 1  # one before the centre of the first square
        picture = F.avg_pool2d(F.avg_pool2d(state[:, self.classes :, first:, first:], 2, 1), 2)
        return torch.cat([scores, picture[..., : scores.shape[2], : scores.shape[3]]], 1)
