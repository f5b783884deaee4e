"""A region network ready for use: pictures in, Scenes with regions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from segue.engine.blend import label_tiles
from segue.engine.predictor import Predictor
from segue.engine.tiles import predict_tiled
from segue.models.region_network import RegionNetwork
from segue.nn.normalise import normalise, pad_images, resize_image, shown_size
from segue.structures import Regions, Scene
from segue.tasks import CAPTIONS, Detections, ImageTask, PixelTask, RegionTask
from segue.tasks.added import blame, checked_field
from segue.tasks.captions import CaptionHead


class RegionPredictor(Predictor):
    """Finds objects, then lets every head read them."""

    network: RegionNetwork

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """As of `Predictor`; an object on a tile's edge comes out once.

        Maps have tiles of their own, which start where the network's grid does; where those overlap, their
        probabilities fade into each other. What is said of the whole picture is read off a small copy of it.
        """
        finder = copy(self)
        finder.tasks = [task for task in self.tasks if isinstance(task, RegionTask)]
        scene = predict_tiled(finder, image, side, threshold, file)
        heads = {task.name: self._pixel_head(task.name) for task in self.tasks if task.name in self.network.pixel_heads}
        maps = {
            name: label_tiles(partial(self._probabilities, name), head.label, image, side, self.network.multiple)
            for name, head in heads.items()
        }
        return self._with_maps(self._glanced(scene, image, side), maps)

    @torch.no_grad()  # not inference_mode: its tensors could not be used in anything that learns or writes in place
    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """Decoded pictures (3, H, W) uint8 with their files, through the network together."""
        x, sizes = self.inputs([self.resized(picture) for picture, _ in pictures])
        levels, found = self.network.find(x, sizes)
        index = (found.valid & (found.scores >= threshold)).nonzero()  # (R, 2) image and slot, image by image
        owners, slots = index[:, 0], index[:, 1]
        wanted = [task.name for task in self.tasks]
        raw = self.network.read(levels, found.boxes[owners, slots], owners, wanted)
        pixels = self.network.read_pixels(levels, wanted)
        wholes = self.network.read_images(levels, sizes, wanted)
        scenes = []
        for i, ((picture, file), (h, w)) in enumerate(zip(pictures, sizes.tolist(), strict=True)):
            size = (picture.shape[1], picture.shape[2])
            scene = Scene(size, self.categories, self._regions(found, raw, i, owners, slots, size, (h, w)), file=file)
            maps = {name: self._pixel_head(name).decode(values[i], (h, w), size) for name, values in pixels.items()}
            scenes.append(self._with_maps(self._with_values(scene, wholes, i), maps))
        return scenes

    @property
    def captions(self) -> CaptionHead | None:
        """The head that tells captions, if the network has it."""
        return cast(CaptionHead, self.network.heads[CAPTIONS.name]) if CAPTIONS.name in self.network.heads else None

    @torch.no_grad()
    def region_codes(self, picture: Tensor, threshold: float) -> tuple[Regions, Tensor]:
        """The regions of a picture (3, H, W) uint8 in its pixels, and their codes (R, D), from which `captions` tells.

        Regions with a score below ``threshold`` are left out.
        """
        x, sizes = self.inputs([self.resized(picture)])
        levels, found = self.network.find(x, sizes)
        kept = found.valid[0] & (found.scores[0] >= threshold)
        boxes, labels, scores = found.boxes[0, kept], found.labels[0, kept], found.scores[0, kept]
        codes: Tensor = self.network.read(levels, boxes, torch.zeros_like(labels), [CAPTIONS.name])[CAPTIONS.name]
        scale = boxes.new_tensor([picture.shape[2], picture.shape[1]] * 2) / sizes[0].flip(0).repeat(2)
        return Regions(boxes * scale, labels, scores), codes

    def resized(self, picture: Tensor) -> Tensor:
        """A picture (3, H, W) uint8 in the size in which the network sees it, by its conventions."""
        conventions = self.network.conventions
        size = shown_size((picture.shape[1], picture.shape[2]), self.resize, conventions)
        return resize_image(picture, size, conventions)

    def inputs(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Images (3, h, w) in [0, 255] -> normalised, padded (B, 3, H, W); and their sizes (B, 2) without padding."""
        padded, shown = pad_images(images, self.network.multiple)
        padded, shown = padded.to(self.device), shown.to(self.device)
        x = normalise(padded, shown, self.network.conventions)
        return x.contiguous(memory_format=torch.channels_last), shown

    @torch.no_grad()
    def _probabilities(self, name: str, picture: Tensor) -> Tensor:
        """What the pixel head of a task says of a picture (3, H, W) uint8: (outputs, H, W), on the CPU."""
        x, sizes = self.inputs([self.resized(picture)])
        raw = self.network.read_pixels(self.network.trunk(x), [name])[name]
        found: Tensor = self._pixel_head(name).probabilities(raw[0], tuple(sizes[0].tolist()), tuple(picture.shape[1:]))
        return found.cpu()

    @torch.no_grad()
    def _glanced(self, scene: Scene, picture: Tensor, side: int) -> Scene:
        """The scene with what is said of the whole picture (3, H, W) uint8, shown so that it fits into a tile."""
        wanted = [task.name for task in self.tasks if isinstance(task, ImageTask)]
        if not wanted:
            return scene
        size = shown_size(scene.size, (min(side, *scene.size), side), self.network.conventions)
        x, sizes = self.inputs([self.resized(resize_image(picture, size, self.network.conventions))])
        return self._with_values(scene, self.network.read_images(self.network.trunk(x), sizes, wanted), 0)

    def _with_values(self, scene: Scene, raw: Mapping[str, Tensor], image: int) -> Scene:
        """The scene with what the heads that read whole pictures say of one of them: raw outputs (B, ...) by task."""
        for name, values in raw.items():
            head: Any = self.network.image_heads[name]
            scene = scene.with_field(name, head.decode(values[image]))
        return scene

    def _pixel_head(self, name: str) -> Any:
        return self.network.pixel_heads[name]

    def _with_maps(self, scene: Scene, maps: Mapping[str, tuple[Tensor, Tensor]]) -> Scene:
        """The scene with maps and their confidence by task, and with the maps that follow from others."""
        for name, (values, confidence) in maps.items():
            scene = replace(scene, confidence=confidence.cpu()).with_field(name, values.cpu())
        for task in self.tasks:
            if isinstance(task, PixelTask) and task.derive is not None:
                scene = task.derive(scene, self.network.settings.head(task))
        return scene

    def _regions(
        self,
        found: Detections,
        raw: dict[str, Any],
        image: int,
        owners: Tensor,
        slots: Tensor,
        size: tuple[int, int],
        resized: tuple[int, int],
    ) -> Regions:
        """The regions of one picture, in its own pixels, with every task's field."""
        rows = (owners == image).nonzero()[:, 0]
        chosen = slots[rows]
        scale = found.boxes.new_tensor([size[1] / resized[1], size[0] / resized[0]] * 2)
        boxes = found.boxes[image, chosen]
        regions = Regions(boxes * scale, found.labels[image, chosen], found.scores[image, chosen])
        for task in self.tasks:
            if isinstance(task, RegionTask) and task.name in raw:
                head: Any = self.network.heads[task.name]
                last = (boxes,) if task.shown else ()
                with blame(task.package, task.name):
                    value = head.decode(rows_of(raw[task.name], rows), regions, size, *last)
                    regions = regions.with_field(task.name, checked_field(value, len(regions)))
        return regions.to("cpu")


def rows_of(raw: Any, rows: Tensor) -> Any:
    """The rows of a raw output, which is a tensor or a tuple of tensors."""
    return tuple(part[rows] for part in raw) if isinstance(raw, tuple) else raw[rows]
