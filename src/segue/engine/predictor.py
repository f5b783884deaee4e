"""A model ready for use: pictures in, Scenes out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segue.data.images import read_image, to_tensor
from segue.data.inputs import is_video
from segue.data.video import named_frames
from segue.engine.batches import Batch, Room, by_size, in_order, room_for
from segue.errors import ImageError, UsageError
from segue.nn.conventions import SEGUE
from segue.nn.normalise import shown_size
from segue.structures import Categories, Scene
from segue.tasks import PixelTask, Task

NO_MEMORY = "allocate memory|out of memory|not enough memory"
"""What torch says where memory runs out; for that of the processor it has no class of its own."""

Picture = str | Path | Image.Image | NDArray[Any] | Tensor


@dataclass(frozen=True)
class PixelOptions:
    """How to label pixels.

    Attributes:
        flip: average with the mirrored picture (test-time augmentation).
        scales: average over these factors of the picture's size.
        smooth: what shares one label: every pixel for itself, superpixels, or the purest segments of a tree of them
            (Farabet et al. 2013, section 4).
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    smooth: Literal["pixels", "superpixels", "cover"] = "pixels"

    def __post_init__(self) -> None:
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise UsageError("scales must be from 0.1 to 10", where="--scales", cure="such as 0.75,1,1.25")


class Predictor(ABC):
    """A trained network with its classes and tasks. Thread-safe: predicting changes nothing in it.

    Attributes:
        name: of the model.
        network: in evaluation mode.
        categories: what its labels mean.
        tasks: what it fills in.
        resize: shorter side and cap of the longer side that pictures are brought to, or None.
        notes: what its file says of it: metrics, recipe, licence.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        categories: Categories,
        tasks: Sequence[Task],
        resize: tuple[int, int] | None = None,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.name, self.categories, self.tasks = name, categories, list(tasks)
        self.network, self.resize, self.notes = network.eval(), resize, notes or {}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @abstractmethod
    def scenes(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float) -> list[Scene]:
        """Decoded pictures (3, H, W) uint8 with their files, through the network together."""

    @abstractmethod
    def tiled(self, image: Tensor, side: int, threshold: float, file: str | None = None) -> Scene:
        """The scene of one picture (3, H, W) uint8, with only a tile of ``side`` pixels in the network at a time.

        Raises:
            UsageError: ``side`` is below 64 pixels.
        """

    def with_options(self, options: PixelOptions) -> Predictor:
        """The same model, labelling pixels in another way.

        Raises:
            UsageError: the model labels no pixels.
        """
        where = "--flip, --scales, --smooth"
        raise UsageError(f"{self.name} finds objects and labels no pixels", where=where, cure="leave them out")

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
        needed = {
            need for task in self.tasks if task.name in names and isinstance(task, PixelTask) for need in task.needs
        }
        chosen = copy(self)
        chosen.tasks = [task for task in self.tasks if task.name in needed.union(names) or task.selects]
        return chosen

    def predict(
        self, pictures: Picture | Sequence[Picture] | Iterator[Picture], threshold: float = 0.5, batch: Batch = 1
    ) -> Any:
        """Scenes of pictures: one for one picture, a list for a list, and as of `stream` for a generator or a video.

        Args:
            pictures: a path, PIL image, (H, W, 3) RGB or (H, W) array, (3, H, W) uint8 tensor, a list or a generator of
                these, or the path of a video.
            threshold: detections with a lower score are left out.
            batch: pictures of equal size that go through the network together; ``auto`` takes as many as pay on a CPU,
                as there is room for on a GPU. The scenes come in order, the first after twice as many pictures at most.

        Raises:
            ImageError: a file is not a readable picture or video.
            UsageError: a picture is of no known kind, or PyAV is missing for a video.
        """
        if isinstance(pictures, list | tuple):
            return list(self.stream(pictures, threshold, batch))
        if isinstance(pictures, Iterator) or _is_video(pictures):
            return self.stream(pictures, threshold, batch)  # type: ignore[arg-type]
        return next(self.stream([pictures], threshold, batch))  # type: ignore[list-item]

    def stream(
        self, pictures: Iterable[Picture] | str | Path, threshold: float = 0.5, batch: Batch = 1
    ) -> Iterator[Scene]:
        """One Scene after the other, in order, with only a batch or two of pictures in memory.

        Args:
            pictures: as of `predict`, of any number: those of a generator are asked for as scenes are. A path is that
                of a video, whose scenes have ``path#number`` as their file.
            threshold: as of `predict`.
            batch: as of `predict`.

        Raises:
            As `predict`, when it comes to the picture.
        """
        return (scene for _, scene in self.look(_decoded(pictures), threshold, batch))

    def look(
        self, pictures: Iterable[tuple[Tensor, str | None]], threshold: float = 0.5, batch: Batch = 1
    ) -> Iterator[tuple[Tensor, Scene]]:
        """Decoded pictures (3, H, W) uint8 with their files -> each with its scene, in order.

        Raises:
            UsageError: ``batch`` is neither ``auto`` nor 1 or more.
            ImageError: memory has no room for what the network makes of a picture.
        """
        room = room_for(batch, self.device)

        def numbered() -> Iterator[tuple[int, tuple[Tensor, Scene]]]:
            for chunk in by_size(pictures, lambda size: room.count(self._shown(size))):
                scenes = self._together([(pixels, file) for _, pixels, file in chunk], threshold, room)
                yield from ((place, (pixels, scene)) for (place, pixels, _), scene in zip(chunk, scenes, strict=True))

        return in_order(numbered())

    def _shown(self, size: tuple[int, int]) -> tuple[int, int]:
        """About the size in which the network sees a picture: conventions differ by a pixel."""
        return shown_size(size, self.resize, SEGUE)

    def _together(self, pictures: Sequence[tuple[Tensor, str | None]], threshold: float, room: Room) -> list[Scene]:
        """The scenes of pictures of one size; of fewer at a time where memory is too small and ``room`` gives way.

        Raises:
            ImageError: memory is too small for them; it names the first.
        """
        size = self._shown((pictures[0][0].shape[1], pictures[0][0].shape[2]))
        most = room.count(size)
        if len(pictures) > most:
            return self._together(pictures[:most], threshold, room) + self._together(pictures[most:], threshold, room)
        try:
            return self.scenes(pictures, threshold)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not re.search(NO_MEMORY, str(error)):
                raise
            if not room.halve(size, len(pictures)):
                what = "memory has no room for what the network makes of it"
                raise ImageError(what, where=pictures[0][1], cure="use --tile 512 or a smaller --batch") from error
        return self._together(pictures, threshold, room)  # not in the handler: its error holds what filled the memory


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


def _is_video(pictures: Any) -> bool:
    return isinstance(pictures, str | Path) and is_video(pictures)


def _decoded(pictures: Any) -> Iterator[tuple[Tensor, str | None]]:
    """Pictures, or the frames of a video, (3, H, W) uint8 with their files."""
    if _is_video(pictures):
        yield from named_frames(pictures)
        return
    for picture in [pictures] if isinstance(pictures, str | Path) else pictures:
        yield decode(picture), str(picture) if isinstance(picture, str | Path) else None


def decode(picture: Any) -> Tensor:
    """A picture as (3, H, W) uint8; raises `ImageError` and `UsageError` as `Predictor.predict`."""
    if isinstance(picture, str | Path):
        return read_image(picture)
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3 or not picture.numel():
            raise UsageError(f"a tensor picture must be (3, H, W) uint8, not {tuple(picture.shape)} {picture.dtype}")
        return picture
    if isinstance(picture, Image.Image | np.ndarray):
        return to_tensor(picture)
    raise UsageError(f"cannot look at a {type(picture).__name__}", cure="give a path, PIL image, array or tensor")
