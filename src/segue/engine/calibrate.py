"""A model in 8 bits, by the first pictures of what it is to look at."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from segue.data.images import read_image
from segue.data.inputs import find_inputs, is_video
from segue.data.video import frames
from segue.engine.predictor import Picture, Predictor, decode, pick_device
from segue.errors import ImageError, UsageError
from segue.models.inference import multiplies_int8
from segue.models.quantised import calibrate, quantise

PICTURES = 16
"""So many are looked at, at most."""

SIDE = 1024
"""Larger pictures that the network sees in their own size are looked at in the middle."""

THRESHOLD = 0.3
"""Regions with a lower score are not shown to the heads that read detections."""


def to_int8(predictor: Predictor, pictures: Iterable[Tensor]) -> None:
    """Bring a predictor's network, in place, from its form for inference into 8 bits.

    A processor without instructions for that keeps what it has, and a warning says so.

    Args:
        predictor: on the CPU.
        pictures: (3, H, W) uint8, like those to come; the first `PICTURES` of them are looked at.

    Raises:
        UsageError: the network is elsewhere, or there is no picture.
    """
    check_device(str(predictor.device))
    if not multiplies_int8():
        warnings.warn(
            "this processor, or this torch, does not multiply 8-bit integers: int8 is fast here", stacklevel=2
        )
        return
    few = [_middle(picture) if predictor.resize is None else picture for picture in islice(pictures, PICTURES)]
    if not few:
        raise UsageError(
            "int8 needs pictures to calibrate on", where="--calibrate", cure="name some like those to come"
        )

    def look() -> None:
        for picture in few:
            predictor.scenes([(picture, None)], THRESHOLD)

    quantise(predictor.network, calibrate(predictor.network, look))


def check_device(name: str) -> None:
    """Raise `UsageError` unless the device, as of `pick_device`, multiplies 8-bit integers for us."""
    device = pick_device(name)
    if device.type != "cpu":
        raise UsageError(f"int8 runs on the CPU, not on {device}", where="--speed", cure="use fast, or --device cpu")


def calibration_pictures(source: Picture | Sequence[Picture]) -> Iterator[Tensor]:
    """Pictures (3, H, W) uint8 of files, folders, patterns and videos, or given as such; unreadable files are left out.

    Raises:
        UsageError: a file does not exist, or a picture is of no known kind.
        ImageError: none of the files can be read.
    """
    failure, count = None, 0
    for item in source if isinstance(source, list | tuple) else [source]:
        if not isinstance(item, str | Path):
            count += 1
            yield decode(item)
            continue
        for path in find_inputs([item]):
            try:
                for picture in (pixels for _, pixels in frames(path)) if is_video(path) else [read_image(path)]:
                    count += 1
                    yield picture
            except ImageError as error:
                failure = failure or error
    if failure and not count:
        raise failure


def _middle(picture: Tensor) -> Tensor:
    h, w = picture.shape[1:]
    top, left = max(0, h - SIDE) // 2, max(0, w - SIDE) // 2
    return picture[:, top : top + SIDE, left : left + SIDE]
