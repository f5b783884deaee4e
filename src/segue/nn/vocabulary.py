"""Sentences as rows of numbers and back, with DenseCap's reading of words (Johnson et al., CVPR 2016)."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from segue.errors import RecipeError

UNKNOWN = "<unk>"
"""Stands for every word that the vocabulary lacks. No word reads like it, since words have no punctuation."""

REPLACEMENTS = str.maketrans({"½": "half", "™": "", "¢": "cent", "°": " degree", "…": ""})


def tokenise(sentence: str) -> list[str]:
    """The words of a sentence: lower-case, without accents, punctuation and invisible characters.

    As DenseCap's ``preprocess.py``, which knows ASCII and ten more characters, carried over to all of Unicode: accents
    of all letters go, not those of four; punctuation and control characters of every script go; an emoji is a word, or
    a part of one. What is taken out leaves no gap: "t-shirt" is one word.
    """
    text = unicodedata.normalize("NFD", sentence.translate(REPLACEMENTS).lower())
    return unicodedata.normalize("NFC", "".join(map(_readable, text))).split()


@lru_cache(maxsize=4096)
def _readable(character: str) -> str:
    """The character, or nothing where it is none that words are told apart by."""
    if character.isspace():
        return " "
    accent = "\u0300" <= character <= "\u036f"  # of Latin, Greek and Cyrillic; other scripts' marks are vowels
    mute = character in string.punctuation or unicodedata.category(character)[0] in "PC"
    return "" if accent or mute or character == "\ufe0f" else character  # the last asks for an emoji in colour


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
        where = "network.tasks.captions.words"
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
            raise RecipeError(what, where="network.tasks.captions.threshold", cure=cure)
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
