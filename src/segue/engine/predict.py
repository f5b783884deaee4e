"""The job of `segue predict`: files in, a folder of results out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from segue.data.images import read_image, to_pil, to_tensor
from segue.data.inputs import find_inputs, is_video
from segue.data.video import frame_count, frame_rate, is_ours, named_frames, write_video
from segue.engine.ahead import ahead
from segue.engine.batches import Batch
from segue.engine.output import SceneWriter
from segue.engine.page import PageWriter
from segue.engine.picture import draw, overlay
from segue.engine.predictor import Predictor
from segue.engine.tiles import check_side
from segue.errors import ImageError, SomeInputsFailed
from segue.structures import Scene


@dataclass(frozen=True)
class PredictOptions:
    """How to look.

    Attributes:
        threshold: detections with a lower score are left out.
        batch: pictures of equal size that go through the network together, where there are no tiles; or ``auto``.
        tile: side of the tiles for large pictures, or None.
        page: write page.html, whatever the tasks; else where one of them has a section of its own.
    """

    threshold: float = 0.5
    batch: Batch = 1
    tile: int | None = None
    page: bool = False

    def __post_init__(self) -> None:
        if self.tile is not None:
            check_side(self.tile)


@dataclass
class Report:
    """What became of the inputs.

    Attributes:
        done: inputs that are processed.
        regions: found in them.
        failures: why the others are not; each names its file.
        videos: names of the overlay videos.
    """

    done: int = 0
    regions: int = 0
    failures: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)


def predict_files(
    predictor: Predictor, inputs: Sequence[str], folder: Path, options: PredictOptions, page: PageWriter | None = None
) -> Report:
    """Predict files, folders, globs and videos; write scenes.json, overlays and maybe a page into ``folder``.

    Where a ``page`` is given, the pictures are added to that, and it is not yet written. Of a video that breaks off,
    the frames before are in scenes.json.

    Raises:
        UsageError: an input matches nothing, or the folder cannot be written.
        ImageError: no input can be read; an older scenes.json stays as it was.
        SomeInputsFailed: some of many cannot be read; the others are done.
    """
    paths = find_inputs(inputs)
    report = Report()
    with SceneWriter(folder, predictor.name, predictor.tasks) as writer:
        for path in paths:
            if is_video(path):
                _predict_video(predictor, path, folder, options, writer, report)
        own = PageWriter(folder, predictor.name, options.page) if page is None else page
        _predict_pictures(predictor, [path for path in paths if not is_video(path)], options, (writer, own), report)
        if report.failures and report.done == 0:
            raise ImageError("; ".join(report.failures))
        if page is None:
            own.close()
    if report.failures:
        raise SomeInputsFailed(f"{len(report.failures)} of {len(paths)} inputs failed: {'; '.join(report.failures)}")
    return report


def _predict_pictures(
    predictor: Predictor,
    paths: Sequence[Path],
    options: PredictOptions,
    writers: tuple[SceneWriter, PageWriter],
    report: Report,
) -> None:
    writer, page = writers
    with tqdm(total=len(paths), desc="predict", unit="image", disable=None if len(paths) > 1 else True) as bar:
        for pixels, scene in _scenes(predictor, _decoded(paths, report), options):
            image = to_pil(pixels)
            writer.add(scene, overlay(scene, image, predictor.tasks), image)
            page.add(scene, image, predictor.tasks)
            report.regions += len(scene.regions)
            report.done += 1
            bar.update()


def _scenes(
    predictor: Predictor, pictures: Iterable[tuple[Tensor, str]], options: PredictOptions
) -> Iterator[tuple[Tensor, Scene]]:
    """Decoded pictures with their scenes.

    Reading, looking and what is done with a scene go on side by side; not with tiles, which are for pictures of which
    memory has room for one.
    """
    if options.tile is None:
        return ahead(predictor.look(ahead(pictures), options.threshold, options.batch), 1)
    side, threshold = options.tile, options.threshold
    return ((pixels, predictor.tiled(pixels, side, threshold, file)) for pixels, file in pictures)


def _decoded(paths: Sequence[Path], report: Report) -> Iterator[tuple[Tensor, str]]:
    """Pictures with their files; unreadable ones are noted and passed over."""
    for path in paths:
        try:
            yield read_image(path), str(path)
        except ImageError as error:
            report.failures.append(str(error))


def _predict_video(
    predictor: Predictor, path: Path, folder: Path, options: PredictOptions, writer: SceneWriter, report: Report
) -> None:
    """Every frame becomes a scene ``name#number``; the overlays become one video."""

    def overlays() -> Iterator[Tensor]:
        scenes = _scenes(predictor, named_frames(path), options)
        for pixels, scene in tqdm(scenes, total=frame_count(path), desc=path.name, unit="frame", disable=None):
            writer.add(scene)
            report.regions += len(scene.regions)
            yield to_tensor(draw(scene, to_pil(pixels), predictor.tasks))

    try:
        name = _video_name(folder, path.stem, report.videos)
        write_video(folder / name, overlays(), frame_rate(path))
        report.videos.append(name)
        report.done += 1
    except ImageError as error:
        report.failures.append(str(error))


def _video_name(folder: Path, stem: str, taken: Sequence[str]) -> str:
    """A name not yet given and not that of somebody else's file."""
    names = (f"{stem}.overlay.mp4" if number == 1 else f"{stem}.{number}.overlay.mp4" for number in count(1))
    return next(name for name in names if name not in taken and is_ours(folder / name))
