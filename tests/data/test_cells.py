import json

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.cells import NUCLEUS, make_cells, write_cells
from segue.errors import UsageError
from segue.structures import Masks, Scene


def test_same_seed_same_cells():
    first, again, other = make_cells(7), make_cells(7), make_cells(8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].boxes, again[1].boxes)
    assert torch.equal(first[1].masks.bits, again[1].masks.bits)
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_disjoint_and_boxes_tight(seed):
    image, regions = make_cells(seed)
    assert image.shape == (3, 256, 256)
    assert image.dtype == torch.uint8
    dense = regions.masks.dense()
    assert dense.sum(0).max() <= 1
    assert (regions.masks.area >= 20).all()
    packed = Masks.from_dense(dense)
    assert torch.equal(packed.boxes, regions.masks.boxes)
    assert torch.equal(packed.boxes.float(), regions.boxes)
    Scene((256, 256), NUCLEUS, regions)


def test_nuclei_are_brighter_than_what_is_around_them():
    for seed in range(5):
        image, regions = make_cells(seed)
        inside = regions.masks.dense().any(0)
        assert image[0][inside].float().mean() > 2 * image[0][~inside].float().mean()


def test_size_and_count_are_obeyed():
    image, regions = make_cells(0, (100, 180), (3, 3))
    assert image.shape == (3, 100, 180)
    assert 1 <= len(regions) <= 3
    widths = regions.boxes[:, 2:] - regions.boxes[:, :2]
    assert widths.max() < 2 * 1.9 * 20


def test_no_nucleus_at_all():
    image, regions = make_cells(0, (64, 64), (0, 0))
    assert image.shape == (3, 64, 64)
    assert len(regions) == len(regions.masks) == 0


def test_some_touch():
    """Touching nuclei are what makes the task hard: some set pixel has another nucleus's pixel beside it."""
    touching = 0
    for seed in range(6):
        _, regions = make_cells(seed, count=(40, 60))
        index = torch.arange(1, len(regions) + 1)[:, None, None]
        labels = (regions.masks.dense() * index).sum(0)
        left, right = labels[:, :-1], labels[:, 1:]
        touching += int(((left != right) & (left > 0) & (right > 0)).any())
    assert touching >= 3


def test_written_sets_read_back(tmp_path):
    path = write_cells(tmp_path / "cells", 3, seed=5, size=(64, 96), count=(4, 6))
    content = json.loads(path.read_text())
    assert [entry["file_name"] for entry in content["images"]] == ["cells_000.png", "cells_001.png", "cells_002.png"]
    assert {(entry["height"], entry["width"]) for entry in content["images"]} == {(64, 96)}
    image, regions = make_cells((5, 1), (64, 96), (4, 6))
    with Image.open(path.parent / "cells_001.png") as opened:
        assert (np.asarray(opened) == image[0].numpy()).all()
    second = content["images"][1]["id"]
    assert sum(entry["image_id"] == second for entry in content["annotations"]) == len(regions)
    assert content["categories"][0]["name"] == "nucleus"


def test_writing_again_is_fine_but_foreign_files_stay(tmp_path):
    write_cells(tmp_path / "a", 2, size=(32, 32))
    write_cells(tmp_path / "a", 2, size=(32, 32))
    (tmp_path / "a" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"mine\.txt"):
        write_cells(tmp_path / "a", 2)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cells_000.png").write_bytes(b"precious")  # the name fits, but no such set was written here
    with pytest.raises(UsageError, match=r"cells_000\.png"):
        write_cells(tmp_path / "b", 2)
    assert (tmp_path / "b" / "cells_000.png").read_bytes() == b"precious"
    with pytest.raises(UsageError):
        write_cells(tmp_path / "b" / "cells_000.png", 2)


@pytest.mark.parametrize(
    "wrong", [{"images": 0}, {"seed": -1}, {"size": (0, 64)}, {"count": (5, 2)}, {"count": (-3, 2)}]
)
def test_numbers_that_make_no_sense(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_cells(tmp_path / "x", **({"images": 1} | wrong))
    assert not (tmp_path / "x").exists()
