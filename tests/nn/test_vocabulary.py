import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segue.data.words import tokenise
from segue.errors import RecipeError
from segue.nn.vocabulary import UNKNOWN, Vocabulary

SMALL = Vocabulary(("a", "red", "mug"))


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A Red mug, on the T-shirt!", "a red mug on the tshirt"),
        ("½ of a café at 30° — ok…", "half of a cafe at 30 degree ok"),  # what DenseCap replaces
        ("the dog's <b>ball</b> #1", "the dogs bballb 1"),
        ("Über naïve İstanbul", "uber naive istanbul"),
        ("a dog 🐶, a ❤️", "a dog 🐶 a ❤"),
        ("«كلب كبير»، أليس كذلك؟", "كلب كبير أليس كذلك"),
        ("\u202bכלב גדול\u202c\u200f.", "כלב גדול"),
        ("नीली कुर्सी।", "नीली कुर्सी"),  # vowel signs are no accents
        ("강아지", "강아지"),
        ("two\nlines\tand\u2028more\x00 \ud800", "two lines and more"),
        ("...", ""),
        ("", ""),
    ],
)
def test_words_of_a_sentence(sentence: str, words: str) -> None:
    assert tokenise(sentence) == words.split()


@given(st.text())
def test_words_are_read_as_they_were_written(sentence: str) -> None:
    words = tokenise(sentence)
    assert tokenise(" ".join(words)) == words
    if words and len(words) <= 15:
        Vocabulary.build([sentence], threshold=1)  # accepts its own words


def test_frequent_words_come_first_and_rare_ones_are_unknown() -> None:
    sentences = ["a mug", "A red mug.", "a chair", "a " * 16 + "sofa sofa sofa"]
    vocabulary = Vocabulary.build(sentences, threshold=2)
    assert vocabulary.words == ("a", "mug")
    assert vocabulary.encode(["a red mug"]).tolist() == [[0, vocabulary.unknown, 1, vocabulary.end]]
    assert Vocabulary.build(sentences, 1, longest=19).words == ("a", "sofa", "mug", "chair", "red")
    assert Vocabulary.build(reversed(sentences), 1) == Vocabulary.build(sentences, 1)


def test_sentences_end_and_are_padded_with_ends() -> None:
    tokens = SMALL.encode(["red", "", "a red mug", "a 🐶 mug"])
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[1, 4, 4, 4], [4, 4, 4, 4], [0, 1, 2, 4], [0, 3, 2, 4]]
    assert (SMALL.unknown, SMALL.end, len(SMALL)) == (3, 4, 5)
    assert SMALL.encode([]).shape == (0, 1)
    assert SMALL.encode(["", ""]).tolist() == [[4], [4]]


def test_a_sentence_of_300_words_is_cut() -> None:
    assert SMALL.encode(["mug " * 300]).tolist() == [[2] * 15 + [4]]
    assert Vocabulary(("mug",), longest=2).encode(["mug " * 300]).shape == (1, 3)


def test_decoding_stops_at_the_first_end() -> None:
    tokens = torch.tensor([[0, 2, 4, 1], [4, 0, 0, 0], [0, 1, 1, 2], [3, 4, 4, 4]])
    assert SMALL.decode(tokens) == ["a mug", "", "a red red mug", UNKNOWN]
    assert SMALL.decode(torch.zeros(0, 3, dtype=torch.int64)) == []


@given(st.lists(st.lists(st.sampled_from(SMALL.words), max_size=15).map(" ".join)))
def test_known_words_come_back(sentences: list[str]) -> None:
    assert SMALL.decode(SMALL.encode(sentences)) == sentences


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the vocabulary has no word"),
        (("a", "Mug"), "'Mug' is not a word"),
        (("a", "red mug"), "'red mug' is not a word"),
        (("a", UNKNOWN), "'<unk>' is not a word"),
        (("a", ""), "'' is not a word"),
        (("a", "mug", "a"), "'a' occurs more than once"),
    ],
)
def test_other_words_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"^captions\.words: {message}; ") as error:
        Vocabulary(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sentences", "cure"), [([], "name a data set with captions"), (["a mug", "...", ""], "lower threshold")]
)
def test_captions_without_a_frequent_word_are_refused(sentences: list[str], cure: str) -> None:
    with pytest.raises(RecipeError, match=rf"^captions\.threshold: .*{cure}"):
        Vocabulary.build(sentences, threshold=2)
