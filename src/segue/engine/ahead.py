"""Work that goes on while other work waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], count: int = 2) -> Iterator[T]:
    """The same items in the same order, each made in another thread while the ones before are used.

    Args:
        items: whatever is slow to make. What making one raises is raised here, in its turn.
        count: items that are made before they are asked for, at most: what they need of memory is needed so often.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, source, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, source, end))
            yield item  # type: ignore[misc]
