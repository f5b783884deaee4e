"""A model as one ONNX file. Needs the ``export`` extra: onnx, onnxscript, onnxruntime."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segue import __version__
from segue.engine.predictor import Predictor
from segue.engine.region_predictor import RegionPredictor
from segue.engine.semantic_predictor import SemanticPredictor
from segue.errors import UsageError, printable
from segue.export.check import Differences, differences
from segue.files import atomic_file, cannot_write
from segue.models.inference import is_optimised
from segue.models.one_graph import RegionGraph, SemanticGraph

OPSET = 18
NEEDED = {"onnx": (1, 18), "onnxscript": (0, 5), "onnxruntime": (1, 20)}
"""Packages with the oldest version that will do."""

LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into one file, less what the graph takes."""

EXAMPLE = (2, 3, 203, 250)
"""Shape of the pictures that the exporter traces; no number of it may be in the file."""


def export_onnx(predictor: Predictor, path: Path) -> tuple[Differences, list[str]]:
    """Write a model as an ONNX file, once ONNX Runtime finds with it what the model finds.

    Returns:
        What was compared, and the tasks of the model that are not in the file.

    Raises:
        UsageError: a package is missing or too old, the place cannot be written, or there is no graph of such a model,
            or none that gives the same; nothing is written then.
    """
    check_place(path)
    graph = graph_of(predictor)
    warn_of_beams(predictor)
    with atomic_file(path) as file:  # which fails at once, before the work, where the place cannot be written
        model, outputs = traced(graph, predictor.name)
        found = differences(graph, serialised(model), predictor)
        described = description(predictor, outputs) | {"differences": json.dumps(found.to_json())}
        model.metadata_props.update({f"segue.{key}": value for key, value in described.items()})
        try:
            file.write(serialised(model))
        except OSError as error:
            raise cannot_write(path, error) from None
    return found, [task.name for task in predictor.tasks if task.name not in outputs]


def check_place(path: Path) -> None:
    """Raise `UsageError` where a package is missing or too old, or the file is not called ``.onnx``, or is a folder."""
    if path.suffix != ".onnx":
        raise UsageError("an ONNX file ends in .onnx", where=path, cure=f"write {path.with_suffix('.onnx')}")
    if path.is_dir():
        raise UsageError("is a folder", where=path, cure="name a file")
    for name, oldest in NEEDED.items():
        wanted, cure = ".".join(map(str, oldest)), "pip install 'segue[export]'"
        try:
            have = version(name)
        except PackageNotFoundError:
            raise UsageError(f"{name} is not installed", where="segue export", cure=cure) from None
        if tuple(int(part) for part in have.split(".")[:2]) < oldest:
            raise UsageError(f"{name} {have} is older than {wanted}", where="segue export", cure=cure)


def graph_of(predictor: Predictor) -> nn.Module:
    """The model as one function of tensors; raises `UsageError` for kinds of models that have none."""
    weights = sum(tensor.nbytes for tensor in predictor.network.state_dict().values())
    if weights > LARGEST:
        raise UsageError(
            f"{weights / 1e9:.1f} GB of weights", where=predictor.name, cure="ONNX files hold less than 2 GB"
        )
    if is_optimised(predictor.network):
        what, cure = (
            "a network in its form for inference cannot be exported",
            "take that of segue.engine.load.load_trained",
        )
        raise UsageError(what, where=predictor.name, cure=cure)
    if isinstance(predictor, RegionPredictor):
        return RegionGraph(predictor.network)
    if isinstance(predictor, SemanticPredictor):
        return SemanticGraph(predictor.network)
    kind = "several models joined" if "+" in predictor.name else "a DenseCap model"
    raise UsageError(f"{kind} cannot be exported", where=predictor.name, cure="export a region or semantic network")


def warn_of_beams(predictor: Predictor) -> None:
    """Say so where the model searches its sentences with beams: `tensors` of captions are searched greedily."""
    captions = predictor.captions if isinstance(predictor, RegionPredictor) else None
    if captions is not None and captions.settings.beams > 1:
        said = f"captions follow {captions.settings.beams} beams in the model, and the likeliest word in the file"
        warnings.warn(f"{said}: some will differ", stacklevel=3)


def traced(graph: nn.Module, name: str) -> tuple[Any, list[str]]:
    """The graph as ONNX, with any number of pictures of any size, and the names of its outputs.

    Raises:
        UsageError: the network does what ONNX cannot say.
    """
    from segue.export.onnx_ops import TRANSLATIONS

    inputs = example(graph)
    with torch.no_grad():
        outputs = list(graph(*inputs.values()))
    try:
        with quiet():
            program = torch.onnx.export(
                graph,
                kwargs=inputs,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={**dict.fromkeys(inputs), "images": {0: "batch", 2: "height", 3: "width"}},
                input_names=list(inputs),
                output_names=outputs,
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        reason = printable(str(error.__cause__ or error).strip().splitlines()[0])
        raise UsageError(f"its network has no ONNX form ({reason})", where=name, cure="see docs/export.md") from error
    assert program is not None
    return program.model, outputs


def example(graph: nn.Module) -> dict[str, torch.Tensor]:
    """Inputs to trace a graph with, by name."""
    images = torch.randint(0, 256, EXAMPLE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"images": images} | ({"threshold": torch.tensor(0.05)} if isinstance(graph, RegionGraph) else {})


def serialised(model: Any) -> bytes:
    """The bytes of an ONNX model."""
    import onnx_ir

    content: bytes = onnx_ir.to_proto(model).SerializeToString()
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter talks of its own affairs: of packages that it does not need, of its steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def description(predictor: Predictor, outputs: Sequence[str]) -> dict[str, str]:
    """What a file says of its model, as texts by key; lists and numbers are JSON."""
    conventions: Any = predictor.network.conventions
    said: dict[str, Any] = {
        "model": predictor.name,
        "version": __version__,
        "licence": str(predictor.notes.get("licence", "")),
        "tasks": [task.name for task in predictor.tasks if task.name in outputs],
        "categories": predictor.categories.to_json(),
        "resize": predictor.resize,
        "conventions": conventions.name,
        "masks": "at pixel centres" if conventions.paste_at_centres else "resized to whole pixels",
    }
    if isinstance(predictor, RegionPredictor) and predictor.captions is not None:
        said["words"] = predictor.captions.vocabulary.words
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
