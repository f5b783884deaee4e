"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

from segue.memory import keep_memory

FAULTS = """
import resource, torch
from segue.memory import keep_memory
kept = keep_memory() if {keep} else False
for _ in range(2):
    torch.ones(400_000_000, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(400_000_000, dtype=torch.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux only")
def test_what_is_freed_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    said = {}
    for keep in (True, False):
        command = [sys.executable, "-c", FAULTS.format(keep=keep)]
        said[keep] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if said[True][0] == "False":
        pytest.skip("this system has another malloc")
    assert int(said[True][1]) < int(said[False][1]) / 3


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_memory()
