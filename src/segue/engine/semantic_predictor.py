"""A semantic network ready for use: pictures in, Scenes with the class of every pixel out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.engine.blend import label_tiles
from segue.engine.predictor import PixelOptions, Predictor
from segue.engine.superpixels import SuperpixelSettings, purity_cover, superpixel_labels, superpixels
from segue.engine.tiles import check_side
from segue.errors import UsageError
from segue.models.semantic_network import SemanticNetwork
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size
from segue.structures import Regions, Scene


class SemanticPredictor(Predictor):
    """Labels every pixel."""

    network: SemanticNetwork
    options = PixelOptions()

    def with_options(self, options: PixelOptions) -> SemanticPredictor:
        """As of `Predictor`."""
        chosen = copy(self)
        chosen.options = options
        return chosen

    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """As of `Predictor`; ``threshold`` says nothing to it."""
        found = self.probabilities([pixels for pixels, _ in pictures])
        return [self._scene(*self._label(p, pixels), file) for p, (pixels, file) in zip(found, pictures, strict=True)]

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """As of `Predictor`; where tiles overlap, their probabilities fade into each other."""
        check_side(side)
        if self.options.smooth != "pixels":
            raise UsageError("superpixels are of whole pictures", where="--smooth", cure="leave out --tile or --smooth")
        maps = label_tiles(lambda part: self.probabilities([part])[0], best, image, side, self.network.body.period)
        return self._scene(*maps, file)

    @torch.no_grad()
    def probabilities(self, pictures: Sequence[Tensor]) -> list[Tensor]:
        """Pictures (3, H, W) uint8 -> for each (K, H, W) float32 probabilities of the classes, on the CPU."""
        sizes, conventions = [(p.shape[1], p.shape[2]) for p in pictures], self.network.conventions
        total = [torch.zeros(())] * len(sizes)
        for scale in self.options.scales:
            resized = [scaled(shown_size(size, self.resize, conventions), scale) for size in sizes]
            images = [resize_image(p, size, conventions) for p, size in zip(pictures, resized, strict=True)]
            seen = self._look(images)
            if self.options.flip:
                mirrored = self._look([image.flip(2) for image in images])
                seen = [a + b.flip(2) for a, b in zip(seen, mirrored, strict=True)]
            total = [t + restore(p, size) for t, p, size in zip(total, seen, sizes, strict=True)]
        count = len(self.options.scales) * (1 + self.options.flip)
        return [t.div_(count).cpu() for t in total]

    def _look(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Pictures (3, h, w) in [0, 255] -> the network's probabilities (K, h, w) of each, without the padding."""
        padded, sizes = pad_images(images, self.network.multiple)
        padded, sizes = padded.to(self.device), sizes.to(self.device)
        x = normalise(padded, sizes, self.network.conventions).contiguous(memory_format=torch.channels_last)
        found = self.network.probabilities(x)
        return [p[:, : image.shape[1], : image.shape[2]] for p, image in zip(found, images, strict=True)]

    def _label(self, probabilities: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The class of every pixel, (H, W) int16, and its probability (H, W)."""
        if self.options.smooth == "pixels":
            return best(probabilities)
        segments = superpixels(image, SuperpixelSettings())
        if self.options.smooth == "cover":
            labels = purity_cover(probabilities, image, segments)
        else:
            labels = superpixel_labels(probabilities, segments)
        return labels, probabilities.gather(0, labels[None].long())[0].clamp(max=1.0)

    def _scene(self, labels: Tensor, confidence: Tensor, file: str | None) -> Scene:
        size = (labels.shape[0], labels.shape[1])
        return Scene(size, self.categories, Regions.empty(), semantic=labels, confidence=confidence, file=file)


def best(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """(K, H, W) -> the likeliest class (H, W) int16 and its probability (H, W)."""
    confidence, labels = probabilities.max(0)
    return labels.short(), confidence.clamp(max=1.0)


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) times a factor, at least one pixel."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def restore(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, h, w) -> (K, H, W), bilinear."""
    if tuple(probabilities.shape[1:]) == size:
        return probabilities
    return F.interpolate(probabilities[None], size, mode="bilinear", align_corners=False)[0]
