"""A recipe: one YAML file that says what to train on what, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from segue.data.mixture import Source
from segue.data.transforms import Augmentation
from segue.errors import RecipeError
from segue.models.densecap import DENSECAP_TASKS, DenseCapSettings
from segue.models.region_network import check_needs
from segue.models.semantic_network import SemanticSettings
from segue.models.settings import NetworkSettings
from segue.tasks import Task, known_tasks, tasks_named

Kind = Literal["network", "semantic", "densecap"]
"""What a recipe trains: the key that says how."""

BEST = {"semantic": "semantic/mIoU", "densecap": "captions/mAP"}
"""Which metric decides by default, of kinds other than a region network."""


@dataclass(frozen=True)
class DataSettings:
    """What to learn from.

    Attributes:
        train: a data set: a name below SEGUE_DATA with its split, a COCO JSON file, or a folder.
        val: the data set to score on, or None.
        images: folder of the pictures of both, where it does not follow from the annotation file.
        datasets: in place of ``train`` several data sets, whose classes are put together by name.
    """

    train: str | None = None
    val: str | None = None
    images: str | None = None
    datasets: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        if (self.train is None) == (not self.datasets):
            raise ValueError("give either train, one data set, or datasets, a list of them")

    @property
    def sources(self) -> tuple[Source, ...]:
        """The data sets to learn from."""
        return self.datasets if self.train is None else (Source(self.train, images=self.images),)


@dataclass(frozen=True)
class TrainingSettings:
    """How to learn.

    Attributes:
        steps: optimiser steps in all.
        batch: pictures per step and device.
        optimizer: ``sgd`` (momentum 0.9) or ``adamw``.
        lr: peak learning rate.
        weight_decay: not applied to norms and biases.
        schedule: ``cosine`` to zero, or ``step``: a tenth after each of ``milestones``.
        milestones: shares of ``steps``.
        warmup: steps of linear warm-up.
        clip: largest gradient norm; 0 does not clip.
        ema: decay of the averaged weights that are scored and saved; 0 does not average.
        precision: ``32``, ``bf16`` or ``16`` mixed precision; ``auto`` is bf16 on a device that multiplies it, else 32.
        channels_last: memory layout that convolutions like.
        workers: loader processes.
        seed: of everything random.
        log_every: steps between two lines of the log.
        evaluate_every: steps between two evaluations.
        checkpoint_every: steps between two resumable checkpoints.
        freeze: parts of the network that stay as they are, such as ``trunk`` or ``heads.boxes``; what is frozen has no
            loss either.
        patience: evaluations without a better one before training stops; 0 never stops early.
        best: the metric that decides which weights are best; by default `BEST` of other networks.
    """

    steps: int
    batch: int = 4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.02
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = (0.67, 0.9)
    warmup: int = 100
    clip: float = 0.0
    ema: float = 0.0
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    channels_last: bool = True
    workers: int = 0
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 500
    checkpoint_every: int = 100
    freeze: tuple[str, ...] = ()
    patience: int = 0
    best: str = "masks/AP"

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "log_every", "evaluate_every", "checkpoint_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1")
        if not 0 <= self.ema < 1:
            raise ValueError("ema must be in [0, 1)")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of a training run.

    Attributes:
        name: of the model.
        data: what to learn from.
        training: how.
        network: what: a region network.
        semantic: or a network that labels every pixel; then ``network`` says nothing.
        densecap: or DenseCap, boxes and sentences without classes; then neither says anything.
        augmentation: how training pictures are varied, and how all pictures are resized.
        weights: a model file to start from; heads that do not fit are fresh.
    """

    name: str
    data: DataSettings
    training: TrainingSettings
    network: NetworkSettings = field(default_factory=NetworkSettings)
    semantic: SemanticSettings | None = None
    densecap: DenseCapSettings | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: str | None = None

    @property
    def kind(self) -> Kind:
        """Which of the kinds of network it is about."""
        if self.densecap is not None:
            return "densecap"
        return "network" if self.semantic is None else "semantic"


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; ``overrides`` are ``key.in.dots=value``. Raises `RecipeError` naming key and cure."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError("no such recipe", where=path, cure="give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"not readable as YAML ({' '.join(str(error).split())})", where=path) from None
    if not isinstance(values, dict):
        raise RecipeError("a recipe is a mapping of keys to values", where=path, cure="see recipes/ for examples")
    for override in overrides:
        _override(values, override)
    return check_recipe(values, str(path))


def check_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Plain values -> a recipe, heads' settings included."""
    kinds = [kind for kind in get_args(Kind) if values.get(kind) is not None]
    if len(kinds) > 1:
        raise RecipeError(f"both {kinds[0]} and {kinds[1]}", where=where, cure="leave one of them out")
    rest = {key: value for key, value in values.items() if key not in BEST}
    recipe: Recipe = _checked(Recipe, rest, where)
    if kinds and kinds[0] in BEST:
        return _with_kind(recipe, kinds[0], values, where)
    tasks = {task.name: task for task in known_tasks()}
    heads = {}
    for name, settings in recipe.network.tasks.items():
        if name not in tasks:
            raise _unknown("task", f"network.tasks.{name}", name, list(tasks), where)
        heads[name] = _checked(tasks[name].settings, settings or {}, where, f"network.tasks.{name}.")
    check_needs([tasks[name] for name in heads], f"{where}: ")
    return replace(recipe, network=replace(recipe.network, tasks=heads))


def _with_kind(recipe: Recipe, kind: str, values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe with its part of one of the kinds in `BEST`."""
    training = recipe.training if "best" in values["training"] else replace(recipe.training, best=BEST[kind])
    if kind == "densecap":
        return replace(recipe, training=training, densecap=check_densecap(values[kind], where, "densecap."))
    return replace(recipe, training=training, semantic=check_semantic(values[kind], where, "semantic."))


def check_network(values: Mapping[str, Any], tasks: Sequence[Task], where: str) -> NetworkSettings:
    """The network part of a model file -> settings, checked in the same way."""
    network: NetworkSettings = _checked(NetworkSettings, values, where)
    heads = {t.name: _checked(t.settings, network.tasks.get(t.name) or {}, where) for t in tasks}
    return replace(network, tasks=heads)


def check_semantic(values: Mapping[str, Any], where: str, prefix: str = "") -> SemanticSettings:
    """Plain values -> settings of a semantic network, those of its architecture included."""
    settings: SemanticSettings = _checked(SemanticSettings, values, where, prefix)
    (name, own), kind = next(iter(settings.network.items())), settings.architecture
    return replace(settings, network={name: _checked(kind.settings, own or {}, where, f"{prefix}network.{name}.")})


def check_densecap(values: Mapping[str, Any], where: str, prefix: str = "") -> DenseCapSettings:
    """Plain values -> settings of DenseCap."""
    settings: DenseCapSettings = _checked(DenseCapSettings, values, where, prefix)
    return settings


def tasks_of(recipe: Recipe) -> list[Task]:
    """What is learned; a semantic network does without tasks."""
    if recipe.kind == "network":
        return tasks_named(list(recipe.network.tasks))
    return DENSECAP_TASKS if recipe.kind == "densecap" else []


def to_plain(settings: Any) -> dict[str, Any]:
    """A recipe or a part of it as plain dicts and lists, ready for YAML or JSON."""
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(asdict(settings), mode="json")
    return plain


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """What `check_recipe` makes the recipe of again: all values of the one kind of network that it has."""
    unused = {*get_args(Kind)} - {recipe.kind}
    return {key: value for key, value in to_plain(recipe).items() if key not in unused}


def _checked(kind: type[Any], values: Mapping[str, Any], where: str, prefix: str = "") -> Any:
    _refuse_unknown_keys(kind, values, where, prefix)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as errors:
        first = errors.errors()[0]
        key = prefix + ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f", not {first['input']!r}"
        place = f"{where}: {key.rstrip('.')}"
        raise RecipeError(f"{_sentence(first['msg'])}{got}", where=place, cure=_cure(errors)) from None


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return "value " + message if message.startswith("should") else message[:1].lower() + message[1:]


def _cure(errors: ValidationError) -> str:
    more = errors.error_count() - 1
    return "mend it" + (f" ({more} more after this one)" if more else "")


def _refuse_unknown_keys(kind: type[Any], values: Any, where: str, prefix: str) -> None:
    if not isinstance(values, Mapping):
        raise RecipeError(
            f"expected keys and values, not {values!r}",
            where=f"{where}: {prefix.rstrip('.')}",
            cure=f"allowed keys are {', '.join(f.name for f in fields(kind))}",
        )
    types = get_type_hints(kind)
    for key, value in values.items():
        if key not in types:
            raise _unknown("key", f"{prefix}{key}", str(key), [f.name for f in fields(kind)], where)
        for part, inner, place in _parts(types[key], value, f"{prefix}{key}."):
            _refuse_unknown_keys(part, inner, where, place)


def _parts(kind: Any, value: Any, place: str) -> list[tuple[type[Any], Any, str]]:
    """The settings classes in a value of a kind, itself one or a tuple of one, with their values and places."""
    if isinstance(kind, type) and is_dataclass(kind):
        return [(kind, value, place)]
    inner = get_args(kind)[0] if get_origin(kind) is tuple else None
    if not is_dataclass(inner) or not isinstance(value, list):
        return []
    return [part for i, row in enumerate(value) for part in _parts(inner, row, f"{place}{i}.")]


def _unknown(what: str, key: str, name: str, allowed: list[str], where: str) -> RecipeError:
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return RecipeError(
        f"unknown {what} {name!r}", where=f"{where}: {key}", cure=f"{hint}allowed are {', '.join(allowed)}"
    )


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"cannot read {override!r}", where="--set", cure="write --set key.in.dots=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{parent!r} has no keys below it", where=f"--set {key}", cure="see the recipe's keys")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"cannot read the value {text!r}", where=f"--set {key}", cure="write it as in YAML") from None
