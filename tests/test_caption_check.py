"""What captions of Toybox name, and the counting of it."""

import json
import sys
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor

from segue.data.dataset import open_dataset
from segue.data.records import Dataset
from segue.data.toybox import render
from segue.data.toybox.captions import caption
from segue.data.toybox.categories import THINGS, TOYBOX
from segue.data.toybox.write import Order, write_toybox
from segue.errors import DataError
from segue.structures import Regions, Scene
from segue.tasks import BOXES, CAPTIONS, parsers_of
from tools import caption_check
from tools.caption_check import Counts, count, main, matches, name_of, named, table


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("a small shiny checked green mug on the pavement", ("green", "mug")),
        ("a green mug on the pavement left of a purple lamp", ("green", "mug")),
        ("a red car in front of a blue car", ("red", "car")),
        ("an orange cone in the middle of the picture", ("orange", "cone")),
        ("a running person in a dotted blue shirt and gray trousers on the grass", ("blue", "person")),
        ("a person in white in front of a red car", ("white", "person")),
        ("a small person in black left of a person in pink", ("black", "person")),
        ("a person in red next to a table", ("red", "person")),
        ("A Red Mug, on the grass!", ("red", "mug")),
        # what a model may say
        ("a person in front of a red car", (None, "person")),
        ("a person on the left of the picture", (None, "person")),
        ("a mug on the red grass", (None, "mug")),
        ("a red on the grass", ("red", None)),
        ("a red blue mug", (None, "mug")),
        ("a red red mug", ("red", "mug")),
        ("a red mug table", ("red", None)),
        ("on the left a red mug", (None, None)),
        ("", (None, None)),
    ],
)
def test_the_subject_of_a_sentence_is_named(sentence: str, name: tuple[str | None, str | None]) -> None:
    assert named(sentence) == name


def test_every_sentence_of_toybox_names_what_was_drawn() -> None:
    for seed in range(300, 316):
        sample = render(seed, (64, 64))
        for thing, said in zip(sample.things, caption(sample), strict=True):
            solid = thing.placed.solid
            assert name_of("\n".join(c.text for c in said), "here") == (solid.paint.color, solid.category)


@pytest.mark.parametrize("text", ["", "a red mug\na blue mug", "a mug on the grass", "a red horse"])
def test_sentences_that_name_no_one_thing_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="here: no one colour and category"):
        name_of(text, "here")


def test_regions_belong_to_what_they_overlap_most() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    truth = Regions(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]]), labels)
    found = Regions(torch.tensor([[0.0, 0, 10, 9.5], [0, 0, 10, 7], [50, 50, 60, 54.9]]), labels, torch.ones(3))
    assert matches(found, truth) == [0, 1, -1]
    assert matches(found, truth.select(torch.tensor([], dtype=torch.int64))) == [-1] * 3


def test_what_is_counted() -> None:
    red_mug, blue_car = ("red", "mug"), ("blue", "car")
    pairs = [
        ("a red mug on the grass", red_mug),
        ("a blue mug left of a red mug", red_mug),
        ("a red bowl", red_mug),
        ("a blue car", blue_car),
        ("a blue car", None),
    ]
    rows, elsewhere = count(pairs)
    assert rows == {"all": Counts(4, 3, 3, 2), "mug": Counts(3, 2, 2, 1), "car": Counts(1, 1, 1, 1)}
    assert [key for key in THINGS if key in rows] == list(rows)[1:]
    assert elsewhere == 1
    assert rows["all"].row() == {"regions": 4, "color": 75.0, "category": 75.0, "both": 50.0}
    assert table(rows, elsewhere)[2] == "| all | 4 | 75.0 | 75.0 | 50.0 |"
    assert count([]) == ({}, 0)


class Oracle:
    """Says of every second object what is annotated, of the others nothing, and a sentence about nowhere."""

    name, tasks = "oracle", (BOXES, CAPTIONS)

    def __init__(self, dataset: Dataset) -> None:
        self.pictures = iter([dataset.regions(i) for i in range(len(dataset))])

    def only(self, names: list[str]) -> Self:
        assert names == ["captions"]
        return self

    def predict(self, image: Tensor, threshold: float) -> Scene:
        truth = next(self.pictures)
        boxes = torch.cat([truth.boxes, torch.tensor([[0.0, 0.0, 1.0, 1.0]])])
        texts = [text.splitlines()[-1] if i % 2 == 0 else "" for i, text in enumerate(truth.captions or [])]
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        regions = Regions(boxes, labels, torch.ones(len(boxes)), captions=[*texts, "a red mug"])
        return Scene((image.shape[1], image.shape[2]), TOYBOX, regions)


def test_from_a_data_set_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toybox(tmp_path / "toys", Order(train=0, val=2, size=64, seed=4))
    reference, out = f"{tmp_path / 'toys'}:val", tmp_path / "out.json"
    dataset = open_dataset(reference, parsers_of([BOXES, CAPTIONS]))
    monkeypatch.setattr(caption_check, "load", lambda model: Oracle(dataset))
    monkeypatch.setattr(sys, "argv", ["caption_check.py", "some model", "--data", reference, "--out", str(out)])
    main()
    content = json.loads(out.read_text())
    counts = [len(dataset.regions(i)) for i in range(2)]
    right = sum((n + 1) // 2 for n in counts)
    assert content["elsewhere"] == 2
    assert content["rows"]["all"]["regions"] == sum(counts)
    assert (
        content["rows"]["all"]["both"]
        == content["rows"]["all"]["color"]
        == pytest.approx(100 * right / sum(counts), abs=0.01)
    )
    assert (content["model"], content["score"], content["iou"]) == ("oracle", 0.5, 0.5)
