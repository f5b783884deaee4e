"""What `segue predict` wrote, read back with its pictures and maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.data.check import load_json
from segue.data.images import read_image
from segue.data.inputs import is_video
from segue.data.records import Parser
from segue.data.video import frame_rate, frames
from segue.engine.output import NAME, checked_entries, scene_of
from segue.engine.predicted_maps import map_beside, read_map
from segue.engine.predicted_panoptic import panoptic_named
from segue.errors import ImageError, UsageError
from segue.models.weights import read_model
from segue.models.zoo import ZOO, find_model
from segue.structures import Categories, Scene


@dataclass(frozen=True)
class Seen:
    """A scene with its picture.

    Attributes:
        scene: as predicted.
        image: (3, H, W) uint8 of the scene's size; None where the picture cannot be read, or has changed its size.
        seconds: since the video's start, where it is a frame of one.
        frame: its number there, from 0.
    """

    scene: Scene
    image: Tensor | None
    seconds: float | None = None
    frame: int | None = None


def saved_scenes(
    folder: Path, parsers: Mapping[str, Parser], model: str | None = None
) -> tuple[Categories, Iterator[Seen]]:
    """The classes and the scenes of a folder of `segue predict`, in their order, read one at a time.

    Args:
        folder: with a scenes.json.
        parsers: by field of `Regions`, as of `Dataset`.
        model: whose classes the labels are; None takes those of the model that scenes.json names, if that is in the
            zoo, else the labels that occur.

    Raises:
        DataError: anything that is not as promised; the scenes raise it as they are read, and `ImageError` for maps.
        UsageError: there are semantic maps, whose numbers only a model explains, and no model is known.
    """
    path = folder / NAME
    content = load_json(path)
    entries = checked_entries(content, path)
    name = content.get("model") if isinstance(content, dict) else None
    known = model or next((each.name for each in ZOO if each.name == name), None)
    if known is not None:
        categories = Categories.from_json(read_model(find_model(known)).categories)
    elif any("semantic" in entry for entry in entries):
        raise UsageError("the classes of its semantic maps are not known", where=path, cure="name the --model")
    else:
        categories = Categories.from_names(sorted(set().union(*map(_labels, entries))))
    return categories, _seen(entries, path, parsers, categories)


def _labels(entry: Mapping[str, Any]) -> set[str]:
    """The words that an entry has for classes."""
    told = entry.get("panoptic")
    rows = [*entry["regions"], *(told.get("segments_info", []) if isinstance(told, dict) else [])]
    return {row["label"] for row in rows if isinstance(row, dict) and isinstance(row.get("label"), str)}


def _seen(
    entries: Sequence[Mapping[str, Any]], path: Path, parsers: Mapping[str, Parser], categories: Categories
) -> Iterator[Seen]:
    for source, group in groupby(entries, key=lambda entry: _source(entry["file"])):
        rows = list(group)
        for entry, (image, seconds, frame) in zip(rows, _pictures(source, len(rows)), strict=True):
            scene = _whole(entry, path, parsers, categories)
            fits = image is not None and tuple(image.shape[1:]) == scene.size
            yield Seen(scene, image if fits else None, seconds, frame)


def _source(file: str) -> Path:
    """The picture, or the video of a frame ``name#number``."""
    name, mark, number = file.rpartition("#")
    return Path(name) if mark and number.isdigit() and is_video(name) else Path(file)


def _pictures(source: Path, count: int) -> Iterator[tuple[Tensor | None, float | None, int | None]]:
    """``count`` pictures of a file with their seconds and numbers; all None for what cannot be read."""
    done = 0
    try:
        if is_video(source):
            rate = frame_rate(source)
            for number, image in frames(source):
                if done == count:
                    return
                done += 1
                yield image, float(number / rate), number
        else:
            image = read_image(source)
            while done < count:
                done += 1
                yield image, None, None
    except (ImageError, UsageError):  # gone, damaged, or a video without PyAV
        pass
    for _ in range(done, count):
        yield None, None, None


def _whole(entry: Mapping[str, Any], path: Path, parsers: Mapping[str, Parser], categories: Categories) -> Scene:
    """The scene of a checked entry with its maps."""
    scene = scene_of(entry, parsers, categories, path)
    file = map_beside(path, entry.get("semantic"), "semantic")
    if file is not None:
        scene = replace(scene, semantic=read_map(file, categories, scene.size))
    read = panoptic_named(path, entry, categories, 0)
    if read is None:
        return scene
    panoptic, segments = read(0, scene.size)
    return replace(scene, panoptic=panoptic, segments=segments)
