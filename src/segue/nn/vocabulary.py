"""Sentences as rows of numbers and back, with DenseCap's reading of words (Johnson et al., CVPR 2016)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from segue.data.words import tokenise
from segue.errors import RecipeError

UNKNOWN = "<unk>"
"""Stands for every word that the vocabulary lacks. No word reads like it, since words have no punctuation."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows. Their indices are numbers of rows: first the words, then unknown, then the end.

    The end of a sentence also stands for its start, as in DenseCap.

    Attributes:
        words: all different, each as `tokenise` leaves it.
        longest: words of a sentence that are read and said at most.
    """

    words: tuple[str, ...]
    longest: int = 15

    def __post_init__(self) -> None:
        where = "captions.words"  # below network.tasks, or densecap
        if not self.words:
            cure = "train on a data set with captions, which fills it"
            raise RecipeError("the vocabulary has no word", where=where, cure=cure)
        wrong = next((word for word in self.words if tokenise(word) != [word]), None)
        if wrong is not None:
            raise RecipeError(f"{wrong!r} is not a word", where=where, cure="write words lower-case, without signs")
        if len(self._index) < len(self.words):
            twice = Counter(self.words).most_common(1)[0][0]
            raise RecipeError(f"{twice!r} occurs more than once", where=where, cure="leave it out")

    @classmethod
    def build(cls, sentences: Iterable[str], threshold: int = 15, longest: int = 15) -> Vocabulary:
        """The words that occur ``threshold`` times or more, the most frequent first; 15 as DenseCap.

        Sentences of more than ``longest`` words do not count. Raises `RecipeError` where no word is left.
        """
        counts = Counter(word for words in map(tokenise, sentences) if len(words) <= longest for word in words)
        kept = [word for word, count in counts.items() if count >= threshold]
        if not kept:
            what = f"of {len(counts)} words in the training captions none occurs {threshold} times"
            cure = "lower threshold" if counts else "name a data set with captions"
            raise RecipeError(what, where="captions.threshold", cure=cure)
        return cls(tuple(sorted(kept, key=lambda word: (-counts[word], word))), longest)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @property
    def unknown(self) -> int:
        """Index of `UNKNOWN`."""
        return len(self.words)

    @property
    def end(self) -> int:
        """Index of the end, and of the start."""
        return len(self.words) + 1

    def __len__(self) -> int:
        """Different indices."""
        return len(self.words) + 2

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """N sentences -> (N, T) int64 indices, T - 1 words of the longest; the end follows at least once on each.

        Words after the first ``longest`` are cut off.
        """
        rows = [[self._index.get(w, self.unknown) for w in tokenise(s)[: self.longest]] for s in sentences]
        width = max(map(len, rows), default=0) + 1
        padded = [row + [self.end] * (width - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64).view(len(rows), width)

    def decode(self, tokens: Tensor) -> list[str]:
        """(N, T) int64 indices -> N sentences, each up to its first end."""
        names = [*self.words, UNKNOWN]
        rows = (row[: row.index(self.end)] if self.end in row else row for row in tokens.tolist())
        return [" ".join(names[i] for i in row) for row in rows]
