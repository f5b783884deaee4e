"""CIDEr-D of whole pictures' captions (Vedantam, Zitnick & Parikh, CVPR 2015, sections 4 and 7)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from segue.errors import DataError
from segue.metrics.meteor_text import words

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # words of difference in length
SCALE = 10.0

Gram = tuple[str, ...]
Weights = dict[Gram, float]


def spoken(text: str) -> list[str]:
    """The words of a caption in lower case, without its signs."""
    return [word for word in words(text) if any(map(str.isalnum, word))]


def check_pairs(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise `DataError` unless every hypothesis has a reference."""
    if len(hypotheses) != len(references) or not all(references):
        raise DataError(f"{len(hypotheses)} captions, {sum(map(bool, references))} with references")


def cider_d(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The CIDEr-D of each caption, in [0, 10]; the score of a system is their mean.

    How rare an n-gram is follows from the references, so that a caption's score depends on the whole set; of a single
    picture it is 0.

    Args:
        hypotheses: a caption of each picture.
        references: sentences about each picture, at least one.

    Raises:
        DataError: their numbers differ, or a picture has no reference.
    """
    check_pairs(hypotheses, references)
    counted = [[_grams(text) for text in own] for own in references]
    pictures = Counter(gram for own in counted for gram in set().union(*own))
    rarity = {gram: math.log(len(references) / count) for gram, count in pictures.items()}
    unseen = math.log(max(len(references), 1))
    scores = []
    for hypothesis, own in zip(hypotheses, counted, strict=True):
        ours = _weighted(_grams(hypothesis), rarity, unseen)
        parts = [_similarity(ours, _weighted(grams, rarity, unseen)) for grams in own]
        scores.append(SCALE * sum(parts) / len(parts))
    return scores


def _grams(text: str) -> Counter[Gram]:
    tokens = spoken(text)
    return Counter(tuple(tokens[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(tokens) - n + 1))


def _weighted(grams: Counter[Gram], rarity: Weights, unseen: float) -> tuple[list[Weights], int]:
    """The tf-idf weights by length of the n-gram, and the length of the sentence, in pairs of words as published."""
    tables: list[Weights] = [{} for _ in range(LONGEST)]
    for gram, count in grams.items():
        tables[len(gram) - 1][gram] = count * rarity.get(gram, unseen)
    return tables, sum(count for gram, count in grams.items() if len(gram) == 2)


def _similarity(ours: tuple[list[Weights], int], theirs: tuple[list[Weights], int]) -> float:
    """The mean clipped cosine over lengths of n-grams, lowered for sentences of another length."""
    apart = math.exp(-((ours[1] - theirs[1]) ** 2) / (2 * SIGMA**2))
    return apart * sum(_cosine(a, b) for a, b in zip(ours[0], theirs[0], strict=True)) / LONGEST


def _cosine(ours: Weights, theirs: Weights) -> float:
    shared = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in ours.items() if gram in theirs)
    norms = _norm(ours.values()) * _norm(theirs.values())
    return shared / norms if norms else 0.0


def _norm(weights: Iterable[float]) -> float:
    return math.sqrt(sum(weight * weight for weight in weights))
