"""Model files: safetensors with the network's settings, its classes and a content hash inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segue.errors import CheckpointError
from segue.files import atomic_write

FORMAT = 1
KEY = "segue"


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        name: of the model.
        network: settings of the network as plain values.
        categories: as `Categories.to_json` gives them.
        resize: shorter side and cap of the longer side, or None.
        state: the tensors by name.
        notes: whatever else was written: metrics, recipe, licence.
    """

    name: str
    network: dict[str, Any]
    categories: list[dict[str, Any]]
    resize: tuple[int, int] | None
    state: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)


def seal(state: Mapping[str, Tensor], header: str) -> str:
    """A header behind the hash of itself and of the tensors."""
    return f"{content_hash(state, header)} {header}"


def unseal(state: Mapping[str, Tensor], sealed: str, path: Path) -> str:
    """The header in `seal`'s text; raises `CheckpointError` where it or a tensor has changed since."""
    digest, _, header = sealed.partition(" ")
    if digest != content_hash(state, header):
        raise CheckpointError("the content does not match its hash", where=path, cure="it is damaged: fetch it again")
    return header


def content_hash(state: Mapping[str, Tensor], header: str) -> str:
    """SHA-256 over a header and all names, types, shapes and bytes: finds the flipped bit that loads silently."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_model(path: Path, model: ModelFile, half: bool = False) -> None:
    """Write a model file by rename; ``half`` stores floats in 16 bits."""
    state = {
        name: (t.half() if half and t.dtype == torch.float32 else t).detach().cpu().contiguous()
        for name, t in model.state.items()
    }
    content = {
        "format": FORMAT,
        "name": model.name,
        "network": model.network,
        "categories": model.categories,
        "resize": model.resize,
        "notes": model.notes,
    }
    atomic_write(path, save(state, {KEY: seal(state, json.dumps(content))}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises `CheckpointError` for anything else."""
    if not path.is_file():
        raise CheckpointError("no such model file", where=path, cure="give a .safetensors file or a run folder")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"not a whole safetensors file ({' '.join(str(error).split())})",
            where=path,
            cure="it may be cut short, or a pickle: fetch it again",
        ) from None


def read_model(path: Path) -> ModelFile:
    """Read and check a model file: format, content hash, and that no weight is infinite or NaN."""
    state, metadata = read_tensors(path)
    if KEY not in metadata:
        raise CheckpointError(
            "the weights of something else than a Segue model", where=path, cure="give a file that Segue wrote"
        )
    model = _parse(unseal(state, metadata[KEY], path), state, path)
    bad = [n for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if bad:
        raise CheckpointError(f"weights that are not numbers, first in {bad[0]}", where=path, cure="train it again")
    return model


def _parse(text: str, state: dict[str, Tensor], path: Path) -> ModelFile:
    try:
        header = json.loads(text)
        if header["format"] != FORMAT:
            what = f"format {header['format']}, this Segue reads {FORMAT}"
            raise CheckpointError(what, where=path, cure="update segue")
        return ModelFile(
            name=str(header["name"]),
            network=dict(header["network"]),
            categories=list(header["categories"]),
            resize=None if header["resize"] is None else (int(header["resize"][0]), int(header["resize"][1])),
            state=state,
            notes=dict(header.get("notes", {})),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        raise CheckpointError("its header makes no sense", where=path, cure="write it again with Segue") from None


def load_state(network: nn.Module, state: Mapping[str, Tensor], where: Path) -> None:
    """Fill a network exactly; raises `CheckpointError` listing what is missing, unknown or of another shape."""
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    misfit = [n for n in own if n in state and own[n].shape != state[n].shape]
    if missing or unknown or misfit:
        parts = [
            f"{len(names)} {what} (first {names[0]})"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", misfit))
            if names
        ]
        raise CheckpointError(
            f"weights do not fit the network: {', '.join(parts)}", where=where, cure="use the file that belongs to it"
        )
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in state.items()})


def load_what_fits(network: nn.Module, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Fill what has the same name and shape; return the names kept and the names left fresh."""
    own = network.state_dict()
    kept = [name for name in own if name in state and state[name].shape == own[name].shape]
    network.load_state_dict({**own, **{name: state[name].to(own[name].dtype) for name in kept}})
    return kept, [name for name in own if name not in kept]
