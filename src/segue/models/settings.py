"""Recipe values of a region network, and their way into a model file and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segue.nn.conventions import CONVENTIONS, ConventionName, Conventions
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.tasks import Task


@dataclass(frozen=True)
class RegionSettings:
    """Which proposals the heads are trained on.

    Attributes:
        samples: proposals per image in the losses.
        positive_share: at most this share of them covers an object.
        positive: a proposal with this IoU or more covers an object; the rest is background.
        ignored: but not a proposal below this IoU with every object.
    """

    samples: int = 512
    positive_share: float = 0.25
    positive: float = 0.5
    ignored: float = 0.0


@dataclass(frozen=True)
class NetworkSettings:
    """Recipe values of the whole region network.

    Attributes:
        conventions: which published constants to follow.
        backbone: the ResNet.
        pyramid: the FPN.
        proposals: the RPN.
        regions: sampling for the heads.
        tasks: the heads, by task name, each with the recipe values of its own settings class; heads that
            label every pixel may be among them.
    """

    conventions: ConventionName = "segue"
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    pyramid: PyramidSettings = field(default_factory=PyramidSettings)
    proposals: ProposalSettings = field(default_factory=ProposalSettings)
    regions: RegionSettings = field(default_factory=RegionSettings)
    tasks: Mapping[str, Any] = field(default_factory=lambda: {"boxes": {}, "masks": {}})

    @property
    def constants(self) -> Conventions:
        """The constants that ``conventions`` names."""
        return CONVENTIONS[self.conventions]

    def head(self, task: Task) -> Any:
        """The settings of one task's head."""
        values = self.tasks.get(task.name) or {}
        return values if isinstance(values, task.settings) else task.settings(**values)
