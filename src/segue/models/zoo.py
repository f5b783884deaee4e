"""The models that can be asked for by name."""

from __future__ import annotations

import difflib
import sys
from dataclasses import replace
from pathlib import Path

from segue.errors import CheckpointError, UsageError
from segue.files import locked
from segue.models.download import check, download
from segue.models.zoo_model import BUNDLED as BUNDLED
from segue.models.zoo_model import ZooModel
from segue.models.zoo_public import PUBLIC

ZOO = [
    ZooModel(
        name="nuclei",
        tasks="boxes, masks",
        classes="1 class (nucleus)",
        metric="matching/AP50 0.783 on dsb2018:val",
        input="RGB, less 127.5, divided by 64; as large as they are",
        licence="Apache-2.0 (trained on CC0 data)",
        file="nuclei.safetensors",
    ),
    ZooModel(
        name="toybox",
        tasks="label, boxes, masks, keypoints, captions, meshes, semantic, panoptic",
        classes="13 things, 6 stuff",
        metric="masks/AP 0.728, PQ 0.848 on toybox:val",
        input="RGB, less 127.5, divided by 64; as large as they are",
        licence="Apache-2.0 (trained on Toybox)",
        file="toybox.safetensors",
    ),
    *PUBLIC,
]


FRAMEWORKS = {model.source for model in PUBLIC}


def find_model(name: str) -> Path:
    """The file behind a zoo name, a path of a file, or a run folder (its best weights, else its last).

    Public weights are downloaded and converted where that has not been done before.

    Raises:
        CheckpointError: a run folder without weights, or weights that cannot be had or are not the published ones.
        UsageError: there is no such model.
    """
    for model in ZOO:
        if model.name == name:
            return fetched(model)
    path = Path(name)
    if path.is_dir():
        for candidate in (path / "best.safetensors", path / "last.safetensors"):
            if candidate.is_file():
                return candidate
        raise CheckpointError("no best.safetensors or last.safetensors in it", where=path, cure="name a run folder")
    framework, slash, _ = name.partition("/")
    if path.exists() or path.suffix or (slash and framework not in FRAMEWORKS):
        return path
    raise unknown_model(name)


def zoo_model(name: str) -> ZooModel:
    """The entry of this name; raises `UsageError` where there is none."""
    for model in ZOO:
        if model.name == name:
            return model
    raise unknown_model(name)


def unknown_model(name: str) -> UsageError:
    """The error to raise for a name that is not of the zoo, with the nearest one that is."""
    near = difflib.get_close_matches(name, [m.name for m in ZOO], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown model {name!r}", cure=f"{hint}see `segue models`, or give a file or run folder")


def fetched(model: ZooModel) -> Path:
    """The model file; public weights are downloaded and converted where that has not been done before.

    Raises:
        CheckpointError: the weights cannot be had, are not the published ones, or make no model.
        UsageError: the cache cannot be written.
    """
    if model.web is None or model.weights is None or model.path.is_file():
        return model.path
    with locked(model.path.with_name("lock")):
        if model.path.is_file():  # another process was faster
            return model.path
        if model.weights.is_file():  # downloaded before, or put there by hand
            check(model.web, model.weights)
        else:
            print(f"segue: {model.name}: {size(model)}; licence: {model.licence}", file=sys.stderr, flush=True)
            download(model.web, model.weights)
        _convert(model, model.weights)
    return model.path


def _convert(model: ZooModel, weights: Path) -> None:
    from segue.models.checkpoints import convert  # which imports torch
    from segue.models.weights import write_model

    file = convert(weights, model.source)
    said = {"licence": model.licence, "metric": model.metric, "url": model.web.url if model.web else ""}
    write_model(model.path, replace(file, name=model.name, notes={**file.notes, **said}))


def size(model: ZooModel) -> str:
    """The size of a model's file in words."""
    return "size not known" if model.megabytes is None else f"{model.megabytes:.{1 if model.megabytes < 10 else 0}f} MB"
