"""The zoo in words, for the command line."""

from __future__ import annotations

import textwrap

from segue.models.zoo import ZOO, size
from segue.models.zoo_model import ZooModel

WIDTH = 100


def listing() -> str:
    """Every model, under a heading for those that want the same input and have the same licence."""
    groups: dict[str, list[str]] = {}
    for model in ZOO:
        groups.setdefault(f"input: {model.input}\nlicence: {model.licence}", []).extend(_lines(model))
    blocks = ["\n".join([heading, *lines]) for heading, lines in groups.items()]
    return "\n\n".join(
        [*blocks, "More about one: segue models NAME. Public weights come when they are first asked for."]
    )


def _lines(model: ZooModel) -> list[str]:
    facts = f"{model.tasks}; {model.classes}; {model.metric}"
    indent = " " * 6
    return [
        f"  {model.name:44} {size(model)}, {model.state}",
        *textwrap.wrap(facts, WIDTH, initial_indent=indent, subsequent_indent=indent),
    ]


def describe(model: ZooModel) -> str:
    """Everything about one model, a line each."""
    rows = {
        "name": model.name,
        "tasks": model.tasks,
        "classes": model.classes,
        "published": model.metric,
        "input": model.input,
        "licence": model.licence,
        "size": size(model),
        "state": model.state,
    }
    if model.web and model.weights:
        known = f"{model.web.hash} {model.web.digest}…" if model.web.hash else "no published hash"
        rows |= {"from": model.web.url, "checked by": known, "file": str(model.weights)}
    return "\n".join(f"{key:11}{value}" for key, value in rows.items())
