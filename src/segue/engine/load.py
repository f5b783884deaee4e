"""From a model file to a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from segue.engine.calibrate import calibration_pictures, check_device, to_int8
from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.joined_predictor import join
from segue.engine.predictor import Picture, Predictor, pick_device
from segue.engine.recipe import check_densecap, check_network, check_semantic
from segue.engine.region_predictor import RegionPredictor
from segue.engine.semantic_predictor import SemanticPredictor
from segue.errors import CheckpointError, UsageError
from segue.models.densecap import DENSECAP_TASKS, DenseCap
from segue.models.inference import Speed, number_format, optimise
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork
from segue.models.weights import ModelFile, load_state, read_model
from segue.models.zoo import find_model
from segue.structures import Categories
from segue.tasks import SEMANTIC, tasks_named

CPU = torch.device("cpu")


def load(
    model: str | Path,
    device: str = "auto",
    speed: Speed = "exact",
    calibrate: Picture | Sequence[Picture] | None = None,
) -> Predictor:
    """A zoo name, a .safetensors file, the folder of a training run, or two and more of these with + -> a `Predictor`.

    Public weights are downloaded and converted when they are first asked for. Of models with + between, the first finds
    the objects and the others say of them what it does not (`JoinedPredictor`). The network is in its form for
    inference: `load_trained` gives the one with the layers that were trained.

    Args:
        model: which.
        device: as of `pick_device`.
        speed: ``exact`` computes in 32 bits what the trained network does, to 1e-4; ``fast`` multiplies in 16;
            ``int8`` in 8 where that pays, on a CPU.
        calibrate: for ``int8``, pictures like those to come: files, folders, patterns, or pictures as of
            `Predictor.predict`, of which the first 16 are looked at.

    Raises:
        CheckpointError: the file is damaged, not a model, or does not fit its own settings; or it cannot be had.
        UsageError: there is no such model, device or speed, or these models cannot be joined; int8 without pictures.
    """
    target, name = pick_device(device), str(model)
    dtype = number_format(speed, target)
    if speed == "int8":
        check_device(device)
        if calibrate is None:
            cure = "name some like those to come"
            raise UsageError("int8 needs pictures to calibrate on", where="calibrate", cure=cure)
    names = [name] if "+" not in name or Path(name).exists() else name.split("+")
    predictors = [load_trained(part, target) for part in names]
    for predictor in predictors:
        optimise(predictor.network, dtype)
    finder, *others = predictors
    predictor = join(finder, others) if others else finder
    if calibrate is not None and speed == "int8":
        to_int8(predictor, calibration_pictures(calibrate))
    return predictor


def load_trained(model: str | Path, device: torch.device = CPU) -> Predictor:
    """One model as of `load`, its network as it was trained; the same errors."""
    path = find_model(str(model))
    file = read_model(path)
    try:
        predictor = build(file, str(path))
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, MemoryError) as error:
        what = f"settings of an impossible network ({type(error).__name__}: {error})"
        raise CheckpointError(what, where=path, cure="use a file that Segue wrote") from error
    load_state(predictor.network, file.state, path)
    predictor.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return predictor


def build(file: ModelFile, where: str) -> Predictor:
    """The network that a model file describes, its weights still random."""
    categories = Categories.from_json(file.categories)
    if "semantic" in file.network:
        semantic = SemanticNetwork(check_semantic(file.network["semantic"], where), len(categories))
        return SemanticPredictor(file.name, semantic, categories, [SEMANTIC], file.resize, file.notes)
    if "densecap" in file.network:
        densecap = DenseCap(check_densecap(file.network["densecap"], where), categories)
        return DenseCapPredictor(file.name, densecap, categories, DENSECAP_TASKS, file.resize, file.notes)
    tasks = tasks_named(list(file.network.get("tasks", {})))
    network = RegionNetwork(check_network(file.network, tasks, where), categories, tasks)
    return RegionPredictor(file.name, network, categories, tasks, file.resize, file.notes)
