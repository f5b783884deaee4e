"""From a model file to a predictor."""

from __future__ import annotations

from pathlib import Path

import torch

from segue.engine.densecap_predictor import DenseCapPredictor
from segue.engine.predictor import Predictor, pick_device
from segue.engine.recipe import check_densecap, check_network, check_semantic
from segue.engine.region_predictor import RegionPredictor
from segue.engine.semantic_predictor import SemanticPredictor
from segue.errors import CheckpointError
from segue.models.densecap import DENSECAP_TASKS, DenseCap
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork
from segue.models.weights import ModelFile, load_state, read_model
from segue.models.zoo import find_model
from segue.structures import Categories
from segue.tasks import SEMANTIC, tasks_named


def load(model: str | Path, device: str = "auto") -> Predictor:
    """A zoo name, a .safetensors file, or the folder of a training run -> a `Predictor`.

    Raises:
        CheckpointError: the file is damaged, not a model, or does not fit its own settings.
        UsageError: there is no such model or device.
    """
    target = pick_device(device)
    path = find_model(str(model))
    file = read_model(path)
    try:
        predictor = build(file, str(path))
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, MemoryError) as error:
        what = f"settings of an impossible network ({type(error).__name__}: {error})"
        raise CheckpointError(what, where=path, cure="use a file that Segue wrote") from error
    load_state(predictor.network, file.state, path)
    predictor.network.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
