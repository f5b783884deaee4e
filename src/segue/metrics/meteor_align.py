"""Which words of two sentences METEOR 1.5 puts together (Denkowski & Lavie 2014; edu.cmu.meteor.aligner.Aligner).

METEOR searches with a beam and breaks ties in ways that no paper tells. They change scores, so they are kept, each with
a word about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
BEAM = 40
LONGEST_PHRASE = 7  # words of METEOR's table of paraphrases


class Match(NamedTuple):
    """Words of a reference that stand for words of a hypothesis.

    Attributes:
        stage: which matcher found it.
        start: first word in the reference.
        length: words in the reference.
        other: first word in the hypothesis.
        other_length: words in the hypothesis.
    """

    stage: int
    start: int
    length: int
    other: int
    other_length: int


@dataclass(frozen=True)
class Sentence:
    """What the matchers compare.

    Attributes:
        words: as of `meteor_text.words`.
        stems: one each.
        synsets: one set each, or empty where synonyms are not asked for.
        phrases: start, length and paraphrases of the parts that have some.
        weights: of the words in precision and recall.
        total: sum of the weights.
        places: stem -> where it is.
    """

    words: tuple[str, ...]
    stems: tuple[str, ...]
    synsets: tuple[frozenset[int], ...]
    phrases: tuple[tuple[int, int, tuple[tuple[str, ...], ...]], ...]
    weights: tuple[float, ...]
    total: float = field(init=False)
    places: dict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        places: dict[str, list[int]] = {}
        for place, stem in enumerate(self.stems):
            places.setdefault(stem, []).append(place)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "total", sum(self.weights))


_Rank = tuple[int, int, int]
"""Orders ways, the best first: words matched exactly, negated; chunks closed; distance."""

_Chain = tuple[Any, Match] | None
"""What was chosen so far: all but the last match, and that one."""

_Path = tuple[_Rank, int, int, int, int, _Chain]
"""A way through the reference up to some word, a plain tuple for speed.

Its rank; the end, in the hypothesis, of a chunk that is still open, or -1; the next word of the reference that no match
of the way covers; the words that are used in the hypothesis and the reference, as bits; the chain of matches.
"""


def align(hypothesis: Sentence, reference: Sentence) -> list[Match]:
    """The matches of the best alignment, by their place in the reference; none overlap."""
    candidates = _candidates(hypothesis, reference)
    if hypothesis.words == reference.words:  # METEOR's way around errors of its search
        return _resolve([[m for m in own if m.stage == EXACT] for own in candidates])
    return _resolve(candidates)


def count_chunks(matches: Sequence[Match]) -> int:
    """In how many pieces the matches, ordered as of `align`, follow each other in both sentences."""
    chunks, place, end = 0, -1, -1
    for _, start, length, other, other_length in matches:
        chunks += start != place or other != end
        place, end = start + length, other + other_length
    return chunks


def _candidates(hypothesis: Sentence, reference: Sentence) -> list[list[Match]]:
    """All matches, by their first word in the reference, and there by stage."""
    found = [_same_stem(hypothesis, reference, place) for place in range(len(reference.words))]
    if reference.synsets:
        for place, own in enumerate(found):
            own += _synonyms(hypothesis, reference, place)
    if hypothesis.phrases or reference.phrases:
        for match in _paraphrases(hypothesis, reference):
            found[match.start].append(match)
    return found


def _same_stem(hypothesis: Sentence, reference: Sentence, place: int) -> list[Match]:
    others = hypothesis.places.get(reference.stems[place])
    if others is None:
        return []
    word, words = reference.words[place], hypothesis.words
    exact = [Match(EXACT, place, 1, other, 1) for other in others if words[other] == word]
    if len(exact) == len(others):
        return exact
    return exact + [Match(STEM, place, 1, other, 1) for other in others if words[other] != word]


def _synonyms(hypothesis: Sentence, reference: Sentence, place: int) -> list[Match]:
    """Also of words that have the same stem: METEOR then has the match twice, and neither is settled."""
    word, meanings = reference.words[place], reference.synsets[place]
    if not meanings:
        return []
    return [
        Match(SYNONYM, place, 1, other, 1)
        for other, synsets in enumerate(hypothesis.synsets)
        if hypothesis.words[other] != word and not meanings.isdisjoint(synsets)
    ]


def _paraphrases(hypothesis: Sentence, reference: Sentence) -> Iterator[Match]:
    for start, length, others in reference.phrases:
        for phrase in others:
            for other in _occurrences(phrase, hypothesis.words):
                yield Match(PARAPHRASE, start, length, other, len(phrase))
    for other, length, others in hypothesis.phrases:
        for phrase in others:
            for start in _occurrences(phrase, reference.words):
                yield Match(PARAPHRASE, start, len(phrase), other, length)


def _occurrences(phrase: tuple[str, ...], words: tuple[str, ...]) -> list[int]:
    length = len(phrase)
    return [i for i, word in enumerate(words) if word == phrase[0] and words[i : i + length] == phrase]


def _resolve(candidates: list[list[Match]]) -> list[Match]:
    """Choose among candidates: those that nothing contradicts at once, the others by a search."""
    settled = _settled(candidates)
    if len(settled) == sum(map(len, candidates)):
        return settled
    fixed: list[Match | None] = [None] * len(candidates)
    used = covered = 0
    for sure in settled:
        fixed[sure.start] = sure
        used |= _bits(sure.other, sure.other_length)
        covered |= _bits(sure.start, sure.length)
    paths: list[_Path] = [((0, 0, 0), -1, 0, used, covered, None)]
    for current, own in enumerate(candidates):
        following: list[_Path] = []
        for path in sorted(paths, key=_rank)[:BEAM]:
            if path[2] > current:
                following.append(path)
            elif (match := fixed[current]) is not None:
                following.append(_take(path, match, path[0][2] + _apart(match)))
            else:
                following += _branches(path, own)
        paths = following
    return _unrolled(min(sorted(paths, key=_rank)[:BEAM], key=_closed_rank)[-1])


def _settled(candidates: list[list[Match]]) -> list[Match]:
    """The candidates that share no word with another."""
    here, there = [0] * len(candidates), dict[int, int]()
    for own in candidates:
        for _, start, length, other, other_length in own:
            for place in range(start, start + length):
                here[place] += 1
            for place in range(other, other + other_length):
                there[place] = there.get(place, 0) + 1
    return [
        match
        for own in candidates
        if len(own) == 1
        for match in own
        if all(here[place] == 1 for place in range(match.start, match.start + match.length))
        and all(there[place] == 1 for place in range(match.other, match.other + match.other_length))
    ]


def _branches(path: _Path, candidates: list[Match]) -> list[_Path]:
    """The ways on from a word that is not settled: with each candidate, and without any.

    METEOR adds a match's distance to the way that goes on without it, and to those with later candidates.
    """
    (words, chunks, distance), end, place, used, covered, chosen = path
    ways: list[_Path] = []
    for match in candidates:
        if used & _bits(match.other, match.other_length) or covered & _bits(match.start, match.length):
            continue
        ways.append(_take(path, match, distance))
        distance += _apart(match)
    ways.append(((words, chunks + (end != -1), distance), -1, place + 1, used, covered, chosen))
    return ways


def _take(path: _Path, match: Match, distance: int) -> _Path:
    """Go on with a match; the way is then ``distance`` long."""
    (words, chunks, _), end, _, used, covered, chosen = path
    stage, start, length, other, other_length = match
    # METEOR gives other words than exact ones a half, but counts in integers, each side for itself.
    gain = 2 if stage == EXACT else length // 2 + other_length // 2
    return (
        (words - gain, chunks + (end not in (-1, other)), distance),
        other + other_length,
        start + length,
        used | _bits(other, other_length),
        covered | _bits(start, length),
        (chosen, match),
    )


_rank = itemgetter(0)


def _closed_rank(path: _Path) -> _Rank:
    (words, chunks, distance), end, *_ = path
    return words, chunks + (end != -1), distance


def _unrolled(chain: _Chain) -> list[Match]:
    matches = []
    while chain is not None:
        chain, match = chain
        matches.append(match)
    return matches[::-1]


def _apart(match: Match) -> int:
    return abs(match.start - match.other)


def _bits(start: int, length: int) -> int:
    return ((1 << length) - 1) << start
