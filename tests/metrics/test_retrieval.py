from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.errors import DataError
from segue.metrics.retrieval import retrieval_numbers


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.3, 0.4], [0.3, 0.1, 0.2], [0.2, 0.3, 0.1]])
    numbers = retrieval_numbers(scores, torch.tensor([1, 0, 1, 0]))  # ranks 1, 1, 3, 2
    assert numbers == {
        "retrieval/recall@1": 0.5,
        "retrieval/recall@5": 1,
        "retrieval/recall@10": 1,
        "retrieval/median_rank": 1.5,
    }


def test_cuts_at_one_five_and_ten() -> None:
    scores = -torch.arange(20.0).expand(20, 20)
    numbers = retrieval_numbers(scores, torch.arange(20))  # ranks 1 to 20
    assert numbers == {
        "retrieval/recall@1": 0.05,
        "retrieval/recall@5": 0.25,
        "retrieval/recall@10": 0.5,
        "retrieval/median_rank": 10.5,
    }


def test_equal_scores_gain_nothing() -> None:
    numbers = retrieval_numbers(torch.zeros(3, 7), torch.tensor([0, 3, 6]))
    assert numbers["retrieval/median_rank"] == 7
    assert numbers["retrieval/recall@1"] == numbers["retrieval/recall@5"] == 0


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_order_of_pictures_does_not_matter(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    scores, own = torch.rand(6, 12, generator=chance), torch.randint(12, (6,), generator=chance)
    order = torch.randperm(12, generator=chance)
    assert retrieval_numbers(scores[:, order], order.argsort()[own]) == retrieval_numbers(scores, own)


def test_minus_infinity_is_a_score() -> None:
    scores = torch.tensor([[-math.inf, -math.inf, -1.0]])
    assert retrieval_numbers(scores, torch.tensor([2]))["retrieval/recall@1"] == 1
    assert retrieval_numbers(scores, torch.tensor([0]))["retrieval/median_rank"] == 3


@pytest.mark.parametrize(
    ("scores", "own"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)),
        (torch.zeros(2, 3), torch.tensor([1])),
        (torch.zeros(2, 3), torch.tensor([1, 3])),
        (torch.zeros(2, 3), torch.tensor([1, -1])),
        (torch.zeros(2, 0), torch.tensor([0, 0])),
        (torch.full((1, 3), math.nan), torch.tensor([0])),
    ],
)
def test_unusable_scores(scores: torch.Tensor, own: torch.Tensor) -> None:
    with pytest.raises(DataError):
        retrieval_numbers(scores, own)
