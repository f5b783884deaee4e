"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

from segue.memory import keep_memory

HEAP = """
import torch
from segue.memory import keep_memory

def heap():
    with open("/proc/self/maps") as maps:
        [line] = [line for line in maps if line.endswith("[heap]\\n")]
    return [int(end, 16) for end in line.split()[0].split("-")]

kept = keep_memory() if {keep} else False
block = torch.empty(100_000_000, dtype=torch.uint8)
start, end = heap()
inside = start <= block.data_ptr() < end
del block
print(kept, inside, heap()[1] == end)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux only")
def test_large_blocks_come_from_the_heap_and_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    said = {}
    for keep in (True, False):
        command = [sys.executable, "-c", HEAP.format(keep=keep)]
        said[keep] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if said[True][0] == "False":
        pytest.skip("this system has another malloc")
    assert said[True] == ["True", "True", "True"]
    assert said[False][:2] == ["False", "False"]


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_memory()
