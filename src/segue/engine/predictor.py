"""A model ready for use: pictures in, Scenes out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segue.data.geometry import Geometry
from segue.data.images import read_image, to_tensor
from segue.data.transforms import resized_size
from segue.engine.recipe import check_network
from segue.errors import CheckpointError, UsageError
from segue.models.region_network import RegionNetwork
from segue.models.weights import load_state, read_model
from segue.models.zoo import find_model
from segue.nn.normalise import normalise, pad_images
from segue.structures import Categories, Regions, Scene
from segue.tasks import Detections, RegionTask, tasks_named

Picture = str | Path | Image.Image | NDArray[Any] | Tensor


class Predictor:
    """A trained network with its classes and tasks. Thread-safe: predicting changes nothing in it.

    Attributes:
        name: of the model.
        network: the region network, in evaluation mode.
        categories: what its labels mean.
        tasks: what it fills in.
        resize: shorter side and cap of the longer side that pictures are brought to, or None.
        notes: what its file says of it: metrics, recipe, licence.
    """

    def __init__(
        self,
        name: str,
        network: RegionNetwork,
        categories: Categories,
        tasks: Sequence[RegionTask],
        resize: tuple[int, int] | None = None,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.name, self.categories, self.tasks = name, categories, list(tasks)
        self.network, self.resize, self.notes = network.eval(), resize, notes or {}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def only(self, names: Sequence[str]) -> Predictor:
        """The same model with some of its tasks; the one that chooses detections always runs.

        Raises:
            UsageError: the model has no such task.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{self.name} has no task {name!r}", where="--tasks", cure=f"it has {', '.join(known)}"
                )
        tasks = [task for task in self.tasks if task.name in names or task.selects]
        return Predictor(self.name, self.network, self.categories, tasks, self.resize, self.notes)

    def predict(self, pictures: Picture | Sequence[Picture], threshold: float = 0.5, batch: int = 1) -> Any:
        """Scenes of pictures: one for one picture, a list for a list.

        Args:
            pictures: a path, PIL image, (H, W, 3) or (H, W) array, (3, H, W) uint8 tensor, or a list of these.
            threshold: detections with a lower score are left out.
            batch: pictures of equal size that go through the network together.

        Raises:
            ImageError: a file is not a readable picture.
            UsageError: a picture is of no known kind.
        """
        if _is_list(pictures):
            return list(self.stream(pictures, threshold, batch))
        return next(self.stream([pictures], threshold, batch))  # type: ignore[list-item]

    def stream(self, pictures: Sequence[Picture], threshold: float = 0.5, batch: int = 1) -> Iterator[Scene]:
        """As `predict`, but one Scene after the other, in order, with only a batch in memory."""
        decoded = ((_decode(p), str(p) if isinstance(p, str | Path) else None) for p in pictures)
        return (scene for _, scene in self.look(decoded, threshold, batch))

    def look(
        self, pictures: Iterable[tuple[Tensor, str | None]], threshold: float = 0.5, batch: int = 1
    ) -> Iterator[tuple[Tensor, Scene]]:
        """Decoded pictures (3, H, W) uint8 with their files -> each with its scene, in order.

        Raises:
            UsageError: ``batch`` is below 1.
        """
        if batch < 1:
            raise UsageError(f"a batch of {batch} pictures", cure="use 1 or more")
        for _, group in groupby(pictures, key=lambda picture: picture[0].shape):
            while chunk := list(islice(group, batch)):
                yield from zip([pixels for pixels, _ in chunk], self.scenes(chunk, threshold), strict=True)

    @torch.no_grad()  # not inference_mode: its tensors could not be used in anything that learns or writes in place
    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """Decoded pictures (3, H, W) uint8 with their files, through the network together."""
        originals = [(p.shape[1], p.shape[2]) for p, _ in pictures]
        resized = [resized_size(size, self.resize) for size in originals]
        images = [
            Geometry.resize(size, new).image(picture)
            for (picture, _), size, new in zip(pictures, originals, resized, strict=True)
        ]
        padded, sizes = pad_images(images, self.network.trunk.strides[-2])
        padded, sizes = padded.to(self.device), sizes.to(self.device)
        x = normalise(padded, sizes, self.network.conventions).contiguous(memory_format=torch.channels_last)
        levels, found = self.network.find(x, sizes)
        index = (found.valid & (found.scores >= threshold)).nonzero()  # (R, 2) image and slot, image by image
        owners, slots = index[:, 0], index[:, 1]
        wanted = [task.name for task in self.tasks]
        raw = self.network.read(levels, found.boxes[owners, slots], owners, wanted)
        return [
            Scene(size, self.categories, self._regions(found, raw, i, owners, slots, size, new), file=file)
            for i, (size, new, (_, file)) in enumerate(zip(originals, resized, pictures, strict=True))
        ]

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
            if task.name in raw:
                head: Any = self.network.heads[task.name]
                regions = regions.with_field(task.name, head.decode(rows_of(raw[task.name], rows), regions, size))
        return regions.to("cpu")


def rows_of(raw: Any, rows: Tensor) -> Any:
    """The rows of a raw output, which is a tensor or a tuple of tensors."""
    return tuple(part[rows] for part in raw) if isinstance(raw, tuple) else raw[rows]


def pick_device(name: str) -> torch.device:
    """``auto`` is the first GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
            return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError):
        pass
    raise UsageError(f"no device {name!r} here", where="--device", cure="use auto, cpu, cuda, cuda:N or mps")


def load(model: str | Path, device: str = "auto") -> Predictor:
    """A zoo name, a .safetensors file, or the folder of a training run -> a `Predictor`.

    Raises:
        CheckpointError: the file is damaged, not a model, or does not fit its own settings.
        UsageError: there is no such model or device.
    """
    target = pick_device(device)
    path = find_model(str(model))
    file = read_model(path)
    tasks = tasks_named(list(file.network.get("tasks", {})))
    try:
        categories = Categories.from_json(file.categories)
        network = RegionNetwork(check_network(file.network, tasks, str(path)), categories, tasks)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, MemoryError) as error:
        what = f"settings of an impossible network ({type(error).__name__}: {error})"
        raise CheckpointError(what, where=path, cure="use a file that Segue wrote") from error
    load_state(network, file.state, path)
    network.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Predictor(file.name, network, categories, tasks, file.resize, file.notes)


def _is_list(pictures: Any) -> TypeGuard[Sequence[Picture]]:
    return isinstance(pictures, list | tuple)


def _decode(picture: Any) -> Tensor:
    if isinstance(picture, str | Path):
        return read_image(picture)
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3 or not picture.numel():
            raise UsageError(f"a tensor picture must be (3, H, W) uint8, not {tuple(picture.shape)} {picture.dtype}")
        return picture
    if isinstance(picture, Image.Image | np.ndarray):
        return to_tensor(picture)
    raise UsageError(f"cannot look at a {type(picture).__name__}", cure="give a path, PIL image, array or tensor")
