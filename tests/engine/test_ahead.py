"""Work in another thread, in order."""

import threading
from collections.abc import Iterator

import pytest

from segue.engine.ahead import ahead


def test_items_come_in_order_and_all() -> None:
    assert list(ahead(range(100), 3)) == list(range(100))
    assert list(ahead([], 2)) == []
    assert list(ahead([None, None])) == [None, None]


def test_the_next_is_made_while_this_one_is_used() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(items(), 1):
        assert made[min(number + 1, 3)].wait(10)


def test_no_more_are_made_than_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    stream = ahead(items(), 2)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert len(made) <= 3


def test_an_error_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = ahead(items(), 2)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stream)
