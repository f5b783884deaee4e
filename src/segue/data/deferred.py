"""Annotations of which a part is in files that are read only when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Deferred(Mapping[str, Any]):
    """An annotation.

    Args:
        known: what is there.
        later: functions for the rest, by key; each is called once, when its value is first wanted.
    """

    def __init__(self, known: Mapping[str, Any], later: Mapping[str, Callable[[], Any]]) -> None:
        self._known, self._later = dict(known), later

    def __getitem__(self, key: str) -> Any:
        if key not in self._known and key in self._later:
            self._known[key] = self._later[key]()
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._known or key in self._later

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._later})

    def __len__(self) -> int:
        return len({**self._known, **self._later})
