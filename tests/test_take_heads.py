"""Heads that were trained apart, in one network."""

import pytest
import torch

from segue.errors import UsageError
from segue.models.weights import ModelFile
from tools.take_heads import taken


def model(name: str, trunk: float, **heads: int) -> ModelFile:
    state = {"trunk.weight": torch.full((2,), trunk)}
    state |= {f"heads.{head}.weight": torch.full((2,), float(value)) for head, value in heads.items()}
    tasks = {head: {"channels": value} for head, value in heads.items()}
    return ModelFile(name, {"conventions": "segue", "tasks": tasks}, [], None, state)


def test_a_head_comes_with_its_settings_and_leaves_the_rest() -> None:
    joined = taken(model("a", 1, boxes=1, captions=2), model("b", 1, boxes=3, captions=4), "captions")
    assert joined.network["tasks"] == {"boxes": {"channels": 1}, "captions": {"channels": 4}}
    assert {key: float(value[0]) for key, value in joined.state.items()} == {
        "trunk.weight": 1,
        "heads.boxes.weight": 1,
        "heads.captions.weight": 4,
    }


def test_a_head_that_the_first_lacks_is_added() -> None:
    joined = taken(model("a", 1, boxes=1), model("b", 1, label=5), "label")
    assert list(joined.network["tasks"]) == ["boxes", "label"]
    assert "heads.label.weight" in joined.state


def test_another_trunk_or_a_missing_head_is_refused() -> None:
    with pytest.raises(UsageError, match="another trunk"):
        taken(model("a", 1, boxes=1), model("b", 2, label=5), "label")
    with pytest.raises(UsageError, match="no head 'label'"):
        taken(model("a", 1, boxes=1), model("b", 1, boxes=5), "label")
    deeper = model("a", 1, boxes=1)
    deeper.state["trunk.further"] = torch.ones(2)
    with pytest.raises(UsageError, match="another trunk"):
        taken(deeper, model("b", 1, label=5), "label")
