"""Weights in torchvision's layout, made small: what a narrow network of theirs would save."""

import json
from functools import cache
from pathlib import Path

from segue.models.checkpoints.seeded import seeded_state

FIXTURES = Path(__file__).parent / "fixtures"


@cache
def layouts():
    return json.loads((FIXTURES / "torchvision_layouts.json").read_text())


def small_state(name):
    """A state dict of that architecture with a sixteenth of the channels."""
    shapes = {k: [n // 16 if n >= 64 and n % 64 == 0 else n for n in shape] for k, shape in layouts()[name].items()}
    return seeded_state(shapes)


def older(state):
    """The same by the names of the first published files."""
    renamed = {}
    for name, tensor in state.items():
        new = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if "fpn" in new:
            new = new.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if new.startswith("roi_heads.mask_head."):
            number, _, kind = new.removeprefix("roi_heads.mask_head.").split(".")
            new = f"roi_heads.mask_head.mask_fcn{int(number) + 1}.{kind}"
        renamed[new] = tensor
    return renamed


def with_counters(state):
    """The same with a step counter for every norm."""
    import torch

    counters = {n.replace("running_var", "num_batches_tracked"): torch.tensor(7) for n in state if "running_var" in n}
    return {**state, **counters}
