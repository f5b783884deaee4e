"""Other frameworks' names of weights as ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from segue.errors import CheckpointError
from segue.models.checkpoints.foreign import COUNTER
from segue.models.weights import load_state
from segue.nn.resnet import BLOCKS

Rules = Sequence[tuple[str, str]]
"""Patterns of whole names, and what they become; the first that fits counts."""

TORCHVISION_RESNET: Rules = (
    (r"conv1\.(weight)", r"stem.0.\1"),
    (r"bn1\.(\w+)", r"stem.1.\1"),
    (r"layer1\.(.+)", r"stages.0.\1"),
    (r"layer2\.(.+)", r"stages.1.\1"),
    (r"layer3\.(.+)", r"stages.2.\1"),
    (r"layer4\.(.+)", r"stages.3.\1"),
)
TORCHVISION_BLOCK: Rules = (
    (r"(.+\.\d+)\.conv(\d)\.(weight)", r"\1.conv\2.\3"),
    (r"(.+\.\d+)\.bn(\d)\.(\w+)", r"\1.norm\2.\3"),
    (r"(.+\.\d+)\.downsample\.([01])\.(\w+)", r"\1.shortcut.\2.\3"),
)


def rename(name: str, rules: Rules) -> str | None:
    """The name by the first rule that fits, None where none does."""
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def torchvision_resnet(name: str) -> str | None:
    """A weight of torchvision's ResNet, such as ``layer1.0.bn2.weight``, in `segue.nn.resnet.ResNet`."""
    renamed = rename(name, TORCHVISION_RESNET)
    return rename(renamed, TORCHVISION_BLOCK) if renamed and renamed.startswith("stages.") else renamed


def resnet_depth(counts: Sequence[int], bottleneck: bool, path: Path) -> int:
    """Which ResNet has so many blocks in its four stages; raises `CheckpointError` where none does."""
    for depth, blocks in BLOCKS.items():
        if blocks == tuple(counts) and (depth >= 50) == bottleneck:
            return depth
    known = ", ".join(map(str, BLOCKS))
    raise CheckpointError(
        f"a ResNet with {', '.join(map(str, counts))} blocks", where=path, cure=f"known are ResNet-{known}"
    )


def blocks_of(state: Mapping[str, Tensor], prefix: str) -> list[int]:
    """How many numbered blocks there are in ``{prefix}1`` to ``{prefix}4``."""
    names = [re.match(rf"{re.escape(prefix)}(\d)\.(\d+)\.", name) for name in state]
    found = {(int(m[1]), int(m[2])) for m in names if m}
    return [sum(stage == number for stage, _ in found) for number in range(1, 5)]


def fitted(state: Mapping[str, Tensor], network: nn.Module, path: Path) -> dict[str, Tensor]:
    """The weights with the step counters that the network's batch norms want, after they were seen to fit it.

    Raises:
        CheckpointError: one is missing, or of another shape.
    """
    names = [name for name in network.state_dict() if name.endswith(COUNTER)]
    counters = {name: torch.zeros((), dtype=torch.int64) for name in names}
    whole = {**counters, **state}
    load_state(network, whole, path)
    return whole


def fill(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Weights into another framework's network that may have step counters, and less heads, than they."""
    own = model.state_dict()
    model.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})
    model.eval()
