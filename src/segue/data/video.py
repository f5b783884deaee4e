"""Video files, frame by frame. Needs the ``video`` extra (PyAV)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import MAX_PIXELS
from segue.errors import ImageError, UsageError
from segue.files import atomic_file

SIGN = "written by segue"  # in the metadata of our own videos


def frames(path: str | os.PathLike[str]) -> Iterator[tuple[int, Tensor]]:
    """The frames of the first video stream in order: number from 0, and (3, H, W) uint8 RGB, upright.

    Raises:
        UsageError: PyAV is not installed.
        ImageError: missing, damaged, without a picture stream, or over `MAX_PIXELS` a frame.
    """
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        number = -1
        for number, frame in enumerate(container.decode(stream)):
            pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))  # (H, W, 3)
            quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, as in torch.rot90
            yield number, torch.rot90(pixels, quarter_turns, (0, 1)).permute(2, 0, 1).contiguous()
        if number < 0:
            raise ImageError("the video holds no frame", where=path, cure="copy it again")


def named_frames(path: str | os.PathLike[str]) -> Iterator[tuple[Tensor, str]]:
    """As `frames`, each with ``path#number`` as its name."""
    return ((pixels, f"{os.fspath(path)}#{number}") for number, pixels in frames(path))


def frame_count(path: str | os.PathLike[str]) -> int | None:
    """How many frames the file says it has, for a progress bar; None where it does not say. Raises as `frames`."""
    with _opened(path) as (_, stream):
        if stream.frames:
            return int(stream.frames)
        if stream.duration and stream.time_base and stream.average_rate:
            return round(float(stream.duration * stream.time_base * stream.average_rate))
        return None


def frame_rate(path: str | os.PathLike[str]) -> Fraction:
    """Frames per second; 25 where the file does not say. Raises as `frames`."""
    with _opened(path) as (_, stream):
        return Fraction(stream.average_rate or 25)


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether the place is free, or holds a video that `write_video` wrote."""
    if not Path(path).exists():
        return True
    try:
        with _opened(path) as (container, _):
            return bool(container.metadata.get("comment") == SIGN)
    except ImageError:
        return False


def write_video(path: str | os.PathLike[str], images: Iterable[Tensor], rate: float | Fraction = 25) -> None:
    """An MP4 file of (3, H, W) uint8 RGB pictures of one size, as H.264 where PyAV has it, else MPEG-4.

    The file appears under its name once it is whole. Odd sizes grow by one repeated row or column, since both codecs
    store colour at half the resolution.

    Raises:
        UsageError: PyAV is not installed, no picture came, the sizes differ, or the place cannot be written.
    """
    av = _av()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with atomic_file(Path(path)) as file, av.open(file, "w", format="mp4") as container:
        container.metadata["comment"] = SIGN
        _encode(container, codec, images, Fraction(rate).limit_denominator(1001), Path(path))


def _encode(container: Any, codec: str, images: Iterable[Tensor], rate: Fraction, path: Path) -> None:
    from av import VideoFrame

    stream, size = None, torch.Size()
    for image in images:
        if stream is None:
            size = image.shape
            stream = container.add_stream(codec, rate=rate)
            stream.height, stream.width = size[1] + size[1] % 2, size[2] + size[2] % 2
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "18"} if codec == "libx264" else {"qscale": "3"}
        if image.shape != size:
            raise UsageError(f"frames of {tuple(image.shape)} after {tuple(size)}", where=path, cure="use one size")
        even = F.pad(image[None], (0, image.shape[2] % 2, 0, image.shape[1] % 2), mode="replicate")[0]
        frame = VideoFrame.from_ndarray(even.permute(1, 2, 0).contiguous().cpu().numpy(), format="rgb24")
        container.mux(stream.encode(frame))
    if stream is None:
        raise UsageError("a video of no frame cannot be written", where=path, cure="pass at least one picture")
    container.mux(stream.encode())


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UsageError("videos need PyAV", cure="pip install 'segue[video]'") from error
    return av


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; whatever PyAV raises inside becomes an `ImageError`."""
    av = _av()
    if not Path(path).is_file():  # also keeps FFmpeg from taking the name for a URL
        raise ImageError("no such video file", where=path, cure="check the path")
    try:
        with av.open(f"file:{os.fspath(path)}") as container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise ImageError("the file holds no video", where=path, cure="pass a file with a picture stream")
            if stream.width * stream.height > MAX_PIXELS:
                raise ImageError(f"more than {MAX_PIXELS:,} pixels a frame", where=path, cure="scale it down")
            yield container, stream
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"damaged, or not a video ({reason})", where=path, cure="copy it again") from error
