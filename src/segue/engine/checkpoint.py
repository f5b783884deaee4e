"""All that a training run needs to go on exactly where it was, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from segue.errors import CheckpointError
from segue.files import atomic_write
from segue.models.weights import load_state, read_tensors, seal, unseal

KEY = "segue_run"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimiser steps done.
        best: best value of the deciding metric so far, or None.
        stale: evaluations since then.
    """

    step: int = 0
    best: float | None = None
    stale: int = 0


def write_checkpoint(
    path: Path, progress: Progress, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Write weights, averaged weights, optimiser state and progress by one rename: never half of it."""
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": t for name, t in average.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    tensors = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    atomic_write(path, save(tensors, {KEY: seal(tensors, json.dumps(asdict(progress)))}))


def read_checkpoint(
    path: Path, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> Progress:
    """Fill network, averaged network and optimiser from `write_checkpoint`; raises `CheckpointError`."""
    tensors, metadata = read_tensors(path)
    if KEY not in metadata:
        raise CheckpointError("not a checkpoint of a training run", where=path, cure="train without --resume")
    progress = Progress(**json.loads(unseal(tensors, metadata[KEY], path)))
    load_state(network, _below(tensors, "network."), path)
    if average is not None:
        load_state(average, _below(tensors, "average."), path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    try:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"optimiser state does not fit: {error}", where=path, cure="start a new run") from None
    return progress


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
