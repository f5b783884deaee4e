import re
from dataclasses import replace

import numpy as np
import pytest

from segue.data.toybox import render
from segue.data.toybox.captions import Fact, caption, compose, read_fact, relations, truths
from segue.data.toybox.chance import Dice

SIZE = (96, 96)


@pytest.fixture(scope="module")
def samples():
    return [render(seed, SIZE) for seed in range(100, 124)]


def mirrored(fact, width):
    x0, y0, x1, y1 = fact.box
    box = np.array([width - x1, y0, width - x0, y1], np.float32)
    return replace(fact, box=box, place=(-fact.place[0], fact.place[1]))


def swapped(text):
    return re.sub(r"\b(left|right)\b", lambda m: "right" if m[0] == "left" else "left", text)


def fact(box, place, noun="mug", **changes):
    values = {"color": "red", "details": ("", "", ""), "trousers": "", "ground": "grass", "radius": 0.1} | changes
    return Fact(noun=noun, box=np.array(box, np.float32), place=place, **values)


def test_two_or_more_short_sentences_for_each_thing(samples):
    texts = []
    for sample in samples:
        captions = caption(sample)
        assert len(captions) == len(sample.things)
        for said in captions:
            assert 2 <= len(said) <= 3
            assert len({c.text for c in said}) == len(said)
            texts += [c.text for c in said]
    assert max(len(text.split()) for text in texts) <= 15
    for text in texts:
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", text)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)
    assert len(set(texts)) > 0.9 * len(texts)


def test_the_same_picture_is_described_alike(samples):
    assert caption(samples[0]) == caption(samples[0])


def test_looks_are_those_of_the_scene(samples):
    for sample in samples:
        for thing, said in zip(sample.things, caption(sample), strict=True):
            solid, words = thing.placed.solid, said[0].text.split()
            assert solid.category in words
            assert solid.paint.color in words
            assert words[-2:] == ["the", thing.ground]
            assert ("small" in words) == (solid.scale < 0.88)
            assert ("large" in words) == (solid.scale > 1.14)
            assert ("striped" in words) == (solid.paint.pattern == "striped")
            if solid.category == "person":
                assert solid.style in words
                assert f"{solid.second} trousers" in said[0].text


def test_relations_hold_in_the_picture(samples):
    kinds = set()
    for sample in samples:
        for thing, said in zip(sample.things, caption(sample), strict=True):
            for sentence in said:
                if sentence.relation is None:
                    continue
                kinds.add(sentence.relation)
                other = sample.things[sentence.other]
                after = sentence.text.split(sentence.relation)[1]
                assert other.placed.solid.category in after
                middle, theirs = thing.box[[0, 2]].mean(), other.box[[0, 2]].mean()
                if sentence.relation == "left of":
                    assert middle < theirs
                elif sentence.relation == "right of":
                    assert middle > theirs
                elif sentence.relation == "in front of":
                    assert thing.depth < other.depth
                elif sentence.relation == "behind":
                    assert thing.depth > other.depth
    assert kinds == {"left of", "right of", "in front of", "behind", "next to"}


def test_a_mirror_swaps_left_and_right_and_nothing_else(samples):
    words = 0
    for sample in samples:
        facts = [read_fact(thing) for thing in sample.things]
        straight = compose(facts, SIZE[1], Dice(sample.world.seed))
        turned = compose([mirrored(f, SIZE[1]) for f in facts], SIZE[1], Dice(sample.world.seed))
        for said, again in zip(straight, turned, strict=True):
            assert [swapped(c.text) for c in said] == [c.text for c in again]
            words += sum(" left" in c.text or " right" in c.text for c in said)
    assert words > 20


def test_relations_of_known_places():
    left, right = fact((10, 40, 20, 60), (-0.5, 2.0)), fact((60, 42, 75, 61), (0.5, 2.05))
    assert relations(left, right) == ["left of"]
    assert relations(right, left) == ["right of"]
    front, back = fact((30, 50, 50, 80), (0.0, 1.5)), fact((28, 30, 48, 55), (0.0, 2.5))
    assert relations(front, back) == ["in front of"]
    assert relations(back, front) == ["behind"]
    above = fact((60, 0, 75, 20), (0.6, 4.0))
    assert relations(left, above) == []
    beside = fact((19, 41, 30, 60), (-0.28, 2.0))
    assert relations(left, beside) == ["left of", "next to"]


def test_a_lonely_thing_is_placed_in_the_picture():
    places = {"on the left": (0, 0, 20, 20), "in the middle": (40, 0, 60, 20), "on the right": (80, 0, 99, 9)}
    for words, box in places.items():
        said = compose([fact(box, (0.0, 2.0), "ring", color="orange", details=("small", "shiny", ""))], 100, Dice(0))
        assert [c.text for c in said[0]] == [
            "a small shiny orange ring on the grass",
            f"a small orange ring {words} of the picture",
        ]
    plain = compose([fact((0, 0, 9, 9), (0.0, 2.0), "ring", color="orange")], 100, Dice(0))
    assert plain[0][0].text == "an orange ring on the grass"


def test_nothing_to_say_about_nothing():
    assert compose([], 100, Dice(0)) == []


def test_all_truths_are_what_any_dice_could_say(samples):
    for sample in samples:
        facts = [read_fact(thing) for thing in sample.things]
        all_true = truths(facts, SIZE[1])
        assert {c.text for about in caption(sample) for c in about} <= all_true
    said = {c.text for seed in range(400) for about in compose(facts, SIZE[1], Dice(seed)) for c in about}
    assert said <= all_true
    related = {text for text in all_true if not text.endswith("of the picture")}
    assert related <= said  # with dice enough, everything comes up


def test_truths_of_two_things_side_by_side():
    mug = fact([0, 40, 10, 60], (-0.5, 1.0), details=("small", "", ""))
    lamp = fact([80, 40, 96, 60], (0.5, 1.0), noun="lamp", color="blue", ground="sand")
    assert truths([mug], 96) == {"a small red mug on the grass", "a small red mug on the left of the picture"}
    both = truths([mug, lamp], 96)
    assert {"a red mug left of a lamp", "a small red mug on the grass left of a blue lamp"} <= both
    assert "a blue lamp on the sand right of a red mug" in both
    assert not [text for text in both if "mug right" in text or "behind" in text or "next" in text]
    assert len(both) == 4 + 8 + 4  # the lamp has no size to say
