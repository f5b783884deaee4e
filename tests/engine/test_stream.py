"""Frames as they come: generators and videos, with only a batch in memory."""

import gc
import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segue
from segue.data.video import frames, write_video
from segue.errors import ImageError, UsageError
from segue.structures import Scene

LOW = 0.3


@pytest.fixture(scope="module")
def model(model_file: Path) -> segue.Predictor:
    return segue.load(model_file, device="cpu")


def frame(number: int, height: int = 40) -> np.ndarray:
    pixels = np.random.default_rng(number).integers(0, 255, (height, 48, 3), dtype=np.uint8)
    return pixels


def same(a: Scene, b: Scene) -> bool:
    return (
        a.size == b.size
        and torch.equal(a.regions.boxes, b.regions.boxes)
        and torch.equal(a.regions.scores, b.regions.scores)
        and torch.equal(a.regions.masks.dense(), b.regions.masks.dense())
    )


@pytest.mark.parametrize("ask", ["stream", "predict"])
def test_a_generator_gives_what_a_list_gives(model: segue.Predictor, ask: str) -> None:
    heights = [40, 40, 33, 40]
    listed = model.predict([frame(i, h) for i, h in enumerate(heights)], LOW)
    streamed = getattr(model, ask)((frame(i, h) for i, h in enumerate(heights)), LOW)
    assert isinstance(streamed, Iterator)
    assert all(same(a, b) for a, b in zip(streamed, listed, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_only_a_batch_of_frames_lives(model: segue.Predictor, batch: int) -> None:
    alive: list[weakref.ref[Any]] = []

    def endless() -> Iterator[torch.Tensor]:
        for number in itertools.count():
            pixels = torch.from_numpy(frame(number)).permute(2, 0, 1)
            alive.append(weakref.ref(pixels))
            yield pixels
            del pixels

    for number, _ in enumerate(itertools.islice(model.stream(endless(), LOW, batch), 7)):
        assert len(alive) <= number + batch  # no frame is asked for before its batch
        gc.collect()
        assert sum(each() is not None for each in alive) <= batch + 1  # and the one that the generator holds


def test_a_decoder_that_fills_one_array_again_and_again(model: segue.Predictor) -> None:
    def reused() -> Iterator[np.ndarray]:
        buffer = np.empty((40, 48, 3), np.uint8)
        for number in range(4):
            buffer[:] = frame(number)
            yield buffer

    expected = model.predict([frame(number) for number in range(4)], LOW, batch=2)
    assert all(same(a, b) for a, b in zip(model.stream(reused(), LOW, batch=2), expected, strict=True))


def test_the_path_of_a_video(model: segue.Predictor, tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    write_video(path, (torch.from_numpy(frame(i)).permute(2, 0, 1) for i in range(3)))
    expected = model.predict([pixels for _, pixels in frames(path)], LOW)
    for streamed in (model.stream(path, LOW), model.predict(str(path), LOW)):
        scenes = list(streamed)
        assert all(same(a, b) for a, b in zip(scenes, expected, strict=True))
        assert [scene.file for scene in scenes] == [f"{path}#{number}" for number in range(3)]
    with pytest.raises(ImageError, match=r"none\.mp4"):
        next(model.stream(tmp_path / "none.mp4"))


def test_a_path_alone_is_a_stream_of_one(model: segue.Predictor, cells: Path) -> None:
    photo = cells.parent / "cells_000.png"
    [scene] = model.stream(str(photo), LOW)
    assert same(scene, model.predict(photo, LOW))


def test_a_frame_that_is_none(model: segue.Predictor) -> None:
    """As OpenCV reads after the end."""
    stream = model.stream(iter([frame(0), None]), LOW)  # type: ignore[list-item]
    next(stream)
    with pytest.raises(UsageError, match="cannot look at a NoneType"):
        next(stream)
