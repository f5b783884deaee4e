"""What knowing all that is true is worth in the search by sentence."""

import pytest

from tools.search_ceiling import Ceiling, ceiling, unique


def test_a_query_counts_once_in_as_many_times_as_it_is_true() -> None:
    true = [{"a", "b", "c"}, {"a", "c"}, {"a"}]
    assert ceiling([["a"], ["b"], ["c"]], true) == Ceiling(3, 2, pytest.approx((1 / 3 + 1 + 1 / 2) / 3))
    assert ceiling([["a", "c"], ["b", "c"]], true) == Ceiling(2, 1, pytest.approx(0.75))
    assert ceiling([], true) == Ceiling(0, 0, 0.0)


def test_sentences_are_compared_by_their_words() -> None:
    assert unique(["A red  mug.", "a red mug", "a blue mug"]) == ["a red mug", "a blue mug"]
