"""METEOR's own tables, read from a folder of the user: synonyms, paraphrases, function words."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segue.errors import DataError
from segue.metrics.meteor_text import FUNCTION_WORDS

_ENDINGS = (
    *(
        ("s", ""),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    *(("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)
"""WordNet 3's rules of detachment for nouns, verbs and adjectives (morphy(7WN)), in METEOR's order."""


@dataclass(frozen=True)
class Synonyms:
    """Which meanings of WordNet a word may have.

    Attributes:
        meanings: base form -> numbers of its synsets.
        bases: irregular form -> its base forms.
    """

    meanings: dict[str, frozenset[int]]
    bases: dict[str, list[str]]

    def of(self, word: str) -> frozenset[int]:
        """The synsets of a word and of its base forms; none for unknown words."""
        own = self.meanings.get(word, frozenset())
        bases = self.bases[word] if word in self.bases else [self._base(word)]
        return own.union(*(self.meanings.get(base, frozenset()) for base in bases))

    def _base(self, word: str) -> str:
        if word.endswith("ss") or len(word) <= 2:
            return word
        found = (word.removesuffix(end) + instead for end, instead in _ENDINGS if word.endswith(end))
        return next((base for base in found if base in self.meanings), "")


@dataclass(frozen=True)
class Tables:
    """What was found.

    Attributes:
        function_words: those that weigh less.
        synonyms: None without WordNet's tables.
        paraphrases: phrase -> what may stand for it, in the file's order, words with a space between them; None
            without the table.
    """

    function_words: frozenset[str] = FUNCTION_WORDS
    synonyms: Synonyms | None = None
    paraphrases: dict[str, list[str]] | None = None


def read_tables(folder: Path) -> Tables:
    """Read what there is of METEOR's tables.

    Args:
        folder: holds, itself or in folders as of METEOR's jar and archive, ``english.words``, ``english.synsets`` with
            ``english.exceptions``, and ``paraphrase-en.gz``.

    Raises:
        DataError: the folder has none of them, or one cannot be read.
    """
    names = ("english.words", "english.synsets", "english.exceptions", "paraphrase-en.gz")
    paths = {path.name: path for path in sorted(folder.rglob("*")) if path.name in names}
    listed, meanings, irregular, paraphrases = (paths.get(name) for name in names)
    if not paths:
        raise DataError("no table of METEOR", where=folder, cure="unpack meteor-1.5.jar here, or name no folder")
    if meanings and not irregular:
        raise DataError("synonyms without english.exceptions", where=folder, cure="put both there")
    return Tables(
        frozenset(_lines(listed)) if listed else FUNCTION_WORDS,
        read_synonyms(meanings, irregular) if meanings and irregular else None,
        read_paraphrases(paraphrases) if paraphrases else None,
    )


def read_synonyms(meanings: Path, irregular: Path) -> Synonyms:
    """From ``english.synsets`` (a word, then a line of numbers) and ``english.exceptions`` (a base, then its forms)."""
    bases: dict[str, list[str]] = {}
    for base, forms in _records(irregular, 2):
        for form in forms.split():
            bases.setdefault(form, []).append(base)
    try:
        return Synonyms({word: frozenset(map(int, line.split())) for word, line in _records(meanings, 2)}, bases)
    except ValueError as error:
        raise DataError(f"not a table of synsets: {error}", where=meanings, cure="take METEOR's") from None


def read_paraphrases(path: Path) -> dict[str, list[str]]:
    """From ``paraphrase-en.gz``: a number, a phrase and its paraphrase, a line each. METEOR's takes 10 s and 1 GB."""
    table: dict[str, list[str]] = {}
    for _, phrase, other in _records(path, 3):
        table.setdefault(phrase, []).append(other)
    return table


def _records(path: Path, lines: int) -> Iterator[tuple[str, ...]]:
    """The lines of a file in tuples of ``lines``; a last one that is not full is dropped."""
    source = _lines(path)
    return zip(*[source] * lines, strict=False)


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"cannot be read: {error}", where=path, cure="take METEOR's file anew") from None
