from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.errors import DataError
from segue.metrics.meteor import Meteor
from segue.metrics.meteor_text import FUNCTION_WORDS, words

PAIRS = Path(__file__).with_name("meteor_pairs.json")
METEOR = Meteor()

sentences = st.lists(
    st.sampled_from(["a", "the", "dog", "dogs", "red", "running", "runs", "on", ",", "👍"]), max_size=9
).map(" ".join)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Made up in the layout of METEOR's."""
    meanings = {"automobile": 1, "car": "1 2", "jog": 4, "mouse": 3, "rodent": 3, "run": "4 5", "wagon": 2}
    (tmp_path / "synonym").mkdir()
    (tmp_path / "synonym" / "english.synsets").write_text("".join(f"{w}\n{n}\n" for w, n in meanings.items()))
    (tmp_path / "synonym" / "english.exceptions").write_text("mouse\nmice\nrun\nran running\n")
    phrases = (("next to", "beside"), ("beside", "next to"), ("in front of", "ahead of"), ("in front of", "before"))
    with gzip.open(tmp_path / "paraphrase-en.gz", "wt") as file:
        file.writelines(f"0.5\n{phrase}\n{other}\n" for phrase, other in phrases)
    return tmp_path


def test_equals_java_on_stored_pairs() -> None:
    rows = json.loads(PAIRS.read_text())
    assert len(rows) > 200
    for hypothesis, references, java in rows:
        assert METEOR.score(hypothesis, references) == pytest.approx(java, abs=1e-9), (hypothesis, references)


@pytest.mark.parametrize(
    ("hypothesis", "references", "java"),
    [
        ("a red automobile beside two mice", ["a red car next to the rodents"], 0.381517154),
        (
            "the cars jog in front of the mouse",
            ["an automobile ran before mice", "the wagon is running ahead of a mouse"],
            0.342789884,
        ),
        ("next to the mouse is a rodent next to a car", ["a mouse and mice beside a wagon, beside cars"], 0.296454312),
        ("before the red car", ["in front of the red cars"], 0.737213404),
        ("in front of the red cars in front of it", ["before the red car and ahead of it"], 0.380546322),
    ],
)
def test_equals_java_with_synonyms_and_paraphrases(
    tables: Path, hypothesis: str, references: list[str], java: float
) -> None:
    assert Meteor(tables).score(hypothesis, references) == pytest.approx(java, abs=1e-9)


def test_equals_java_with_synonyms_alone(tables: Path) -> None:
    (tables / "paraphrase-en.gz").unlink()
    meteor = Meteor(tables)
    assert meteor.matchers == ("exact", "stem", "synonym")
    assert meteor.score("a red automobile beside two mice", ["a red car next to the rodents"]) == pytest.approx(
        0.28306350342063735, abs=1e-12
    )


def test_says_its_matchers(tables: Path) -> None:
    assert METEOR.matchers == ("exact", "stem")
    assert Meteor(tables).matchers == ("exact", "stem", "synonym", "paraphrase")


def test_function_words_come_from_the_tables(tmp_path: Path) -> None:
    (tmp_path / "english.words").write_text("mug\n")
    meteor = Meteor(tmp_path)
    assert meteor.matchers == ("exact", "stem")
    assert meteor.score("a mug", ["a cup"]) > METEOR.score("a mug", ["a cup"])  # the matching "a" weighs more


def test_one_match_by_hand() -> None:
    # Of "red mug" one content word of two, in one chunk of one word: P = R = 1/2, and the penalty is all of gamma.
    assert METEOR.score("red mug", ["red cup"]) == pytest.approx(0.5 * 0.4)
    # A stem counts 0.6; the function word weighs a third of it: P = R = (0.75 * 0.6 + 0.25) / 1, one chunk of two.
    assert METEOR.score("the mugs", ["the mug"]) == pytest.approx(0.7)
    # All of "the mug", 1 of 2.5 in the reference, in one chunk of two words.
    mean = 1 * 0.4 / (0.85 * 1 + 0.15 * 0.4)
    assert METEOR.score("the mug", ["the mug red cup"]) == pytest.approx(mean * (1 - 0.6 * 0.5**0.2))


def test_torn_matches_cost() -> None:
    whole, torn = METEOR.score("red mug ball", ["red mug cone"]), METEOR.score("mug red ball", ["red mug cone"])
    assert whole == pytest.approx(2 / 3 * (1 - 0.6 * 0.5**0.2))
    assert torn == pytest.approx(2 / 3 * 0.4)


@pytest.mark.parametrize("hypothesis", ["", "   ", "cone", "👍", "שלום"])
def test_nothing_in_common_is_zero(hypothesis: str) -> None:
    assert METEOR.score(hypothesis, ["a red mug", ""]) == 0
    assert METEOR.score(hypothesis, []) == 0


def test_long_captions_are_fast() -> None:
    ours, theirs = "a dog and a cat on a mat " * 38, "the cat and a dog on the mat or a mat " * 4
    assert 0 < METEOR.score(ours, [theirs]) < 1


@given(sentences, sentences)
@settings(max_examples=150, deadline=None)
def test_bounded_and_one_for_itself(a: str, b: str) -> None:
    assert 0 <= METEOR.score(a, [b]) <= 1
    assert METEOR.score(a, [a]) == (pytest.approx(1) if a else 0)


@given(sentences, st.lists(sentences, min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_best_reference_counts(a: str, references: list[str]) -> None:
    assert METEOR.scores([(a, references)]) == [max(METEOR.score(a, [b]) for b in references)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red Mug.", "a red mug ."),
        ("red,green and 1,500 balls", "red , green and 1,500 balls"),
        ("don't, it's 1990's ‘art’", "don 't , it 's 1990 's ' art '"),
        ("a red-and-white U.S. flag", "a red and white us flag"),
        ("well... yes", "well ... yes"),
        ("Dr. No. 5 at no. five", "dr. no. 5 at no. five"),
        ("<b>bold</b>", "< b > bold < / b >"),
        (" ,", ","),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_function_words_are_words() -> None:
    for word in FUNCTION_WORDS:
        assert words(f"x{word}" if word[0] == "'" else f"x {word}") == ["x", word]


def test_unusable_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table of METEOR"):
        Meteor(tmp_path)
    (tmp_path / "english.synsets").write_text("car\nx\n")
    with pytest.raises(DataError, match=r"without english\.exceptions"):
        Meteor(tmp_path)
    (tmp_path / "english.exceptions").write_text("")
    with pytest.raises(DataError, match="not a table of synsets"):
        Meteor(tmp_path)
    (tmp_path / "english.synsets").unlink()
    (tmp_path / "paraphrase-en.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        Meteor(tmp_path)
