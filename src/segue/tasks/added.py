"""Tasks that other packages bring: loaded, checked, and named where they fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

from torch import Tensor, nn

from segue.errors import SegueError, UsageError
from segue.structures import Field, Masks, Regions, Scene
from segue.tasks.task import Metric, RegionTask

ENTRY_POINTS = "segue.tasks"

TAKEN = {field.name for kind in (Regions, Scene) for field in fields(kind)}
"""Names that mean something else; those of Segue's own tasks are among them."""


def load_added(points: Iterable[EntryPoint]) -> list[RegionTask]:
    """The tasks behind entry points of the group `ENTRY_POINTS`, in the order of their names.

    Raises:
        UsageError: one cannot be imported, is no `RegionTask`, or has a name that is taken; the line names its package.
    """
    added: list[RegionTask] = []
    for point in sorted(points, key=lambda point: point.name):
        package = f"{point.dist.name if point.dist else 'a package'} ({point.value})"
        with blame(package, point.name):
            task = point.load()
        fault = _fault(task, {*TAKEN, *(each.name for each in added)})
        if fault:
            what = f"entry point {point.name!r} of group {ENTRY_POINTS} {fault}"
            raise UsageError(what, where=package, cure="mend that package, or uninstall it")
        added.append(watched(task, package))
    return added


def _fault(task: Any, taken: Collection[str]) -> str | None:
    if not isinstance(task, RegionTask):
        return f"is not a RegionTask but {_kind(task)}; only those can be added"
    if not isinstance(task.name, str) or not task.name.isidentifier():
        return f"is called {task.name!r}, which is no name"
    if task.name in taken:
        return f"is called {task.name!r}, as something else is"
    if not is_dataclass(task.settings) or not isinstance(task.settings, type):
        return f"has settings that are no dataclass but {task.settings!r:.60}"
    return None


@contextmanager
def blame(package: str, name: str) -> Iterator[None]:
    """Within, any error of a task that a ``package`` brings becomes a `UsageError` that names both.

    Those of Segue's own tasks, whose package is empty, stay as they are.
    """
    try:
        yield
    except SegueError:
        raise
    except Exception as error:
        if not package:
            raise
        what = f"task {name!r} failed ({type(error).__name__}: {' '.join(str(error).split()):.200})"
        raise UsageError(what, where=package, cure="mend that package; --debug shows the place") from error


@dataclass(frozen=True)
class Watched:
    """A function of a task, under `blame`. No closure, since worker processes are handed some."""

    function: Callable[..., Any]
    package: str
    name: str

    def __call__(self, *values: Any) -> Any:
        """What the function says."""
        with blame(self.package, self.name):
            return self.function(*values)


@dataclass(frozen=True)
class CheckedHead:
    """Makes the head of a task; raises `ValueError` where what is made is none."""

    make: Callable[..., Any]

    def __call__(self, *values: Any) -> nn.Module:
        """The head."""
        head = self.make(*values)
        if not isinstance(head, nn.Module):
            raise ValueError(f"the head must be a torch.nn.Module, not {_kind(head)}")
        missing = [name for name in ("pooled", "losses", "decode") if not hasattr(head, name)]
        if missing:
            raise ValueError(f"the head has no {missing[0]!r}")
        return head


@dataclass(frozen=True)
class WatchedMetric:
    """A metric of a task, under `blame`; its numbers are floats by name."""

    metric: Metric
    package: str
    name: str

    def update(self, predicted: Scene, truth: Scene) -> None:
        """Count one picture."""
        with blame(self.package, self.name):
            self.metric.update(predicted, truth)

    def compute(self) -> dict[str, float]:
        """The numbers so far."""
        with blame(self.package, self.name):
            return {str(name): float(value) for name, value in self.metric.compute().items()}


@dataclass(frozen=True)
class WatchedMetrics:
    """Makes a `WatchedMetric`."""

    make: Callable[..., Metric]
    package: str
    name: str

    def __call__(self, *values: Any) -> Metric:
        """A fresh one."""
        with blame(self.package, self.name):
            return WatchedMetric(self.make(*values), self.package, self.name)


def watched(task: RegionTask, package: str) -> RegionTask:
    """The task with all its functions under `blame`; the network does the same for its head's methods."""

    def watch(function: Any) -> Any:
        return None if function is None else Watched(function, package, task.name)

    names = ("parse", "transform", "draw", "to_json", "margin", "part", "files", "mirror", "unknown", "prepare")
    metrics = tuple(WatchedMetrics(make, package, task.name) for make in task.metrics)
    functions = {name: watch(getattr(task, name)) for name in names}
    head = watch(CheckedHead(task.head))
    return replace(task, package=package, head=head, metrics=metrics, **functions)


def checked_losses(found: Any, taken: Collection[str]) -> dict[str, Tensor]:
    """What a head's ``losses`` said; raises `ValueError` unless they are scalars with names that are not ``taken``."""
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) and v.ndim == 0 for v in found.values()):
        raise ValueError(f"losses must be scalar tensors by name, not {_kind(found)}")
    twice = sorted(set(found) & set(taken))
    if twice:
        raise ValueError(f"there is a loss {twice[0]!r} already")
    return dict(found)


def checked_rows(raw: Any, count: int) -> Any:
    """A head's raw output; raises `ValueError` unless it is a tensor, or a tuple of tensors, with ``count`` rows."""
    parts = raw if isinstance(raw, tuple) else (raw,)
    if not all(isinstance(part, Tensor) and part.ndim > 0 and len(part) == count for part in parts):
        raise ValueError(f"of {count} regions the head must make as many rows, not {_kind(raw)}")
    return raw


def checked_field(value: Any, count: int) -> Field:
    """What a head decoded; raises `ValueError` unless it is a field of ``count`` regions."""
    if not isinstance(value, Tensor | Masks | list) or (isinstance(value, Tensor) and not value.ndim):
        raise ValueError(f"a field must be a tensor, masks or a list, not {_kind(value)}")
    if len(value) != count:
        raise ValueError(f"of {count} regions it decodes {len(value)}")
    return value


def _kind(value: Any) -> str:
    """The type, and the shape of tensors."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_kind, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_kind(each)}' for key, each in value.items())}}}"
    return type(value).__name__
