"""Warnings of packages that read files. What they remark on a file concerns nobody: what counts is checked."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let one thread at a time into the ``with`` block, where warnings are ignored.

    Their filters are the process's: two threads that set them aside at once may leave them aside for good.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
