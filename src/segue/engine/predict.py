"""The job of `segue predict`: files in, a folder of results out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from segue.data.images import read_image, to_pil, to_tensor
from segue.data.inputs import find_inputs, is_video
from segue.data.video import frame_count, frame_rate, frames, write_video
from segue.engine.output import SceneWriter
from segue.engine.picture import draw
from segue.engine.predictor import Predictor
from segue.engine.tiles import predict_tiled
from segue.errors import ImageError, SomeInputsFailed
from segue.structures import Scene


@dataclass(frozen=True)
class PredictOptions:
    """How to look.

    Attributes:
        threshold: detections with a lower score are left out.
        batch: pictures of equal size that go through the network together.
        tile: side of the tiles for large pictures, or None.
    """

    threshold: float = 0.5
    batch: int = 1
    tile: int | None = None


@dataclass
class Report:
    """What became of the inputs: how many were done, how many regions found, and the reasons of the failures."""

    done: int = 0
    regions: int = 0
    failures: list[str] = field(default_factory=list)


def predict_files(predictor: Predictor, inputs: Sequence[str], folder: Path, options: PredictOptions) -> Report:
    """Predict files, folders, globs and videos; write scenes.json and overlays into ``folder``.

    Raises:
        UsageError: an input matches nothing.
        ImageError: the only input cannot be read.
        SomeInputsFailed: some of many cannot be read; the others are done.
    """
    paths = find_inputs(inputs)
    report = Report()
    with SceneWriter(folder, predictor.name, predictor.tasks) as writer:
        for path in [p for p in paths if is_video(p)]:
            _predict_video(predictor, path, folder, options, writer, report)
        pictures = [p for p in paths if not is_video(p)]
        with tqdm(total=len(pictures), desc="predict", unit="image", disable=len(pictures) < 2) as bar:
            for pixels, scene in _predict_pictures(predictor, pictures, options, report):
                writer.add(scene, draw(scene, to_pil(pixels), predictor.tasks))
                report.regions += len(scene.regions)
                report.done += 1
                bar.update()
    if report.failures and report.done == 0:
        raise ImageError("; ".join(report.failures))
    if report.failures:
        raise SomeInputsFailed(f"{len(report.failures)} of {len(paths)} inputs failed: {'; '.join(report.failures)}")
    return report


def _predict_pictures(
    predictor: Predictor, paths: Sequence[Path], options: PredictOptions, report: Report
) -> Iterator[tuple[Tensor, Scene]]:
    """Decoded pictures with their scenes; unreadable ones are noted and passed over."""
    readable = _decoded(paths, report)
    if options.tile is not None:
        for pixels, file in readable:
            yield pixels, predict_tiled(predictor, pixels, options.tile, options.threshold, file)
        return
    for _, group in groupby(readable, key=lambda pair: pair[0].shape):
        for chunk in _chunks(group, options.batch):
            scenes = predictor.scenes(chunk, options.threshold)
            yield from zip([pixels for pixels, _ in chunk], scenes, strict=True)


def _decoded(paths: Sequence[Path], report: Report) -> Iterator[tuple[Tensor, str]]:
    for path in paths:
        try:
            yield read_image(path), str(path)
        except ImageError as error:
            report.failures.append(str(error))


def _chunks(items: Iterator[tuple[Tensor, str]], size: int) -> Iterator[list[tuple[Tensor, str]]]:
    chunk: list[tuple[Tensor, str]] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _predict_video(
    predictor: Predictor, path: Path, folder: Path, options: PredictOptions, writer: SceneWriter, report: Report
) -> None:
    """Every frame becomes a scene ``name#number``; the overlays become one video."""

    def overlays() -> Iterator[Tensor]:
        for number, pixels in tqdm(frames(path), total=frame_count(path), desc=path.name, unit="frame"):
            scene = predictor.scenes([(pixels, f"{path}#{number}")], options.threshold)[0]
            writer.add(scene, None)
            report.regions += len(scene.regions)
            yield to_tensor(draw(scene, to_pil(pixels), predictor.tasks))

    try:
        write_video(folder / f"{path.stem}.overlay.mp4", overlays(), frame_rate(path))
        report.done += 1
    except ImageError as error:
        report.failures.append(str(error))
