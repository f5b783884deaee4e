"""Weights files of other frameworks, read without running anything in them, and their names made plain."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.data.quiet import without_warnings
from segue.errors import CheckpointError
from segue.models.checkpoints.unpickle import read_pickle
from segue.models.weights import read_tensors

WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict")
"""Keys under which training scripts keep the weights beside optimiser and schedule."""

COUNTER = "num_batches_tracked"
TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How the pickle of a torch file from before 2020 begins, after its protocol."""


@dataclass(frozen=True)
class Foreign:
    """What a weights file of another framework holds.

    Attributes:
        path: of the file.
        state: its tensors by name, on the CPU. A prefix ``module.`` is dropped, half precision is float32, the step
            counters of batch norms are left out.
        sha256: of the file's bytes.
        counted: the batch norms that had a step counter: these were trained, not frozen.
    """

    path: Path
    state: dict[str, Tensor]
    sha256: str
    counted: frozenset[str] = frozenset()


def read_foreign(path: Path) -> Foreign:
    """Read a ``.pth`` or ``.pt`` file of torch, a pickle of arrays (``.pkl``) or a safetensors file.

    Which of them it is follows from its first bytes. No code in it is run.

    Raises:
        CheckpointError: there is no such file; it is cut short, holds objects other than tensors, arrays and plain
            values, or no weights.
    """
    if not path.is_file():
        raise CheckpointError("no such weights file", where=path, cure="check the path")
    state = _unwrapped(_content(path), path)
    tensors = {_plain(str(name)): _tensor(value) for name, value in state.items() if _is_array(value)}
    if not tensors:
        raise CheckpointError("no weights in it", where=path, cure="give a file with a network's state dict")
    return Foreign(
        path=path,
        state={name: t for name, t in tensors.items() if not name.endswith(COUNTER)},
        sha256=file_hash(path),
        counted=frozenset(name.removesuffix(f".{COUNTER}") for name in tensors if name.endswith(COUNTER)),
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(16)
    if zipfile.is_zipfile(path) or start[:2] == b"PK" or start[2:].startswith(TORCH_MAGIC):
        return _read_torch(path)
    if start[:1] == b"\x80":
        return read_pickle(path)
    return read_tensors(path)[0]


def _read_torch(path: Path) -> Any:
    try:
        with without_warnings():  # of storage classes that only old files name
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            "holds objects that are no weights, and could run code",
            where=path,
            cure="save only the network's state dict",
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"not a whole torch file ({reason})", where=path, cure="fetch it again") from None


def _unwrapped(content: Any, path: Path) -> Mapping[Any, Any]:
    """The mapping with the tensors, inside the entries that training scripts wrap around it."""
    for _ in range(3):
        inner = next((content[k] for k in WRAPPERS if isinstance(content, Mapping) and k in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"holds a {type(content).__name__}, not weights by name", where=path, cure="save the network's state dict"
        )
    return content


def _plain(name: str) -> str:
    return name.removeprefix("module.").removeprefix("_orig_mod.")


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or type(value).__module__ == "numpy"


def _tensor(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    return tensor.float() if tensor.is_floating_point() else tensor
