"""The words of a sentence, as DenseCap reads them (Johnson et al., CVPR 2016)."""

from __future__ import annotations

import string
import unicodedata
from functools import lru_cache

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
