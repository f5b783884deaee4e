"""DenseCap ready for use: pictures in, Scenes with boxes and a sentence about each out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segue.engine.predictor import Predictor
from segue.engine.tiles import predict_tiled
from segue.models.densecap import DenseCap
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size
from segue.structures import Regions, Scene
from segue.tasks import CAPTIONS
from segue.tasks.captions import CaptionHead


class DenseCapPredictor(Predictor):
    """Finds regions of category 0 and tells what is in them."""

    network: DenseCap

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """As of `Predictor`; a region on a tile's edge comes out once."""
        return predict_tiled(self, image, side, threshold, file)

    @property
    def captions(self) -> CaptionHead:
        """The head that tells captions."""
        return self.network.captions

    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """As of `Predictor`."""
        found = self._codes([picture for picture, _ in pictures], threshold)
        sizes = [(picture.shape[1], picture.shape[2]) for picture, _ in pictures]
        return [
            Scene(size, self.categories, self._told(regions, codes, size).to("cpu"), file=file)
            for (regions, codes), size, (_, file) in zip(found, sizes, pictures, strict=True)
        ]

    def region_codes(self, picture: Tensor, threshold: float) -> tuple[Regions, Tensor]:
        """As of `RegionPredictor`."""
        return self._codes([picture], threshold)[0]

    @torch.no_grad()
    def _codes(self, pictures: Sequence[Tensor], threshold: float) -> list[tuple[Regions, Tensor]]:
        """The regions of each picture (3, H, W) uint8 in its pixels, and their codes (R, D)."""
        sizes = [(picture.shape[1], picture.shape[2]) for picture in pictures]
        c = self.network.conventions
        resized = [
            resize_image(picture, shown_size(size, self.resize, c), c)
            for size, picture in zip(sizes, pictures, strict=True)
        ]
        padded, shown = (values.to(self.device) for values in pad_images(resized, self.network.multiple))
        x = normalise(padded, shown, self.network.conventions).contiguous(memory_format=torch.channels_last)
        found, codes = self.network.find(x, shown)
        kept = found.valid & (found.scores >= threshold)
        everything = []
        for i, (h, w) in enumerate(sizes):
            scale = found.boxes.new_tensor([w, h] * 2) / shown[i].flip(0).repeat(2)
            own = kept[i]
            regions = Regions(found.boxes[i, own] * scale, found.labels[i, own], found.scores[i, own])
            everything.append((regions, codes[i, own]))
        return everything

    @torch.no_grad()
    def _told(self, regions: Regions, codes: Tensor, size: tuple[int, int]) -> Regions:
        """The regions with a sentence each, unless that is not wanted."""
        if CAPTIONS not in self.tasks:
            return regions
        return regions.with_field(CAPTIONS.name, self.captions.decode(codes, regions, size))
