import numpy as np
import pytest
import torch
from hotcoco import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.rle import decode_segmentations, encode_masks
from segue.errors import DataError
from segue.structures import Masks


def reference(mask: torch.Tensor) -> str:
    return coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"].decode()


def random_masks(seed: int, n: int, h: int, w: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(n, 1, 1, generator=generator) * 1.4 - 0.2  # some are all empty, some all set
    return torch.rand(n, h, w, generator=generator) < density


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_masks_survive_the_round_trip_and_agree_with_the_library(seed, n, h, w):
    dense = random_masks(seed, n, h, w)
    encoded = encode_masks(Masks.from_dense(dense))
    assert [entry["counts"] for entry in encoded] == [reference(mask) for mask in dense]
    back = decode_segmentations(encoded, (h, w), "test")
    assert torch.equal(back.dense(), dense)
    assert torch.equal(back.boxes, Masks.from_dense(dense).boxes), "windows are tight"


def test_long_runs_use_several_characters():
    dense = torch.zeros(2, 700, 900, dtype=torch.bool)
    dense[0, 100:650, 20:880] = True
    dense[1, 0, 899] = True
    encoded = encode_masks(Masks.from_dense(dense))
    assert [entry["counts"] for entry in encoded] == [reference(mask) for mask in dense]
    assert torch.equal(decode_segmentations(encoded, (700, 900), "test").dense(), dense)


def test_no_masks():
    empty = decode_segmentations([], (4, 6), "test")
    assert len(empty) == 0
    assert empty.size == (4, 6)
    assert encode_masks(empty) == []


def test_plain_counts_run_down_the_columns():
    masks = decode_segmentations([{"size": [3, 2], "counts": [1, 3, 2]}], (3, 2), "test")
    assert masks[0].tolist() == [[False, True], [True, False], [True, False]]


def test_polygons_of_one_object_are_joined():
    square, other = [1, 1, 3, 1, 3, 3, 1, 3], [5.0, 0, 8, 0, 8, 2, 5, 2]
    masks = decode_segmentations([[square, other], [square]], (6, 9), "test")
    expected = torch.zeros(2, 6, 9, dtype=torch.bool)
    expected[:, 1:3, 1:3] = True
    expected[0, 0:2, 5:8] = True
    assert torch.equal(masks.dense(), expected)


def test_polygon_over_the_edge_is_cut():
    masks = decode_segmentations([[[-5, -5, 20, -5, 20, 20, -5, 20]]], (6, 9), "test")
    assert masks[0].all()


def good() -> dict:
    return encode_masks(Masks.from_dense(random_masks(3, 1, 40, 30)))[0]


def altered(**changes: object) -> dict:
    return {**good(), **changes}


HOSTILE = {
    "two points": [[1.0, 1, 5, 5]],
    "odd count": [[1.0, 1, 5, 5, 5, 1, 2]],
    "flat list": [1.0, 1, 5, 5, 5, 1],
    "no polygon": [],
    "NaN": [[1.0, 1, float("nan"), 5, 5, 1]],
    "infinite": [[1.0, 1, float("inf"), 5, 5, 1]],
    "huge": [[1.0, 1, 1e9, 5, 5, 1]],
    "huger than floats": [[1.0, 1, 10**400, 5, 5, 1]],
    "text": [["1", "1", "5", "5", "5", "1"]],
    "bool": [[True, True, 5, 5, 5, 1]],
    "nothing": None,
    "number": 7,
    "empty dict": {},
    "other size": altered(size=[30, 40]),
    "no size": altered(size=None),
    "short": altered(counts=good()["counts"][:-9]),
    "long": altered(counts=good()["counts"] + "55"),
    "empty string": altered(counts=""),
    "cut inside a number": altered(counts=good()["counts"] + "P"),
    "foreign characters": altered(counts="hello ~ world é"),
    "endless number": altered(counts="o" * 5000 + "0"),
    "negative run": altered(counts="O" + good()["counts"]),
    "sum too small": altered(counts=[10, 10]),
    "negative count": altered(counts=[1210, -10]),
    "count of text": altered(counts=["1200"]),
    "float count": altered(counts=[1200.0]),
    "huge count": altered(counts=[10**400]),
    "counts missing": {"size": [40, 30]},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_segmentations_are_refused_and_named(value):
    with pytest.raises(DataError, match="here, object 1"):
        decode_segmentations([good(), value], (40, 30), "here")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30))
def test_any_string_is_decoded_as_the_library_would_or_refused(text):
    try:
        masks = decode_segmentations([{"size": [12, 10], "counts": text}], (12, 10), "test")
    except DataError:
        return
    assert masks[0].sum() == coco_mask.area({"size": [12, 10], "counts": text.encode()})
