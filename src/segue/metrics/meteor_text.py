"""Words as METEOR 1.5 sees them with ``-l en -norm`` (Denkowski & Lavie 2014; edu.cmu.meteor.util.Normalizer)."""

from __future__ import annotations

import re
import string

_LATIN_CYRILLIC = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ"  # METEOR's letters; whatever else is a word of one sign
_ALNUM = "0-9" + _LATIN_CYRILLIC
_L, _NOT_L = f"([{_LATIN_CYRILLIC}])", f"([^{_LATIN_CYRILLIC}])"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"([^{_ALNUM}\s.'`,\-‘’])", r" \1 "),
        (r"(\.{2,})", r" \1 "),
        # Commas stay within numbers. A rule eats its neighbours, so that ",," is torn apart only once, as in METEOR.
        (r"([^0-9]),([^0-9])", r"\1 , \2"),
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        (r"[`‘’]", "'"),
        (r"[“”]|''", ' " '),
        (r"–", "-"),
        (r"--", "-"),
        (rf"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
        # Contractions go with what follows: don 't, 1990 's.
        (rf"{_NOT_L}'{_NOT_L}", r"\1 ' \2"),
        (rf"([^{_ALNUM}])'{_L}", r"\1 ' \2"),
        (rf"{_L}'{_NOT_L}", r"\1 ' \2"),
        (rf"{_L}'{_L}", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),
    )
)

_PLAIN = re.compile("[A-Za-z0-9 ]*")  # no rule changes such a text
_LETTER = re.compile(f"[{_LATIN_CYRILLIC}]")
_TITLES = "Mr Mrs Ms Dr Prof St Sr Jr Gen Col Sgt Capt Lt Maj Rev Sen Rep Gov Hon vs etc"
_ABBREVIATIONS = frozenset((*string.ascii_uppercase, *_TITLES.split()))

_FREQUENT = (
    "a an the this that these all any some more most other no one two first",  # determiners and numerals
    "i you he she it we they him her them me my his its our their who which what",  # pronouns
    "of to in for on with at by from about into over out up after than like",  # prepositions
    "is are was were be been has have had do can could will would",  # auxiliaries
    "and or but as if so when",  # conjunctions
    "not there then now also only",  # adverbs
    "said people time new",  # what else is as frequent
    "'s 't . , \" ' ( ) : - ?",  # parts of words and signs, as `words` leaves them
)
FUNCTION_WORDS = frozenset(word for line in _FREQUENT for word in line.split())
"""Words that METEOR weighs less.

METEOR calls a word so that makes up more than a thousandth of the running words of its corpus. This is a list of our
own by that rule, from written English: closed classes by grammar, and the few other words of that frequency. METEOR's
own list is read from its data folder, where there is one.
"""


def words(text: str) -> list[str]:
    """The lower-case words and signs of a text; none for blank text."""
    if _PLAIN.fullmatch(text):
        return text.lower().split()
    line = f" {text} "
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    parts = line.split()
    following = [*parts[1:], ""]
    return [piece.lower() for part, after in zip(parts, following, strict=True) for piece in _without_stop(part, after)]


def _without_stop(part: str, after: str) -> list[str]:
    """Take the full stop off a word, but not of an abbreviation, or what a small letter after it says to be one."""
    stem = part[:-1]
    if not part.endswith(".") or not stem.strip("."):  # no stop, or dots alone
        return [part]
    if "." in stem and _LETTER.search(stem):  # U.S. is US
        return [part.replace(".", "")]
    if stem in _ABBREVIATIONS or "a" <= after[:1] <= "z" or (stem == "No" and "0" <= after[:1] <= "9"):
        return [part]
    return [stem, "."]
