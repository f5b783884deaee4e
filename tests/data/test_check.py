import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.data.check import check_coco
from segue.data.coco import read_coco
from segue.errors import DataError

RLE = {"size": [20, 30], "counts": [0, 600]}
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 2, "file_name": "b.png", "height": 20, "width": 30},
    ],
    "annotations": [
        {
            "id": 11,
            "image_id": 1,
            "category_id": 5,
            "bbox": [2, 3, 6, 7],
            "area": 42,
            "iscrowd": 0,
            "segmentation": [[2, 3, 8, 3, 8, 10, 2, 10]],
        },
        {
            "id": 12,
            "image_id": 2,
            "category_id": 5,
            "bbox": [0, 0, 30, 20],
            "area": 600,
            "iscrowd": 0,
            "segmentation": RLE,
        },
    ],
    "categories": [{"id": 5, "name": "cell"}],
}
NAN, INF = float("nan"), float("inf")


def write(folder: Path, content: object) -> Path:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / name)
    path = folder / "instances_train.json"
    path.write_text(json.dumps(content))
    return path


def change(room: str, index: int, **values: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[room][index].update(values)


def drop(room: str, index: int, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[room][index].pop(key)


def first(**values: object) -> Callable[[dict[str, Any]], None]:
    return change("annotations", 0, **values)


FATAL: dict[str, tuple[str, str, Callable[[dict[str, Any]], None]]] = {
    "no images list": ("structure", "top level", lambda c: c.pop("images")),
    "annotations no list": ("structure", "top level", lambda c: c.update(annotations={"a": 1})),
    "no picture": ("structure", "'images' is empty", lambda c: c.update(images=[])),
    "picture no object": ("key", r"images\[2\]", lambda c: c["images"].append(7)),
    "annotation without box": ("key", r"annotations\[0\]", drop("annotations", 0, "bbox")),
    "annotation without id": ("key", r"annotations\[1\]", drop("annotations", 1, "id")),
    "id of text": ("key", r"annotations\[0\]", first(id="11")),
    "id true": ("key", r"annotations\[0\]", first(id=True)),
    "category without name": ("key", r"categories\[0\]", drop("categories", 0, "name")),
    "empty name": ("key", "category 5", change("categories", 0, name="")),
    "crowd 2": ("key", "annotation 11", first(iscrowd=2)),
    "crowd list": ("key", "annotation 11", first(iscrowd=[])),
    "area NaN": ("key", "annotation 11", first(area=NAN)),
    "bone to nowhere": ("key", "category 5", change("categories", 0, keypoints=["a", "b"], skeleton=[[1, 3]])),
    "keypoints of numbers": ("key", "category 5", change("categories", 0, keypoints=[1])),
    "no category": ("structure", "'categories' is empty", lambda c: c.update(categories=[])),
    "category name twice": ("name-twice", "categories", lambda c: c["categories"].append({"id": 6, "name": "cell"})),
    "category id twice": ("id-twice", "categories", lambda c: c["categories"].append({"id": 5, "name": "dot"})),
    "annotation id twice": ("id-twice", "annotations", first(id=12)),
    "image id twice": ("id-twice", "images", lambda c: c["images"].append({**c["images"][1]})),
    "unknown image": ("unknown-image", "annotation 11", first(image_id=77)),
    "unknown category": ("unknown-category", "annotation 11", first(category_id=77)),
    "picture without width": ("image-size", "image 1", change("images", 0, width=0)),
    "picture too large": ("image-size", "image 1", change("images", 0, width=10**9, height=10**9)),
    "box of three": ("box", "annotation 11", first(bbox=[1, 2, 3])),
    "box NaN": ("box", "annotation 11", first(bbox=[NAN, 3, 6, 7])),
    "box infinite": ("box", "annotation 11", first(bbox=[2, 3, INF, 7])),
    "box of text": ("box", "annotation 11", first(bbox=["2", 3, 6, 7])),
    "box huge": ("box", "annotation 11", first(bbox=[2, 3, 10**400, 7])),
    "box without area": ("box-empty", "annotation 11", first(bbox=[2, 3, 0, 7])),
    "box negative": ("box-empty", "annotation 11", first(bbox=[8, 3, -6, 7])),
    "box right of the picture": ("box-outside", "annotation 11", first(bbox=[30, 3, 6, 7])),
    "box above the picture": ("box-outside", "annotation 11", first(bbox=[2, -9, 6, 7])),
    "polygon of two points": ("polygon", "annotation 11", first(segmentation=[[2, 3, 8, 10]])),
    "polygon odd": ("polygon", "annotation 11", first(segmentation=[[2, 3, 8, 3, 8, 10, 2]])),
    "polygon NaN": ("polygon", "annotation 11", first(segmentation=[[2, 3, 8, 3, NAN, 10]])),
    "polygon huge": ("polygon", "annotation 11", first(segmentation=[[2, 3, 8, 3, 1e9, 10]])),
    "run lengths of another size": ("rle", "annotation 11", first(segmentation={**RLE, "size": [30, 20]})),
    "run lengths too short": ("rle", "annotation 11", first(segmentation={**RLE, "counts": [0, 500]})),
    "run lengths cut off": ("rle", "annotation 11", first(segmentation={**RLE, "counts": "0P"})),
    "segmentation of text": ("polygon", "annotation 11", first(segmentation="abc")),
    "no segmentation": ("segmentation-missing", "annotation 11", first(segmentation=[])),
    "climbing out": ("path-outside", "image 1", change("images", 0, file_name="../a.png")),
    "absolute": ("path-outside", "image 1", change("images", 0, file_name="/etc/passwd")),
    "zero byte": ("path-outside", "image 1", change("images", 0, file_name="a\0.png")),
    "picture missing": ("image-missing", "image 1", change("images", 0, file_name="gone.png")),
}

WARNINGS: dict[str, tuple[str, str, Callable[[dict[str, Any]], None]]] = {
    "id 0": ("id-zero", "annotation 0", first(id=0)),
    "box over the edge": ("box-over-edge", "annotation 12", change("annotations", 1, bbox=[0, 0, 40, 20])),
    "box far from mask": ("box-differs", "annotation 11", first(bbox=[18, 3, 6, 7])),
    "empty mask": ("mask-empty", "annotation 11", first(segmentation={**RLE, "counts": [600]})),
    "picture without annotation": ("no-annotations", "image 1", lambda c: c["annotations"].pop(0)),
}


def changed(alter: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    alter(content)
    return content


def test_a_sound_set_has_no_fault(tmp_path):
    report = check_coco(write(tmp_path, CONTENT))
    assert report.faults == []
    assert not report.fatal
    assert "no faults" in report.to_text()


@pytest.mark.parametrize(("code", "where", "alter"), FATAL.values(), ids=FATAL.keys())
def test_fatal_faults_are_named_and_refused(tmp_path, code, where, alter):
    path = write(tmp_path, changed(alter))
    report = check_coco(path)
    assert {fault.code for fault in report.faults if fault.fatal} == {code}
    assert report.fatal
    with pytest.raises(DataError, match=rf"{where}.*; to see all run: segue data check") as caught:
        read_coco(path, {})
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("code", "where", "alter"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warnings_do_not_stop_anything(tmp_path, code, where, alter):
    path = write(tmp_path, changed(alter))
    report = check_coco(path)
    assert [(fault.code, fault.where.startswith(where), fault.fatal) for fault in report.faults] == [
        (code, True, False)
    ]
    assert not report.fatal
    assert len(read_coco(path, {})) == 2


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    path = write(folder, CONTENT)
    (tmp_path / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(tmp_path / "secret.png")
    assert check_coco(path).counts == {"path-outside": 1}
    with pytest.raises(DataError, match="leads out"):
        read_coco(path, {})


def test_pictures_are_opened_and_measured(tmp_path):
    path = write(tmp_path, CONTENT)
    Image.new("RGB", (31, 20)).save(tmp_path / "a.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    report = check_coco(path)
    assert report.counts == {"image-size": 1, "image-unreadable": 1}
    assert "31x20" in report.to_text()


def test_all_faults_are_listed_at_once(tmp_path):
    content = changed(first(bbox=[NAN, 0, 1, 1], category_id=99, segmentation=[[1, 2, 3, 4]]))
    change("annotations", 1, id=0, segmentation={**RLE, "counts": [3]})(content)
    change("images", 1, file_name="../b.png")(content)
    report = check_coco(write(tmp_path, content))
    assert set(report.counts) == {"unknown-category", "box", "polygon", "id-zero", "rle", "path-outside"}
    text = report.to_text()
    assert "6 faults, 5 of them fatal" in text
    for fault in report.faults:
        assert fault.where in text
        assert fault.message in text
    with pytest.raises(DataError, match="first of 4 fatal faults"):
        read_coco(report.path, {})


def test_long_lists_are_cut(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["annotations"] = [{**CONTENT["annotations"][0], "id": i + 1, "category_id": 9} for i in range(20)]
    content["images"].pop(1)
    report = check_coco(write(tmp_path, content))
    assert report.counts == {"unknown-category": 20}
    assert len(report.to_text().splitlines()) == 8


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "\xff\xfe", "[1, 2]", "null", '{"images": NaN}', "9" * 10_000]
)
def test_files_that_are_no_annotations(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    assert check_coco(path).fatal
    with pytest.raises(DataError, match=r"x\.json"):
        read_coco(path, {})


def test_missing_files(tmp_path):
    for path in (tmp_path / "gone.json", tmp_path):
        assert check_coco(path).counts == {"json": 1}
        with pytest.raises(DataError, match="cannot be read"):
            read_coco(path, {})


def test_a_missing_picture_folder_is_one_fault(tmp_path):
    path = write(tmp_path, CONTENT)
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    report = check_coco(path)
    assert report.counts == {"images-folder": 1}
    assert str(tmp_path / "images") in report.to_text()


@pytest.mark.parametrize("name", ["dsb2018/instances_val.json", "fruits_nuts/instances_train.json"])
def test_real_sets_are_sound(name):
    path = Path(os.environ.get("SEGUE_DATA", "/nonexistent")) / name
    if not path.is_file():
        pytest.skip(f"SEGUE_DATA has no {name}")
    assert check_coco(path).faults == []
