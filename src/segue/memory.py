"""Memory that is freed stays with the process: the next picture needs as much again."""

from __future__ import annotations

import ctypes
import os
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
VARIABLES = "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"


def keep_memory() -> bool:
    """Tell glibc to keep what is freed, for the rest of the process; returns whether that was done.

    By default it gives blocks above 32 MB back to the system at once, and every feature map of a large picture that is
    taken anew costs a page fault for each 4 KB of it. Where the environment says how to deal with memory, and on
    systems without glibc, nothing is done.
    """
    if sys.platform != "linux" or any(name in os.environ for name in VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
