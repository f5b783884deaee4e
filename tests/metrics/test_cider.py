from __future__ import annotations

import sys

import pytest

from segue.errors import DataError, UsageError
from segue.metrics.caption_packages import bleu4
from segue.metrics.cider import cider_d

HYPOTHESES = [
    "a red mug on the grass",
    "A dog, dog, dog runs behind the tree!",
    "blue car",
    "a man standing next to a large blue table and a chair on the sand",
]
REFERENCES = [
    ["a red mug on the grass", "the small red mug lies on grass"],
    ["A dog runs behind a tree.", "the dog behind the tree", "a running dog"],
    ["a blue car left of a tree"],
    ["a man next to a blue table", "a person stands on the sand near a table"],
]


def test_cider_equals_coco_caption() -> None:
    # From CiderScorer of github.com/tylin/coco-caption, on the words without signs.
    expected = [6.21647721, 1.83705022, 1.88855078, 1.07392488]
    assert cider_d(HYPOTHESES, REFERENCES) == pytest.approx(expected, abs=1e-7)


def test_cider_of_the_references_themselves_is_ten() -> None:
    texts = ["a red mug on the grass", "two dogs run behind a tree", "one blue car by night"]
    assert cider_d(texts, [[text] for text in texts]) == pytest.approx([10, 10, 10])


def test_cider_without_anything_in_common() -> None:
    assert cider_d(["a mug", "", "👍"], [["blue car"], ["red car"], ["green car"]]) == [0, 0, 0]
    assert cider_d(["a mug"], [["a mug"]]) == [0]  # of one picture, every word is in every picture
    assert cider_d([], []) == []


def test_bleu_equals_coco_caption() -> None:
    assert bleu4(HYPOTHESES, REFERENCES) == pytest.approx(0.39934388, abs=1e-6)


def test_every_caption_needs_a_reference() -> None:
    for score in (bleu4, cider_d):
        with pytest.raises(DataError, match="2 captions, 1 with references"):
            score(["a mug", "a car"], [["a mug"], []])
        with pytest.raises(DataError):
            score(["a mug", "a car"], [["a mug"]])


def test_bleu_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.text", None)
    with pytest.raises(UsageError, match=r"pip install segue\[captions\]"):
        bleu4(["a mug"], [["a mug"]])
