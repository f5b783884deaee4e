"""Sentences about the things of a picture, true because they are read off the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

import numpy as np

from segue.data.toybox.arrays import Floats32
from segue.data.toybox.chance import Dice
from segue.data.toybox.render import Sample, Thing
from segue.data.toybox.solids import LARGE, SMALL

Relation = Literal["left of", "right of", "in front of", "behind", "next to"]
CLEARLY = 0.12  # m of depth, from which one thing is in front of the other
CLOSE = 0.15  # m between things next to each other


@dataclass(frozen=True)
class Fact:
    """What sentences about a thing are made of.

    Attributes:
        noun: its category.
        color: of the thing, or of a person's shirt.
        details: further words in the order in which they are said.
        trousers: colour of a person's, or empty.
        ground: the stuff that it stands on.
        box: (4,) x0, y0, x1, y1 in pixels.
        place: m to the right and ahead, on the ground.
        radius: m of ground that it takes.
    """

    noun: str
    color: str
    details: tuple[str, ...]
    trousers: str
    ground: str
    box: Floats32
    place: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Caption:
    """A sentence about a thing, and to which other it relates it how, if it does."""

    text: str
    relation: Relation | None = None
    other: int | None = None


def caption(sample: Sample) -> list[list[Caption]]:
    """Two to three sentences for each thing of a picture, of at most 15 words.

    The first says what it looks like and what it stands on, the others where it is: to the side of, in front of,
    behind or next to another thing, or else in which part of the picture. Left and right are those of the picture.
    """
    facts = [read_fact(thing) for thing in sample.things]
    return compose(facts, sample.camera.size[1], Dice(sample.world.seed, 2))


def read_fact(thing: Thing) -> Fact:
    """What is said of a thing."""
    solid = thing.placed.solid
    size = "small" if solid.scale < SMALL else "large" if solid.scale > LARGE else ""
    pattern = "" if solid.paint.pattern == "plain" else solid.paint.pattern
    shine = "shiny" if solid.paint.shine > 0 and solid.category != "person" else ""
    details = (size, solid.style or shine, pattern)
    place, radius = (thing.placed.x, thing.placed.y), solid.radius
    return Fact(solid.category, solid.paint.color, details, solid.second, thing.ground, thing.box, place, radius)


def compose(facts: Sequence[Fact], width: int, dice: Dice) -> list[list[Caption]]:
    """Sentences for each fact; which ones, the dice decide.

    Args:
        facts: of one picture.
        width: of the picture in pixels.
        dice: the same draws make the same choices for a mirrored picture.
    """
    everything = []
    for i, fact in enumerate(facts):
        related = [(r, j) for j in range(len(facts)) if j != i for r in relations(fact, facts[j])]
        said = [Caption(f"{_in_full(fact)} on the {fact.ground}")]
        for relation, j in dice.shuffled(related)[:2]:
            ground, size, color = (dice.chance(share) for share in (0.5, 0.5, 0.6))
            said.append(Caption(_related(fact, facts[j], relation, ground, size, color), relation, j))
        if len(said) < 2:
            said.append(Caption(_placed(fact, width)))
        everything.append(said)
    return everything


def truths(facts: Sequence[Fact], width: int) -> set[str]:
    """Every sentence that `compose` could say of a picture."""
    told = {f"{_in_full(fact)} on the {fact.ground}" for fact in facts} | {_placed(fact, width) for fact in facts}
    ways = list(product((False, True), repeat=3))
    for one, other in permutations(facts, 2):
        told |= {_related(one, other, relation, *way) for relation in relations(one, other) for way in ways}
    return told


def relations(one: Fact, other: Fact) -> list[Relation]:
    """How the first thing stands to the second."""
    found: list[Relation] = []
    width = min(one.box[2] - one.box[0], other.box[2] - other.box[0])
    height = min(one.box[3] - one.box[1], other.box[3] - other.box[1])
    shared_x = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    shared_y = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    if shared_x < 0.2 * width and shared_y > 0.3 * height:  # side by side, neither above nor below
        found.append("left of" if one.box[0] + one.box[2] < other.box[0] + other.box[2] else "right of")
    ahead = other.place[1] - one.place[1]
    if shared_x > 0.4 * width and abs(ahead) > CLEARLY:
        found.append("in front of" if ahead > 0 else "behind")
    if np.hypot(other.place[0] - one.place[0], ahead) < one.radius + other.radius + CLOSE:
        found.append("next to")
    return found


def _related(fact: Fact, other: Fact, relation: Relation, ground: bool, size: bool, color: bool) -> str:
    """A sentence with a relation, which may also say the ground, the size, and the colour of the other thing."""
    place = f" on the {fact.ground}" if ground else ""
    thing = _in_short(other, False) if color else _with_article(other.noun)
    return f"{_in_short(fact, size)}{place} {relation} {thing}"


def _placed(fact: Fact, width: int) -> str:
    return f"{_in_short(fact, True)} {_part(fact, width)} of the picture"


def _part(fact: Fact, width: int) -> str:
    middle = float(fact.box[0] + fact.box[2]) / 2 / width
    return "in the middle" if 1 / 3 <= middle <= 2 / 3 else "on the left" if middle < 0.5 else "on the right"


def _in_full(fact: Fact) -> str:
    """With all that is known of the look."""
    if fact.noun != "person":
        return _phrase(*fact.details, fact.color, fact.noun)
    size, pose, pattern = fact.details
    return f"{_phrase(size, pose, fact.noun)} in {_phrase(pattern, fact.color, 'shirt')} and {fact.trousers} trousers"


def _in_short(fact: Fact, size: bool) -> str:
    """With the colour, and with the size if asked."""
    first = fact.details[0] if size else ""
    if fact.noun == "person":
        return f"{_phrase(first, fact.noun)} in {fact.color}"
    return _phrase(first, fact.color, fact.noun)


def _phrase(*words: str) -> str:
    return _with_article(" ".join(word for word in words if word))


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
