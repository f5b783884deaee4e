"""The classes of a data set or model: names, colours, and which are things."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from segue.errors import DataError

Color = tuple[int, int, int]


def distinct_color(index: int) -> Color:
    """A strong RGB colour for the ``index``-th class or object; neighbours in the sequence differ clearly."""
    hue = (0.58 + index * 0.618033988749895) % 1.0  # golden-ratio steps never come close to each other soon
    value = (1.0, 0.85, 0.7)[index % 3]
    r, g, b = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(r * 255), round(g * 255), round(b * 255)


@dataclass(frozen=True)
class Category:
    """One class.

    Attributes:
        name: as shown to people.
        id: the data set's own number for it (COCO's ids have gaps).
        isthing: countable objects are things, amorphous regions (sky, grass) are stuff.
        color: RGB, 0 to 255.
        keypoints: names of its keypoints, in order.
        skeleton: pairs of keypoint indices (from 0) to join by a line.
        flip_pairs: pairs of keypoint indices (from 0) that a mirror exchanges.
        sigmas: of each keypoint, how far annotators scatter, as object keypoint similarity takes it; empty where the
            data set does not say.
    """

    name: str
    id: int
    isthing: bool = True
    color: Color = (66, 135, 245)
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise DataError("a category has an empty name", where=f"category id {self.id}", cure="give it a name")
        for pair in (*self.skeleton, *self.flip_pairs):
            if len(pair) != 2 or not all(0 <= k < len(self.keypoints) for k in pair):
                raise DataError(
                    f"keypoint pair {tuple(pair)} names a keypoint that does not exist",
                    where=f"category {self.name!r}",
                    cure=f"indices run from 0 to {len(self.keypoints) - 1}",
                )
        if self.sigmas and (len(self.sigmas) != len(self.keypoints) or not all(0 < s < 10 for s in self.sigmas)):
            raise DataError(
                f"sigmas {self.sigmas} are not one number above 0 for each of {len(self.keypoints)} keypoints",
                where=f"category {self.name!r}",
                cure="give one each, or none",
            )


@dataclass(frozen=True)
class Categories:
    """The ordered classes of a data set or model. ``Regions.labels`` are indices into it."""

    items: tuple[Category, ...]

    def __post_init__(self) -> None:
        for what, values in (("name", self.names), ("id", [str(c.id) for c in self.items])):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise DataError(f"category {what} {twice[0]} occurs more than once", cure="make them unique")

    @classmethod
    def from_names(cls, names: Sequence[str]) -> Categories:
        """Things called ``names``, with ids from 1 and distinct colours."""
        return cls(tuple(Category(name, id=i + 1, color=distinct_color(i)) for i, name in enumerate(names)))

    @property
    def names(self) -> list[str]:
        """The names in order."""
        return [category.name for category in self.items]

    def index(self, name: str) -> int:
        """The index of the class called ``name``; raises `DataError` where there is none."""
        if name not in self.names:
            raise DataError(f"unknown category {name!r}", cure=f"known are {', '.join(self.names)}")
        return self.names.index(name)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Category:
        return self.items[index]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and dicts, for model files."""
        return [asdict(category) for category in self.items]

    @classmethod
    def from_json(cls, rows: Sequence[dict[str, Any]]) -> Categories:
        """The inverse of `to_json`."""
        pairs = ("skeleton", "flip_pairs")
        return cls(
            tuple(
                Category(
                    name=row["name"],
                    id=row["id"],
                    isthing=row.get("isthing", True),
                    color=(row["color"][0], row["color"][1], row["color"][2]),
                    keypoints=tuple(row.get("keypoints", ())),
                    sigmas=tuple(row.get("sigmas", ())),
                    **{key: tuple((a, b) for a, b in row.get(key, ())) for key in pairs},
                )
                for row in rows
            )
        )
