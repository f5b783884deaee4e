"""A region network ready for use: pictures in, Scenes with regions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from segue.data.geometry import Geometry
from segue.data.transforms import resized_size
from segue.engine.predictor import Predictor
from segue.engine.tiles import predict_tiled
from segue.models.region_network import RegionNetwork
from segue.nn.normalise import normalise, pad_images
from segue.structures import Regions, Scene
from segue.tasks import Detections, PixelTask, RegionTask


class RegionPredictor(Predictor):
    """Finds objects, then lets every head read them."""

    network: RegionNetwork

    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """As of `Predictor`; an object on a tile's edge comes out once."""
        return predict_tiled(self, image, side, threshold, file)

    @torch.no_grad()  # not inference_mode: its tensors could not be used in anything that learns or writes in place
    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """Decoded pictures (3, H, W) uint8 with their files, through the network together."""
        originals = [(p.shape[1], p.shape[2]) for p, _ in pictures]
        resized = [resized_size(size, self.resize) for size in originals]
        images = [
            Geometry.resize(size, new).image(picture)
            for (picture, _), size, new in zip(pictures, originals, resized, strict=True)
        ]
        padded, sizes = pad_images(images, self.network.multiple)
        padded, sizes = padded.to(self.device), sizes.to(self.device)
        x = normalise(padded, sizes, self.network.conventions).contiguous(memory_format=torch.channels_last)
        levels, found = self.network.find(x, sizes)
        index = (found.valid & (found.scores >= threshold)).nonzero()  # (R, 2) image and slot, image by image
        owners, slots = index[:, 0], index[:, 1]
        wanted = [task.name for task in self.tasks]
        raw = self.network.read(levels, found.boxes[owners, slots], owners, wanted)
        maps = self.network.read_pixels(levels, wanted)
        scenes = []
        for i, (size, new, (_, file)) in enumerate(zip(originals, resized, pictures, strict=True)):
            scene = Scene(size, self.categories, self._regions(found, raw, i, owners, slots, size, new), file=file)
            scenes.append(self._with_maps(scene, {name: values[i] for name, values in maps.items()}, new))
        return scenes

    def _with_maps(self, scene: Scene, maps: Mapping[str, Tensor], shown: tuple[int, int]) -> Scene:
        """The scene with what the pixel tasks say of it; ``maps`` are the raw outputs of their heads."""
        for task in self.tasks:
            if isinstance(task, PixelTask) and task.name in maps:
                head: Any = self.network.pixel_heads[task.name]
                values, confidence = head.decode(maps[task.name], shown, scene.size)
                scene = replace(scene, confidence=confidence.cpu()).with_map(task.name, values.cpu())
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
        regions = Regions(found.boxes[image, chosen] * scale, found.labels[image, chosen], found.scores[image, chosen])
        for task in self.tasks:
            if isinstance(task, RegionTask) and task.name in raw:
                head: Any = self.network.heads[task.name]
                regions = regions.with_field(task.name, head.decode(rows_of(raw[task.name], rows), regions, size))
        return regions.to("cpu")


def rows_of(raw: Any, rows: Tensor) -> Any:
    """The rows of a raw output, which is a tensor or a tuple of tensors."""
    return tuple(part[rows] for part in raw) if isinstance(raw, tuple) else raw[rows]
