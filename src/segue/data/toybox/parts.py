"""What things are put together from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from segue.data.toybox.arrays import Floats
from segue.data.toybox.paint import Paint
from segue.data.toybox.surfaces import Shell


@dataclass(frozen=True)
class Part:
    """One closed surface in one paint."""

    shell: Shell
    paint: Paint


@dataclass(frozen=True)
class Model:
    """A thing of its usual size, m: z is up, the ground is z = 0, the front looks along -y.

    Attributes:
        parts: closed surfaces; the first one gives the thing its colour.
        keypoints: (K, 3).
        reach: (K,) m of the thing's own flesh that may lie before a keypoint without hiding it.
        style: a word for what it does, such as a pose; may be empty.
        second: a further colour that is spoken of (a person's trousers), or empty.
    """

    parts: list[Part]
    keypoints: Floats = field(default_factory=lambda: np.empty((0, 3)))
    reach: Floats = field(default_factory=lambda: np.empty(0))
    style: str = ""
    second: str = ""
