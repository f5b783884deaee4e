from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segue.errors import DataError
from segue.structures import Categories, Category, Masks, Regions, Scene

CATEGORIES = Categories.from_names(["mug", "lamp"])


def random_masks(seed: int, count: int = 5, size: tuple[int, int] = (9, 13)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.rand(count, *size, generator=generator) < 0.15
    if count:
        dense[0] = False
    return dense


def regions_of(count: int) -> Regions:
    masks = Masks.from_dense(random_masks(1, count, (20, 30)))
    return Regions(
        boxes=torch.arange(4.0).repeat(count, 1) + torch.arange(count)[:, None],
        labels=torch.arange(count) % 2,
        scores=torch.linspace(1, 0.5, count),
        masks=masks,
        captions=[f"number {i}" for i in range(count)],
        extra={"weight": torch.arange(float(count))},
    )


@given(seed=st.integers(0, 10_000), count=st.integers(0, 6))
def test_packed_masks_are_the_dense_ones(seed: int, count: int) -> None:
    dense = random_masks(seed, count)
    masks = Masks.from_dense(dense)
    assert torch.equal(masks.dense(), dense)
    assert torch.equal(masks.area, dense.sum((1, 2)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(masks.select(order).dense(), dense[order])
    assert torch.equal(Masks.cat([masks, masks]).dense(), torch.cat([dense, dense]))
    for box, mask in zip(masks.boxes.tolist(), dense, strict=True):
        ys, xs = mask.nonzero().unbind(1)
        tight = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1] if len(xs) else [0, 0, 0, 0]
        assert box == tight


def test_masks_can_be_asked_like_a_tensor() -> None:
    dense = random_masks(3)
    masks = Masks.from_dense(dense)
    assert torch.equal(masks[2], dense[2])
    assert torch.equal(masks[-1], dense[-1])
    assert torch.equal(masks[1:4].dense(), dense[1:4])
    assert torch.equal(masks[torch.tensor([True, False, False, True, False])].dense(), dense[[0, 3]])
    assert np.array_equal(np.asarray(masks), dense.numpy())
    assert np.asarray(masks, dtype=np.uint8).dtype == np.uint8
    assert [torch.equal(mask, d) for mask, d in zip(masks, dense, strict=True)] == [True] * 5
    with pytest.raises(IndexError):
        masks[5]
    assert torch.equal(masks.to("cpu").bits, masks.bits)


def test_catenated_masks_lie_on_the_larger_canvas() -> None:
    both = Masks.cat([Masks.from_dense(torch.ones(1, 2, 5)), Masks.from_dense(torch.ones(1, 4, 3))])
    assert both.size == (4, 5)
    assert both.area.tolist() == [10, 12]


@pytest.mark.parametrize(
    ("boxes", "bits"),
    [
        (torch.tensor([[0, 0, 2, 2]]), torch.ones(3, dtype=torch.bool)),  # too few pixels
        (torch.tensor([[0, 0, 2, 2]]), torch.ones(4)),  # not bool
        (torch.tensor([[0.0, 0, 2, 2]]), torch.ones(4, dtype=torch.bool)),  # not whole numbers
        (torch.tensor([[9, 0, 11, 2]]), torch.ones(4, dtype=torch.bool)),  # over the edge
        (torch.tensor([[-1, 0, 1, 2]]), torch.ones(4, dtype=torch.bool)),
        (torch.tensor([[2, 0, 0, -2]]), torch.ones(4, dtype=torch.bool)),  # inside out
    ],
)
def test_impossible_masks_are_refused(boxes: torch.Tensor, bits: torch.Tensor) -> None:
    with pytest.raises(DataError):
        Masks((10, 10), boxes, bits)
    with pytest.raises(DataError):
        Masks.from_dense(torch.zeros(3, 3))


def test_regions_choose_every_field_alike() -> None:
    regions = regions_of(4)
    chosen = regions.select(torch.tensor([3, 1]))
    assert chosen.captions == ["number 3", "number 1"]
    assert chosen.extra["weight"].tolist() == [3, 1]  # type: ignore[union-attr]
    assert chosen.masks is not None
    assert regions.masks is not None
    assert torch.equal(chosen.masks.dense(), regions.masks.dense()[[3, 1]])
    flags = torch.tensor([False, True, False, True])
    assert regions.select(flags).captions == ["number 1", "number 3"]
    assert len(regions.select(torch.zeros(4, dtype=torch.bool))) == 0
    assert regions.to("cpu").captions == regions.captions


def test_regions_joined_and_split_again() -> None:
    a, b = regions_of(3), regions_of(2)
    both = Regions.cat([a, Regions.empty(), b])
    assert len(both) == 5
    assert both.captions == [*(a.captions or []), *(b.captions or [])]
    assert torch.equal(both.select(torch.arange(3, 5)).boxes, b.boxes)
    assert len(Regions.cat([])) == len(Regions.cat([Regions.empty()])) == 0


def test_a_field_that_not_all_parts_have_is_dropped() -> None:
    a, b = regions_of(2), regions_of(2).with_field("captions", None)
    assert Regions.cat([a, b]).captions is None


def test_fields_of_outside_tasks_live_in_extra() -> None:
    regions = regions_of(2).with_field("colour", ["red", "blue"])
    assert regions.field("colour") == regions.extra["colour"] == ["red", "blue"]
    assert regions.with_field("colour", None).field("colour") is None
    assert regions.with_field("scores", torch.zeros(2)).scores is not None
    assert regions.field("keypoints") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Regions(torch.zeros(2, 3), torch.zeros(2).long()),
        lambda: Regions(torch.zeros(2, 4).long(), torch.zeros(2).long()),
        lambda: Regions(torch.zeros(2, 4), torch.zeros(3).long()),
        lambda: Regions(torch.zeros(2, 4), torch.zeros(2)),
        lambda: Regions(torch.zeros(2, 4), torch.zeros(2).long(), scores=torch.zeros(1)),
        lambda: Regions(torch.zeros(2, 4), torch.zeros(2).long(), captions=["one"]),
        lambda: Regions(torch.zeros(1, 4), torch.zeros(1).long(), extra={"x": []}),
        lambda: Scene((0, 5), CATEGORIES, Regions.empty()),
        lambda: Scene((5, 5), CATEGORIES, Regions.empty(), semantic=torch.zeros(5, 6)),
        lambda: Scene((5, 5), CATEGORIES, Regions(torch.zeros(1, 4), torch.tensor([2]))),
        lambda: Scene((5, 5), CATEGORIES, regions_of(1)),  # masks of another canvas
        lambda: Category("", 1),
        lambda: Category("person", 1, keypoints=("nose",), skeleton=((0, 1),)),
        lambda: Categories.from_names(["a", "a"]),
        lambda: Categories((Category("a", 1), Category("b", 1))),
        lambda: CATEGORIES.index("cup"),
    ],
)
def test_nonsense_is_refused_at_birth(make: object) -> None:
    with pytest.raises(DataError):
        make()  # type: ignore[operator]


def test_categories_round_trip_with_keypoints() -> None:
    person = Category(
        "person", 1, keypoints=("nose", "left_eye", "right_eye"), skeleton=((0, 1), (0, 2)), flip_pairs=((1, 2),)
    )
    categories = Categories((person, Category("grass", 7, isthing=False)))
    assert Categories.from_json(categories.to_json()) == categories
    assert categories.index("grass") == 1
    assert [c.name for c in categories] == categories.names
    assert len({c.color for c in Categories.from_names([str(i) for i in range(30)])}) == 30


def test_a_scene_prints_as_a_short_table() -> None:
    scene = Scene((20, 30), CATEGORIES, regions_of(14), file="a.png")
    lines = repr(scene).splitlines()
    assert lines[0] == "Scene 30x20, 14 regions of a.png"
    assert lines[1].split() == ["mug", "1.00", "box", "0.0", "1.0", "2.0", "3.0"]
    assert lines[-1].strip() == "... and 4 more"
    assert len(lines) == 12
    assert repr(replace(scene, label="mug")).startswith("Scene 30x20, label mug, 14 regions")
