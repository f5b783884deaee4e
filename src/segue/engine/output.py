"""scenes.json, the file that holds predictions, and the overlays beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from PIL import Image, PngImagePlugin

from segue.data.check import load_json
from segue.data.images import MAX_PIXELS
from segue.data.layout import contained
from segue.data.records import Parser
from segue.data.results import is_box, is_finite
from segue.errors import DataError
from segue.files import MARK, atomic_file, atomic_write, cannot_write
from segue.structures import Categories, Regions, Scene
from segue.tasks.task import File, ImageTask, PixelTask, RegionFiles, RegionTask, Task

NAME = "scenes.json"
VERSION = 1
SIGNS = (b"tEXtSoftware\0segue", MARK)
"""One of them is in the first KiB of every file of ours: the first is a chunk of PNGs."""
FILE_KEYS = ("mesh",)
"""What a region's entry says by the name of a file beside it; the checked entry has its `Path`."""


class SceneWriter:
    """Writes a folder of results as scenes come: each overlay at once, scenes.json whole at the end.

    Use it in a ``with`` block; when the block raises, an older scenes.json stays as it was. Scenes wait in a temporary
    file, so memory does not grow with their number.

    Args:
        folder: where the files go; made if it does not exist.
        model: name to write down.
        tasks: whose ``to_json`` and ``files`` fill the entries.
    """

    def __init__(self, folder: Path, model: str, tasks: Sequence[Task]) -> None:
        self.folder, self.model, self.tasks = folder, model, tasks
        self._number = 0
        self._names: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from None
        self._entries = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the writer)

    def __enter__(self) -> SceneWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._entries.close()

    def add(self, scene: Scene, overlay: Image.Image | None = None, image: Image.Image | None = None) -> None:
        """Write one scene: its maps as PNGs, other files of its tasks, and its overlay as a PNG.

        All have the stem of the scene's file.

        Args:
            scene: what to write.
            overlay: the painted picture.
            image: the plain picture, for files that show it.

        Raises:
            DataError: a number of a region is not finite.
            UsageError: the folder cannot be written.
        """
        self._number += 1
        entry = scene_entry(scene, self.tasks, scene.file or f"image_{self._number}")
        stem = Path(entry["file"]).stem
        for task in self.tasks:
            if isinstance(task, PixelTask) and task.carried(scene):
                pictures = task.files(scene)
                names = [self._file(stem, File(ending, _png(map_))) for ending, map_ in pictures.items()]
                entry |= task.entry(names, scene)
            elif isinstance(task, RegionTask) and task.files is not None and task.carried(scene):
                self._add_files(entry, stem, task.files(scene, image))
        if overlay is not None:
            entry["overlay"] = self._file(stem, File("png", _png(overlay)))
        try:
            text = json.dumps(entry, allow_nan=False)
        except ValueError:
            raise DataError("a predicted number is not finite", where=scene.file, cure="mend the model") from None
        self._entries.write((",\n" * (self._number > 1) + text).encode())

    def close(self) -> None:
        """Let scenes.json appear."""
        head = f'{{"version": {VERSION}, "model": {json.dumps(self.model)}, "scenes": [\n'
        with self._entries, atomic_file(self.folder / NAME) as file:
            self._entries.seek(0)
            file.write(head.encode())
            shutil.copyfileobj(self._entries, file)
            file.write(b"\n]}\n")

    def _add_files(self, entry: dict[str, Any], stem: str, files: RegionFiles) -> None:
        """Write a region task's files and name them in the entry."""
        for number, (row, own) in enumerate(zip(entry["regions"], files.regions, strict=True)):
            row |= {key: self._file(f"{stem}.{number}", file) for key, file in own.items()}
        entry |= {key: self._file(stem, file) for key, file in files.scene.items()}

    def _file(self, stem: str, file: File) -> str:
        """Write a file; its name is not yet given and not that of somebody else's file, such as the picture itself."""
        for number in count(1):
            name = f"{stem}.{file.ending}" if number == 1 else f"{stem}.{number}.{file.ending}"
            if name.casefold() not in self._names and _is_free(self.folder / name):
                break
        self._names.add(name.casefold())  # some file systems take A.png for a.png
        atomic_write(self.folder / name, file.content)
        return name


def write_scenes(scenes: Iterable[Scene], folder: Path, model: str, tasks: Sequence[Task]) -> None:
    """Write ``folder``/scenes.json without overlays; raises as `SceneWriter.add`."""
    with SceneWriter(folder, model, tasks) as writer:
        for scene in scenes:
            writer.add(scene)


def scene_entry(scene: Scene, tasks: Sequence[Task], file: str) -> dict[str, Any]:
    """A scene as scenes.json has it, without overlay."""
    regions = scene.regions
    rows: list[dict[str, Any]] = [{"label": scene.categories[label].name} for label in regions.labels.tolist()]
    if regions.scores is not None:
        for row, score in zip(rows, regions.scores.tolist(), strict=True):
            row["score"] = round(score, 6)  # float32's own digits: fewer would make equal scores of different ones
    for task in tasks:
        if isinstance(task, RegionTask) and task.to_json is not None:
            for row, values in zip(rows, task.to_json(regions), strict=True):
                row |= values
    h, w = scene.size
    entry: dict[str, Any] = {"file": Path(file).as_posix(), "width": w, "height": h}
    for task in tasks:
        if isinstance(task, ImageTask) and task.carried(scene):
            entry |= task.entry(scene)
    return entry | {"regions": rows}


def read_scenes(path: Path, parsers: Mapping[str, Parser], categories: Categories | None = None) -> list[Scene]:
    """The scenes of a scenes.json; nothing in it is trusted.

    Args:
        path: the file.
        parsers: by field of `Regions`, as of `Dataset`.
        categories: what the labels must be; None takes the labels that occur, in alphabetical order.

    Raises:
        DataError: anything that is not as promised, an unknown label, or a fault that a parser finds.
    """
    entries = checked_entries(load_json(path), path)
    if categories is None:
        categories = Categories.from_names(sorted({row["label"] for entry in entries for row in entry["regions"]}))
    return [scene_of(entry, parsers, categories, path) for entry in entries]


def checked_entries(content: object, path: Path) -> list[dict[str, Any]]:
    """The entries of the scenes.json at ``path``, all checked but what only tasks know; raises `DataError`."""
    if not isinstance(content, dict) or not isinstance(content.get("scenes"), list):
        raise DataError("no scenes.json: it has no list of scenes", where=path, cure="write it with `segue predict`")
    if content.get("version") != VERSION:
        raise DataError(f"version {content.get('version')!r} is unknown", where=path, cure=f"this reads {VERSION}")
    for number, entry in enumerate(content["scenes"]):
        for fault in _entry_faults(entry):
            raise DataError(fault, where=f"{path}, scene {number}", cure="write it again with `segue predict`")
    entries: list[dict[str, Any]] = content["scenes"]
    for entry in entries:
        entry["regions"] = [_located(row, path) for row in entry["regions"]]
    return entries


def scene_of(entry: Mapping[str, Any], parsers: Mapping[str, Parser], categories: Categories, path: Path) -> Scene:
    """The scene in a checked entry of the file ``path``; raises `DataError` as `read_scenes`."""
    size, where = (entry["height"], entry["width"]), f"{path}, {entry['file']}"
    labels = label_indices(entry["regions"], categories, where)
    regions = parse_regions(entry["regions"], labels, size, parsers, where)
    return Scene(size, categories, regions, label=entry.get("label"), file=entry["file"])


def label_indices(rows: Sequence[Mapping[str, Any]], categories: Categories, where: str) -> list[int]:
    """The index of each region's label in ``categories``; raises `DataError` for an unknown one."""
    numbers = {name: number for number, name in enumerate(categories.names)}
    unknown = sorted({row["label"] for row in rows} - numbers.keys())
    if unknown:
        raise DataError(f"unknown label {unknown[0]!r}", where=where, cure=f"known are {', '.join(categories.names)}")
    return [numbers[row["label"]] for row in rows]


def parse_regions(
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[int],
    size: tuple[int, int],
    parsers: Mapping[str, Parser],
    where: str,
) -> Regions:
    """Regions from checked rows with ``bbox``, maybe ``score``, and what ``parsers`` read; raises `DataError`."""
    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scored = all("score" in row for row in rows)
    regions = Regions(
        boxes=boxes.float(),
        labels=torch.tensor(labels, dtype=torch.int64),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float32) if scored else None,
    )
    for name, parse in parsers.items():
        try:
            value = parse(rows, size)
            regions = regions if value is None else regions.with_field(name, value)
        except DataError as error:
            place = f"{where}, {error.where}" if error.where else where
            raise DataError(error.what, where=place, cure=error.cure) from None
    return regions


def _entry_faults(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "not an object with keys"
        return
    if not isinstance(entry.get("file"), str):
        yield f"file {entry.get('file')!r} is no text"
    if not _is_size(entry.get("width"), entry.get("height")):
        yield f"width {entry.get('width')!r} and height {entry.get('height')!r} are no size of a picture"
    if not isinstance(entry.get("label", ""), str):
        yield "label is no text"
    if not isinstance(entry.get("regions"), list):
        yield "regions are no list"
        return
    for number, row in enumerate(entry["regions"]):
        yield from (f"region {number}: {fault}" for fault in _row_faults(row))
    if len({"score" in row for row in entry["regions"] if isinstance(row, dict)}) > 1:
        yield "some regions have a score and some none"


def _row_faults(row: object) -> Iterator[str]:
    if not isinstance(row, dict):
        yield "not an object with keys"
        return
    if not isinstance(row.get("label"), str) or not row["label"]:
        yield f"label {row.get('label')!r} is no text"
    if not is_box(row.get("bbox")):
        yield f"bbox {row.get('bbox')!r:.80} is no finite x, y, width, height"
    if "score" in row and not (is_finite(row["score"]) and 0 <= row["score"] <= 1):
        yield f"score {row['score']!r} is no number from 0 to 1"


def _located(row: dict[str, Any], path: Path) -> dict[str, Any]:
    """A region's entry with paths for names of files; raises `DataError` for one outside the folder of ``path``."""
    files = {key: row[key] for key in FILE_KEYS if key in row}
    places = {key: contained(path.parent, name) if isinstance(name, str) else None for key, name in files.items()}
    for key, place in places.items():
        if place is None:
            raise DataError(f"{key} {files[key]!r:.80} is no file beside it", where=path, cure="predict again")
    return {**row, **places}


def _is_size(width: object, height: object) -> bool:
    if type(width) is not int or type(height) is not int:
        return False
    return min(width, height) >= 1 and width * height <= MAX_PIXELS


def _png(overlay: Image.Image) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "segue")
    buffer = BytesIO()
    overlay.save(buffer, "PNG", pnginfo=text, compress_level=1)
    return buffer.getvalue()


def _is_free(path: Path) -> bool:
    """Whether nothing is there, or a file that an earlier run wrote."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            return any(sign in head for sign in SIGNS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
