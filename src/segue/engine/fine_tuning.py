"""Starting from the weights of another model: what fits is kept, the rest stays fresh, and both are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from segue.engine.recipe import Recipe, check_densecap, check_network, check_semantic, recipe_values, to_plain
from segue.errors import RecipeError
from segue.models.weights import ModelFile, load_what_fits, read_model
from segue.models.zoo import find_model
from segue.structures import Categories
from segue.tasks import tasks_named

TRUNK = "trunk."
ENOUGH = 0.5  # of the trunk's numbers, or of all where there is none
LISTED = 6
MEANING = ("conventions", "backbone", "pyramid")
"""The settings of a region network that weights of the same shapes lean on."""


@dataclass(frozen=True)
class Fit:
    """What a network took over.

    Attributes:
        kept: names of tensors.
        reshaped: names that the weights have, too, but in another shape.
        missing: names that the weights do not have.
        differences: settings that the recipe and the weights' own network do not share.
        renamed: as many classes as the weights', but not the same ones.
    """

    kept: list[str]
    reshaped: list[str]
    missing: list[str]
    differences: list[str]
    renamed: bool

    def table(self, weights: str) -> str:
        """A few lines for people."""
        total = len(self.kept) + len(self.reshaped) + len(self.missing)
        lines = [f"weights {weights}: {len(self.kept)} of {total} tensors kept"]
        lines += [f"  kept   {_counted(self.kept)}"] if self.kept else []
        lines += [f"  fresh  {_named(self.reshaped)}: another shape"] if self.reshaped else []
        lines += [f"  fresh  {_named(self.missing)}: not in the weights"] if self.missing else []
        lines += [f"  note   the weights' network differs: {', '.join(self.differences)}"] if self.differences else []
        note = "as many classes as the weights', but others: what tells them apart is kept and has to be unlearnt"
        return "\n".join([*lines, *([f"  note   {note}"] if self.renamed else [])])


def start_from(network: nn.Module, recipe: Recipe, categories: Categories) -> Fit:
    """Fill a recipe's network with what fits of its ``weights``.

    Raises:
        RecipeError: less than half of the trunk fits.
        CheckpointError, UsageError: as `find_model` and `read_model`.
    """
    assert recipe.weights
    file = read_model(find_model(recipe.weights))
    differences = _differences(recipe, file)
    own = network.state_dict()
    kept, fresh = load_what_fits(network, file.state)
    core = [name for name in own if name.startswith(TRUNK)] or [*own]
    if sum(own[name].numel() for name in {*core}.intersection(kept)) < ENOUGH * sum(own[name].numel() for name in core):
        what = f"only {len({*core}.intersection(kept))} of {len(core)} tensors of the {_part(core[0])} fit"
        cure = f"write what those weights have: {', '.join(differences)}" if differences else "take other weights"
        raise RecipeError(what, where=f"weights {recipe.weights}", cure=cure)
    names = [row["name"] for row in file.categories]
    return Fit(
        kept,
        [name for name in fresh if name in file.state],
        [name for name in fresh if name not in file.state],
        differences,
        len(names) == len(categories) and names != categories.names,
    )


def _differences(recipe: Recipe, file: ModelFile) -> list[str]:
    """Settings of the weights' network that the recipe's lacks, as ``network.backbone.depth: 50``."""
    kind = recipe.kind
    theirs = _settings(file)
    ours = recipe_values(recipe)
    if kind not in theirs:
        return [f"{key}: ..." for key in theirs]
    flat, own = (_flat(values[kind], f"{kind}.") for values in (theirs, ours))
    if kind == "network":
        places = tuple(f"network.{part}" for part in MEANING)
        flat = {key: value for key, value in flat.items() if key.startswith(places) and not key.endswith(".freeze")}
    return [f"{key}: {value}" for key, value in flat.items() if key in own and own[key] != value]


def _settings(file: ModelFile) -> dict[str, Any]:
    """The network of a model file as a recipe would write it, defaults included."""
    if "semantic" in file.network:
        return {"semantic": to_plain(check_semantic(file.network["semantic"], file.name))}
    if "densecap" in file.network:
        return {"densecap": to_plain(check_densecap(file.network["densecap"], file.name))}
    tasks = tasks_named(list(file.network.get("tasks", {})))
    return {"network": to_plain(check_network(file.network, tasks, file.name))}


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _part(name: str) -> str:
    """The part of the network that a tensor is of, such as ``trunk`` or ``heads.boxes``."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first.endswith("heads") else first


def _counted(names: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        counts[_part(name)] = counts.get(_part(name), 0) + 1
    return ", ".join(f"{part} {count}" for part, count in counts.items())


def _named(names: Iterable[str]) -> str:
    """The layers of tensors, the first few."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    more = f" and {len(layers) - LISTED} more" if len(layers) > LISTED else ""
    return ", ".join(layers[:LISTED]) + more
