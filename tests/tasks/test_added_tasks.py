"""Tasks of other packages that are broken in some way: one line, which names the package."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from segue.cli import main
from segue.errors import UsageError
from segue.tasks import all_tasks, known_tasks
from segue.tasks.added import TAKEN, checked_field, checked_losses, checked_rows
from tests.conftest import tiny_values

TASK = """
from dataclasses import dataclass
import torch
from torch import nn
from segue.tasks import RegionTask

@dataclass(frozen=True)
class Settings:
    width: int = 2

class Head(nn.Module):
    pooled = 2
    def __init__(self, channels, categories, conventions, settings):
        super().__init__()
        self.layer = nn.Linear(channels * 4, 1)
    def forward(self, rois):
        return self.layer(rois.flatten(1))[:, 0]
    def losses(self, raw, regions, truth):
        return {"weight": raw.mean()}
    def decode(self, raw, regions, size):
        return raw

class Mean:
    def __init__(self, categories):
        self.sum = 0.0
    def update(self, predicted, truth):
        self.sum += float(predicted.regions.extra["weight"].sum())
    def compute(self):
        return {"weight/sum": self.sum}

def parse(annotations, size):
    return torch.ones(len(annotations))

def to_json(regions):
    return [{"weight": 1.0}] * len(regions)

TASK = RegionTask("weight", Settings, Head, parse, metrics=(Mean,), to_json=to_json)
"""

Broken = Callable[[str, str], None]


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Installs the package ``scales`` with the task, one piece of its text exchanged."""

    def install(piece: str, other: str) -> None:
        site = tmp_path / "site"
        info = site / "scales-1.0.dist-info"
        info.mkdir(parents=True)
        assert piece in TASK
        (site / "scales_task.py").write_text(TASK.replace(piece, other))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scales\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[segue.tasks]\nweight = scales_task:TASK\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(__import__("sys").modules, "scales_task", raising=False)

    return install


@pytest.mark.parametrize(
    ("piece", "other", "says"),
    [
        ("import torch\n", "import tosch\n", "ModuleNotFoundError: No module named 'tosch'"),
        ("TASK = RegionTask", "TASKS = RegionTask", "AttributeError"),
        (
            'TASK = RegionTask("weight", Settings, Head, parse, metrics=(Mean,), to_json=to_json)',
            "TASK = 3",
            "is not a RegionTask but int",
        ),
        (
            'TASK = RegionTask("weight", Settings, Head, parse, metrics=(Mean,), to_json=to_json)',
            "from segue.tasks import LABEL as TASK",
            "is not a RegionTask but ImageTask",
        ),
        ('RegionTask("weight"', 'RegionTask("masks"', "is called 'masks', as something else is"),
        ('RegionTask("weight"', 'RegionTask("semantic"', "is called 'semantic', as something else is"),
        ('RegionTask("weight"', 'RegionTask("scores"', "is called 'scores', as something else is"),
        ('RegionTask("weight"', 'RegionTask("a.b"', "is called 'a.b', which is no name"),
        ("Settings, Head, parse", "dict, Head, parse", "settings that are no dataclass"),
    ],
)
def test_not_loaded(plug_in: Broken, piece: str, other: str, says: str) -> None:
    plug_in(piece, other)
    with pytest.raises(UsageError) as error:
        all_tasks()
    assert says in str(error.value)
    assert "scales (scales_task:TASK)" in str(error.value)


@pytest.mark.parametrize(
    ("piece", "other", "says"),
    [
        ("nn.Linear(channels * 4, 1)", "nn.Linear(-1, 1)", "RuntimeError"),
        ("class Head(nn.Module):", "class Head:", "the head must be a torch.nn.Module, not Head"),
        ("pooled = 2", "side = 2", "the head has no 'pooled'"),
        ("channels * 4, 1", "channels * 9, 1", "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ('{"weight": raw.mean()}', "raw.mean()", "losses must be scalar tensors by name, not a tensor ()"),
        ('{"weight": raw.mean()}', '{"weight": raw}', "losses must be scalar tensors by name, not {'weight': a tensor"),
        ('{"weight": raw.mean()}', '{"boxes": raw.mean()}', "there is a loss 'boxes' already"),
        ("return torch.ones(len(annotations))", "return annotations[0]['mass']", "KeyError: 'mass'"),
        ('return {"weight/sum": self.sum}', "return self.sum", "AttributeError"),
        ("self.layer(rois.flatten(1))[:, 0]", "self.layer(rois.flatten(1))[:, 0][:-1] * 1.0", "as many rows"),
        ("        return raw\n", "        return raw[1:]\n", "regions it decodes"),
        ("        return raw\n", "        return 3.5\n", "a field must be a tensor, masks or a list, not float"),
    ],
)
def test_fails_while_it_trains(
    plug_in: Broken, write_recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    piece: str, other: str, says: str,
) -> None:  # fmt: skip
    plug_in(piece, other)
    tasks = {"boxes": {"channels": 16, "score": 0.0}, "weight": {}}
    network = tiny_values(tmp_path)["network"] | {"tasks": tasks}
    recipe = write_recipe(network=network, training={"steps": 1, "best": "weight/sum", "evaluate_every": 1})
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("segue: error: scales (scales_task:TASK): task 'weight' failed (")
    assert says in line


def test_what_works_trains_predicts_and_is_named(
    plug_in: Broken, write_recipe: Callable[..., Path], run: Callable[..., str], cells: Path, tmp_path: Path
) -> None:
    plug_in("width: int = 2", "width: int = 3")
    network = {"tasks": {"boxes": {"channels": 16, "score": 0.0}, "weight": {}}}
    recipe = write_recipe(network=network, training={"steps": 1, "best": "weight/sum", "evaluate_every": 1})
    run("train", recipe, "--out", tmp_path / "run", "--device", "cpu")
    run(
        "predict",
        cells.parent / "cells_000.png",
        "--model",
        tmp_path / "run",
        "--out",
        tmp_path / "out",
        "--threshold",
        0,
    )
    assert '"weight": 1.0' in (tmp_path / "out" / "scenes.json").read_text()


def test_names_of_our_own_tasks_are_taken() -> None:
    assert {task.name for task in known_tasks()} <= TAKEN


def test_checks_pass_what_is_right() -> None:
    scalar, rows = torch.tensor(1.0), (torch.zeros(3, 2), torch.zeros(3))
    assert checked_losses({"a": scalar}, {"b"}) == {"a": scalar}
    assert checked_rows(rows, 3) is rows
    assert checked_field(["a", "b"], 2) == ["a", "b"]
    for wrong in ((torch.zeros(3), torch.zeros(2)), torch.tensor(3.0), [1, 2, 3], nn.Identity()):
        with pytest.raises(ValueError, match="as many rows"):
            checked_rows(wrong, 3)
