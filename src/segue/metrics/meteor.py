"""METEOR 1.5 for English, as image captions are scored: ``-l en -norm`` with the parameters of the ranking task.

Denkowski & Lavie, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language", WMT 2014, and
the authors' program (github.com/cmu-mtlab/meteor), with which ``tools/meteor_agreement.py`` compares this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from snowballstemmer.english_stemmer import EnglishStemmer

from segue.metrics.meteor_align import LONGEST_PHRASE, Match, Sentence, align, count_chunks
from segue.metrics.meteor_tables import Tables, read_tables
from segue.metrics.meteor_text import words

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # of exact words, stems, synonyms, paraphrases
SENTENCES, PAIRS = 2**16, 2**18  # remembered


class Meteor:
    """Scores in [0, 1]; 1 for equal sentences.

    Without tables, words match exactly and by their stems, and the function words are a list of our own: such numbers
    are lower than published ones, which also count synonyms and paraphrases. ``matchers`` says which are active.

    Args:
        tables: folder with METEOR's tables, such as its unpacked jar with ``paraphrase-en.gz``; each is used if there.

    Raises:
        DataError: the folder holds no table, or one that cannot be read.
    """

    def __init__(self, tables: Path | None = None) -> None:
        self._tables = Tables() if tables is None else read_tables(tables)
        self._stemmer = EnglishStemmer()
        self._stem = lru_cache(SENTENCES)(self._stemmer.stemWord)
        self._sentence = lru_cache(SENTENCES)(self._read)
        self._pair = lru_cache(PAIRS)(self._compare)

    @property
    def matchers(self) -> tuple[str, ...]:
        """Of "exact", "stem", "synonym" and "paraphrase", those that are used."""
        optional = {"synonym": self._tables.synonyms, "paraphrase": self._tables.paraphrases}
        return ("exact", "stem", *(name for name, table in optional.items() if table is not None))

    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """Of the best reference; 0 without any, and for sentences without words."""
        return max((self._pair(hypothesis, reference) for reference in references), default=0.0)

    def scores(self, pairs: Iterable[tuple[str, Sequence[str]]]) -> list[float]:
        """Of each hypothesis and its references. What was read and compared lately is remembered."""
        return [self.score(hypothesis, references) for hypothesis, references in pairs]

    def _compare(self, hypothesis: str, reference: str) -> float:
        ours, theirs = self._sentence(hypothesis), self._sentence(reference)
        return _formula(ours, theirs, align(ours, theirs))

    def _read(self, text: str) -> Sentence:
        tokens, tables = tuple(words(text)), self._tables
        return Sentence(
            tokens,
            tuple(self._stem(word) for word in tokens),
            tuple(tables.synonyms.of(word) for word in tokens) if tables.synonyms else (),
            tuple(_phrases(tokens, tables.paraphrases)) if tables.paraphrases else (),
            tuple(1 - DELTA if word in tables.function_words else DELTA for word in tokens),
        )


def _phrases(
    tokens: tuple[str, ...], table: dict[str, list[str]]
) -> list[tuple[int, int, tuple[tuple[str, ...], ...]]]:
    spans = (
        (start, length)
        for start in range(len(tokens))
        for length in range(1, min(LONGEST_PHRASE, len(tokens) - start) + 1)
    )
    found = ((start, length, table.get(" ".join(tokens[start : start + length]), ())) for start, length in spans)
    return [
        (start, length, tuple(tuple(other.split()) for other in others)) for start, length, others in found if others
    ]


def _formula(hypothesis: Sentence, reference: Sentence, matches: list[Match]) -> float:
    """Weighted precision and recall, lowered by how torn the matches are (equations 2 to 6)."""
    if not matches:
        return 0.0
    found = recalled = 0.0  # weights of matched words in the hypothesis and the reference
    ours = theirs = 0  # their numbers
    for stage, start, length, other, other_length in matches:
        found += WEIGHTS[stage] * sum(hypothesis.weights[other : other + other_length])
        recalled += WEIGHTS[stage] * sum(reference.weights[start : start + length])
        ours, theirs = ours + other_length, theirs + length
    precision, recall = found / hypothesis.total, recalled / reference.total
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    chunks = count_chunks(matches)
    if chunks == 1 and ours == len(hypothesis.words) and theirs == len(reference.words):
        return mean
    penalty: float = GAMMA * (2 * chunks / (ours + theirs)) ** BETA
    return mean * (1 - penalty)
