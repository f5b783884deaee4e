"""How much of the processor other work takes while we measure."""

from __future__ import annotations

import os
import time
from pathlib import Path

BUSY = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, steal


class OtherWork:
    """Counts from its creation."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), _by_others()

    def share(self) -> float | None:
        """The part of all cores' time since then that went to other processes; None where the system does not tell."""
        (began, before), now = self.start, _by_others()
        if before is None or now is None:
            return None
        passed = (time.perf_counter() - began) * (os.cpu_count() or 1)
        return min(max((now - before) / passed, 0.0), 1.0)


def _by_others() -> float | None:
    """Seconds of all cores that the system has spent on everything but this process and those that it waited for."""
    try:
        ticks = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0].split()[1:]
    except OSError:
        return None
    busy = sum(int(ticks[i]) for i in BUSY) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return busy - own.user - own.system - own.children_user - own.children_system
