"""Labels of whole pictures beside the instances, above all those of Toybox."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.data.dataset import check_dataset, open_dataset
from segue.data.mixture import mix
from segue.data.records import Dataset
from segue.data.toybox import render
from segue.data.toybox.write import SPAN, Order, write_toybox
from segue.data.union import with_classes
from segue.engine.datasets import check
from segue.errors import DataError
from segue.structures import Categories


@pytest.fixture(scope="module")
def toybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toybox")
    write_toybox(folder, Order(train=0, val=3, size=64, seed=3))
    return folder


def test_toybox_pictures_have_the_class_of_their_main_thing(toybox: Path) -> None:
    dataset = open_dataset(f"{toybox}:val", {}, labels=True)
    assert dataset.labels == [render(2 * SPAN * 3 + SPAN + i, (64, 64)).label for i in range(3)]
    assert [dataset.scene(i).label for i in range(3)] == dataset.labels
    assert check_dataset(str(toybox / "annotations/labels_val.json")).to_text().endswith("no faults")


def test_labels_stay_with_their_pictures(toybox: Path) -> None:
    """In the classes of several sets, with panoptic classes, and beside a set that has none."""
    dataset, plain = open_dataset(f"{toybox}:val", {}, labels=True), open_dataset(f"{toybox}:val", {})
    assert plain.labels is None
    assert plain.label(0) is None
    assert open_dataset(f"{toybox}:val", {}, panoptic=True, labels=True).labels == dataset.labels
    assert mix([plain, dataset], [1, 1]).dataset.labels == [None] * 3 + list(dataset.labels or [])
    names = ["whale", *dataset.categories.names]
    assert with_classes(dataset, Categories.from_names(names)).labels == dataset.labels


def write(folder: Path, labels: Any) -> Path:
    """Two pictures with their instances, and labels beside them."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    pictures = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 6} for i in (1, 2)]
    rows = [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4}]
    names = [{"id": 1, "name": "box"}, {"id": 2, "name": "sky", "isthing": 0}]
    content = {"images": pictures, "annotations": rows, "categories": names}
    (folder / "annotations/instances_val.json").write_text(json.dumps(content))
    path = folder / "annotations/labels_val.json"
    path.write_text(labels if isinstance(labels, str) else json.dumps(labels))
    return path


def opened(folder: Path) -> Dataset:
    return open_dataset(f"{folder}:val", {}, need_images=False, labels=True)


def row(**changes: object) -> dict[str, object]:
    return {"image_id": 2, "file_name": "2.png", "label": "box", **changes}


def test_pictures_may_lack_a_label(tmp_path: Path) -> None:
    write(tmp_path, [row(file_name="val/2.png"), {"image_id": 1, "label": None}])
    assert opened(tmp_path).labels == [None, "box"]
    write(tmp_path, [{"image_id": 2, "label": "box"}, row(image_id=9)])
    assert opened(tmp_path).labels == [None, "box"]
    shutil.rmtree(tmp_path / "annotations")


BROKEN: list[tuple[Any, str, str]] = [
    ("{", "not JSON", "json"),
    ({}, "top level: not a list of labels", "structure"),
    ([row(), 3], "entry 1: not an object", "key"),
    ([row(image_id="2")], "entry 0: 'image_id' must be a whole number, not '2'", "key"),
    ([row(image_id=True)], "entry 0: 'image_id' must be a whole number, not True", "key"),
    ([row(label=["box"])], "entry 0: 'label' must be the name of a category or null", "key"),
    ([{"image_id": 2}], "entry 0: 'label' must be the name of a category or null, not None", "key"),
    ([row(file_name=7)], "entry 0: 'file_name' must be a text", "key"),
    ([row(label="unicorn")], "entry 0: 'unicorn' is no thing category", "unknown-category"),
    ([row(label="sky")], "entry 0: 'sky' is no thing category", "unknown-category"),
    ([row(file_name="1.png")], r"entry 0: image 2 is 2\.png, not '1\.png'", "file-name"),
    ([row(), row(label=None)], "entry 1: image 2 has a label before", "image-twice"),
    ([row(image_id=9)], "top level: no label is of a picture of", "images-unknown"),
    ([], "top level: no label is of a picture of", "images-unknown"),
]


@pytest.mark.parametrize(("labels", "what", "code"), BROKEN)
def test_what_is_refused_in_one_line_and_listed(tmp_path: Path, labels: Any, what: str, code: str) -> None:
    path = write(tmp_path, labels)
    with pytest.raises(DataError, match=what) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert code in [fault.code for fault in check_dataset(str(path)).faults if fault.fatal]


def test_labels_are_read_only_where_they_are_wanted(tmp_path: Path) -> None:
    write(tmp_path, "broken")
    assert open_dataset(f"{tmp_path}:val", {}, need_images=False).labels is None


def test_a_label_of_a_foreign_picture_is_a_warning(tmp_path: Path) -> None:
    report = check_dataset(str(write(tmp_path, [row(), row(image_id=9)])))
    assert [(f.code, f.fatal, f.where) for f in report.faults] == [("unknown-image", False, "entry 1")]


def test_the_check_of_a_set_covers_its_labels(toybox: Path, tmp_path: Path) -> None:
    shutil.copytree(toybox, tmp_path / "copy")
    path = tmp_path / "copy/annotations/labels_val.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**rows[0], "label": "unicorn"}, *rows[1:]]))
    text, fatal = check(f"{tmp_path / 'copy'}:val", None)
    assert fatal == 1
    assert "entry 0: 'unicorn' is no thing category" in text


def test_the_command_names_the_fault(tmp_path: Path, refused: Callable[..., str]) -> None:
    line = refused("data", "check", write(tmp_path, [row(label="unicorn")]))
    assert "1 fatal faults" in line
    assert "unicorn" in refused.out  # type: ignore[attr-defined]
