"""One network of heads that were trained apart on the same frozen trunk.

    python tools/take_heads.py toybox --head captions=runs/captions --head keypoints=runs/keypoints --out runs/all

Everything else of the first model stays as it was. What the heads read must be the same in all models, to the last bit.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from segue.errors import UsageError
from segue.models.weights import ModelFile, read_model, write_model
from segue.models.zoo import find_model

GROUPS = ("heads", "image_heads", "pixel_heads")


def main() -> None:
    """Read, take, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a zoo name, a model file or a run")
    parser.add_argument("--head", action="append", default=[], metavar="NAME=MODEL", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = read_model(find_model(options.model))
    for text in options.head:
        name, _, other = text.partition("=")
        model = taken(model, read_model(find_model(other)), name)
    options.out.mkdir(parents=True, exist_ok=True)
    write_model(options.out / "best.safetensors", model)


def taken(model: ModelFile, other: ModelFile, name: str) -> ModelFile:
    """The model with the head of this name, and its settings, from another one."""
    prefixes = tuple(f"{group}.{name}." for group in GROUPS)
    head = {key: value for key, value in other.state.items() if key.startswith(prefixes)}
    if not head:
        raise UsageError(f"{other.name} has no head {name!r}", cure="name one that it has")
    for key, value in model.state.items():
        same = key in other.state and torch.equal(value.float(), other.state[key].float())
        if key.startswith("trunk.") and not same:
            raise UsageError(f"{other.name} has another trunk", cure="train both heads on the same frozen network")
    rest = {key: value for key, value in model.state.items() if not key.startswith(prefixes)}
    tasks = {**model.network["tasks"], name: other.network["tasks"][name]}
    return replace(model, network={**model.network, "tasks": tasks}, state={**rest, **head})


if __name__ == "__main__":
    main()
