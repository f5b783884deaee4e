"""Several data sets as one: their classes, what each knows, and how often its pictures come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segue.data.mixture import Source, mix
from segue.data.records import UNLABELLED, Dataset, LabelMaps, Record
from segue.data.union import known_things, union, with_classes
from segue.errors import DataError
from segue.structures import Categories, Category, Segments
from segue.tasks import BOXES, KEYPOINTS, parsers_of

BOX = {"bbox": [1, 1, 8, 8], "area": 64, "iscrowd": 0}
HANDS = ("left_hand", "right_hand")


def dataset_of(
    name: str,
    categories: Sequence[Category],
    annotations: Sequence[Sequence[Mapping[str, Any]]] = ((),),
    map_values: Sequence[int] | None = None,
) -> Dataset:
    """Pictures of 10x10 pixels with these annotations; their label maps, if any, have these values in the first row."""
    records = [Record(Path(f"{name}_{i}.png"), (10, 10), i, {}) for i in range(len(annotations))]

    def read(file: Path, size: tuple[int, int]) -> Tensor:
        labels = torch.full(size, UNLABELLED, dtype=torch.int16)
        labels[0, : len(map_values or ())] = torch.tensor(map_values, dtype=torch.int16)
        return labels

    maps = None if map_values is None else LabelMaps([Path(f"{name}_{i}_map.png") for i in range(len(records))], read)
    parsers = parsers_of([BOXES, KEYPOINTS])
    return Dataset(name, Categories(tuple(categories)), records, [list(rows) for rows in annotations], parsers, maps)


def people(name: str = "people", keypoints: tuple[str, ...] = HANDS) -> Dataset:
    person = Category("person", 1, keypoints=keypoints, flip_pairs=((0, 1),), skeleton=((0, 1),))
    points = [2, 3, 2, 4, 5, 1]
    return dataset_of(name, [person], [[{**BOX, "id": 1, "category_id": 1, "keypoints": points}]] * 3)


def photos() -> Dataset:
    categories = [Category("dog", 7), Category("sky", 1, isthing=False), Category("person", 3)]
    rows = [{**BOX, "id": 1, "category_id": 3}, {**BOX, "id": 2, "category_id": 7}]
    return dataset_of("photos", categories, [rows], map_values=[0, 1, 2, -1])


def cars() -> Dataset:
    wheels = ("front", "middle", "rear")
    row = {**BOX, "id": 1, "category_id": 1, "keypoints": [1, 1, 2, 2, 2, 2, 3, 3, 2]}
    return dataset_of("cars", [Category("car", 1, keypoints=wheels)], [[row]])


def streets() -> Dataset:
    categories = [Category(name, i, isthing=False) for i, name in enumerate(("road", "person", "sky"))]
    return dataset_of("streets", categories, [[], []], map_values=[0, 1, 2, -1])


def test_classes_are_put_together_by_name_with_things_first() -> None:
    categories = union([photos(), people(), streets(), cars()])
    assert categories.names == ["dog", "person", "car", "sky", "road"]
    assert [c.isthing for c in categories] == [True, True, True, False, False]
    person = categories[1]
    assert (person.keypoints, person.flip_pairs, person.skeleton) == (HANDS, ((0, 1),), ((0, 1),))
    assert [c.id for c in categories if c.name in ("dog", "sky", "person")] == [7, 3, 1]  # as in the first set


def test_ids_and_colours_stay_distinct() -> None:
    categories = union([dataset_of(name, [Category(f"{name}{i}", i) for i in range(3)]) for name in "abc"])
    assert len({c.id for c in categories}) == 9
    assert len({c.color for c in categories}) == 9
    assert [c.id for c in categories[:3]] == [0, 1, 2]


def test_a_class_with_two_kinds_of_keypoints_is_refused() -> None:
    with pytest.raises(DataError, match=r"^sport: class 'person' has other keypoints than in people"):
        union([photos(), people(), people("sport", keypoints=("head", "foot"))])


def test_labels_of_objects_and_pixels_follow_their_names() -> None:
    sets = [photos(), people(), streets(), cars()]
    categories = union(sets)
    for dataset in sets:
        told = with_classes(dataset, categories)
        for before, after in zip(dataset.regions(0).labels, told.regions(0).labels, strict=True):
            assert dataset.categories[int(before)].name == categories[int(after)].name
        pixels, moved = dataset.semantic(0), told.semantic(0)
        assert (pixels is None) == (moved is None)
        if pixels is not None and moved is not None:
            assert moved.dtype == torch.int16
            assert moved[0, 3:].eq(UNLABELLED).all()
            assert moved[1:].eq(UNLABELLED).all()
            names = [categories[int(label)].name for label in moved[0, :3]]
            assert names == [dataset.categories[int(label)].name for label in pixels[0, :3]]


def test_segments_follow_their_names() -> None:
    dataset = photos()
    segments = Segments(torch.tensor([5, 6, 9]), torch.tensor([1, 0, 2]))
    dataset.panoptic = lambda picture, size: (torch.zeros(size, dtype=torch.int32), segments)
    told = with_classes(dataset, union([people(), dataset]))
    assert told.panoptic is not None
    labels = told.panoptic(0, (10, 10))[1].labels.tolist()
    assert [told.categories[label].name for label in labels] == ["sky", "dog", "person"]


def test_keypoints_are_as_wide_as_the_widest_class_and_only_where_a_set_has_some() -> None:
    joined = mix([photos(), people(), cars()], [1, 1, 1]).dataset
    assert joined.regions(0).keypoints is None
    person, car = joined.regions(1).keypoints, joined.regions(4).keypoints
    assert person is not None
    assert car is not None
    assert person.tolist() == [[[2.5, 3.5, 2], [4.5, 5.5, 1], [0, 0, 0]]]
    assert car.shape == (1, 3, 3)


def test_keypoints_that_no_class_of_the_set_names_are_left_out() -> None:
    row = {**BOX, "id": 1, "category_id": 1, "keypoints": [1, 1, 2]}
    unnamed = dataset_of("unnamed", [Category("person", 1)], [[row]])
    assert mix([unnamed, people()], [1, 1]).dataset.regions(0).keypoints is None


def test_a_set_knows_the_things_that_it_annotates() -> None:
    sets = [photos(), people(), streets(), cars()]
    categories = union(sets)  # things: dog, person, car
    rows = [known_things(dataset, categories).tolist() for dataset in sets]
    assert rows == [[True, True, False], [False, True, False], [False] * 3, [False, False, True]]
    known = mix(sets, [1, 1, 1, 1]).known
    assert known.tolist() == [rows[0]] + [rows[1]] * 3 + [rows[2]] * 2 + [rows[3]]


def test_pictures_of_nothing_in_a_set_of_objects_are_known_to_have_none() -> None:
    empty = dataset_of("empty", [Category("dog", 1)], [[], []])
    assert known_things(empty, empty.categories).tolist() == [True]


def test_one_set_alone_stays_as_it_is() -> None:
    dataset = streets()
    mixture = mix([dataset], [0.3])
    assert mixture.dataset is dataset
    assert mixture.epoch(5).tolist() == [0, 1]
    assert mixture.as_trained(people()).categories.names == ["person"]


@pytest.mark.parametrize(("weights", "shares"), [([1, 1], (0.5, 0.5)), ([3, 1], (0.75, 0.25)), ([1, 9], (0.1, 0.9))])
def test_weights_are_shares_and_no_picture_of_a_set_comes_more_often(
    weights: list[float], shares: tuple[float, float]
) -> None:
    large, small = (dataset_of(name, [Category("dog", 1)], [[]] * n) for name, n in (("large", 33), ("small", 7)))
    mixture = mix([large, small], weights)
    counts = np.bincount(np.concatenate([mixture.epoch(number) for number in range(21)]), minlength=40)
    for own, share in zip((counts[:33], counts[33:]), shares, strict=True):
        assert own.sum() / counts.sum() == pytest.approx(share, abs=0.5 / 40)
        assert own.max() - own.min() <= 1


def test_a_set_of_little_weight_still_comes() -> None:
    mixture = mix([people(), cars()], [1, 1e-6])
    assert mixture.epoch(0).tolist() == [0, 1, 2, 0, 3]


def test_a_set_to_score_on_is_told_in_the_classes_of_the_mixture() -> None:
    mixture = mix([photos(), people()], [1, 1])
    assert mixture.as_trained(people()).categories == mixture.dataset.categories
    assert mixture.as_trained(cars()).categories.names == ["car"]


def test_sets_that_cannot_be_mixed() -> None:
    with pytest.raises(DataError, match=r"^none: no pictures to train on"):
        mix([people(), dataset_of("none", [Category("dog", 1)], [])], [1, 1])
    with pytest.raises(DataError, match=r"^streets: label map streets_0_map\.png is in another set, too"):
        mix([streets(), streets()], [1, 1])
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight must be above 0"):
            Source("x", weight=weight)
