from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hotcoco.panoptic import PanopticEval
from label_files import save
from PIL import Image
from torch import Tensor

from segue.data.images import image_size
from segue.data.panoptic import open_panoptic, read_ids, read_panoptic
from segue.data.panoptic_write import map_picture, write_panoptic
from segue.errors import DataError, ImageError, SegueError
from segue.metrics.panoptic import PanopticQuality
from segue.structures import Categories, Category, Regions, Scene, Segments

CLASSES = Categories(
    (
        Category("sky", 2, isthing=False, color=(1, 2, 3)),
        Category("cat", 5, color=(4, 5, 6)),
        Category("sand", 7, isthing=False, color=(7, 8, 9)),
    )
)
PLANE = torch.tensor([[70000, 70000, 0, 3], [70000, 258, 3, 3], [16777215, 258, 258, 3]], dtype=torch.int32)
IDS, LABELS = [258, 70000, 3, 16777215], [1, 1, 0, 2]


def scene(plane: Tensor = PLANE, ids: list[int] = IDS, labels: list[int] = LABELS, file: str | None = "x.jpg") -> Scene:
    n = len(ids)
    segments = Segments(
        torch.tensor(ids, dtype=torch.int64),
        torch.tensor(labels, dtype=torch.int64),
        torch.linspace(1, 0.5, n),
        torch.arange(n) == 1,
    )
    return Scene((3, 4), CLASSES, Regions.empty(), panoptic=plane, segments=segments, file=file)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "panoptic_val.json"
    write_panoptic([(31, scene())], path)
    return path


def test_what_is_written_is_read(written: Path) -> None:
    file = open_panoptic(written)
    assert file.categories == CLASSES
    plane, segments = file.read(31, (3, 4))
    assert torch.equal(plane, PLANE)
    expected = scene().segments
    assert expected is not None
    assert segments.ids.tolist() == IDS
    assert segments.labels.tolist() == LABELS
    assert torch.equal(segments.is_crowd(), expected.is_crowd())
    assert segments.scores is not None
    assert segments.scores.tolist() == pytest.approx([1, 5 / 6, 2 / 3, 0.5], abs=1e-6)
    assert segments.areas is not None
    assert segments.areas.tolist() == [3, 3, 4, 1]


def test_the_json_is_that_of_coco(written: Path) -> None:
    content = json.loads(written.read_text())
    assert content["images"] == [{"id": 31, "file_name": "x.jpg", "height": 3, "width": 4}]
    assert content["categories"][0] == {"id": 2, "name": "sky", "isthing": 0, "color": [1, 2, 3]}
    (entry,) = content["annotations"]
    assert (entry["image_id"], entry["file_name"]) == (31, "x.png")
    rows = [{key: value for key, value in row.items() if key != "score"} for row in entry["segments_info"]]
    assert rows == [
        {"id": 258, "category_id": 5, "isthing": 1, "area": 3, "bbox": [1, 1, 2, 2], "iscrowd": 0},
        {"id": 70000, "category_id": 5, "isthing": 1, "area": 3, "bbox": [0, 0, 2, 2], "iscrowd": 1},
        {"id": 3, "category_id": 2, "isthing": 0, "area": 4, "bbox": [2, 0, 2, 3], "iscrowd": 0},
        {"id": 16777215, "category_id": 7, "isthing": 0, "area": 1, "bbox": [0, 2, 1, 1], "iscrowd": 0},
    ]
    pixels = np.asarray(Image.open(written.parent / "panoptic_val/x.png"))
    assert pixels[0, 0].tolist() == [70000 % 256, 70000 // 256 % 256, 70000 // 65536]
    assert pixels[2, 0].tolist() == [255, 255, 255]
    assert pixels[0, 2].tolist() == [0, 0, 0]


def test_the_classes_of_pixels_come_from_the_same_file(written: Path) -> None:
    layout = read_panoptic(written, need_images=False)
    (pair,) = layout.splits[""]
    assert pair.labels is not None
    assert layout.read(pair.labels, (3, 4)).tolist() == [[1, 1, -1, 0], [1, 1, 0, 0], [2, 1, 1, 0]]


@pytest.mark.parametrize(("ids", "labels"), [([3], [0]), ([], [])])
def test_pictures_with_only_stuff_and_with_nothing(tmp_path: Path, ids: list[int], labels: list[int]) -> None:
    plane = torch.where(PLANE == 3, PLANE, 0) if ids else torch.zeros_like(PLANE)
    write_panoptic([(1, scene(plane, ids, labels))], tmp_path / "p.json")
    read, segments = open_panoptic(tmp_path / "p.json").read(1, (3, 4))
    assert torch.equal(read, plane)
    assert segments.labels.tolist() == labels
    found = Scene((3, 4), CLASSES, Regions.empty(), panoptic=read, segments=segments)
    metric = PanopticQuality(CLASSES)
    metric.update(found, found)
    assert ("panoptic/PQ_stuff" in metric.compute()) == bool(ids)
    assert "panoptic/PQ_things" not in metric.compute()


def test_many_pictures_keep_their_folders(tmp_path: Path) -> None:
    scenes = [scene(file=name) for name in ("a/x.jpg", "b/x.jpg", "/somewhere/x.tif", "../y.jpg")]
    write_panoptic(enumerate(scenes, start=5), tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert [row["file_name"] for row in content["images"]] == ["a/x.jpg", "b/x.jpg", "x.tif", "y.jpg"]
    file = open_panoptic(tmp_path / "p.json")
    assert [place.relative_to(tmp_path / "p").as_posix() for place in file.maps.values()] == [
        "a/x.png", "b/x.png", "x.png", "y.png"
    ]  # fmt: skip
    assert all(torch.equal(file.read(number, (3, 4))[0], PLANE) for number in (5, 6, 7, 8))


def test_predictions_may_lack_all_but_annotations(written: Path) -> None:
    content = json.loads(written.read_text())
    for row in content["annotations"][0]["segments_info"]:
        for key in ("isthing", "area", "bbox", "iscrowd"):
            del row[key]
    del content["annotations"][0]["segments_info"][0]["score"]
    written.write_text(json.dumps({"annotations": content["annotations"]}))
    plane, segments = open_panoptic(written, CLASSES).read(31, (3, 4))
    assert torch.equal(plane, PLANE)
    assert segments.labels.tolist() == LABELS
    assert not segments.is_crowd().any()
    assert segments.scores is None  # one of them has none
    with pytest.raises(DataError, match="'categories' is missing"):
        open_panoptic(written)


def segment(number: int, key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["segments_info"][number][key] = value

    return change


def drop(content: dict[str, Any]) -> None:
    del content["annotations"][0]["segments_info"][0]


def add(content: dict[str, Any]) -> None:
    content["annotations"][0]["segments_info"].append({"id": 8, "category_id": 5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"x\.png: number 258 is in the panoptic map.*; mend the map or segments_info in panoptic_val\.json"),
        (add, r"x\.png: segment 8 has no pixel.*; mend the map or segments_info in panoptic_val\.json"),
        (segment(0, "area", 4), r"x\.png: segment 258 has 3 pixels, its area in panoptic_val\.json is 4; mend one"),
        (segment(0, "area", float("nan")), r"val\.json, annotation of image 31: area of segment 258 is nan, no number"),
        (segment(0, "area", "3"), "area of segment 258 is '3', no number"),
        (segment(0, "id", 3), "annotation of image 31: segment 3 is listed twice"),
        (segment(0, "id", 0), "segment 0 is not in 1 to 16777215"),
        (segment(0, "id", True), "'id' must be a whole number"),
        (segment(0, "category_id", 4), "there is no category 4"),
        (segment(0, "iscrowd", 2), "iscrowd of segment 258 is 2, not 0 or 1"),
        (segment(0, "score", 1.5), r"score of segment 258 is 1\.5, no number from 0 to 1"),
        (lambda content: content["annotations"].append(content["annotations"][0]), "annotated or listed twice"),
        (lambda content: content["annotations"][0].update(image_id=32), "no annotation of picture 31"),
        (lambda content: content["annotations"][0].update(file_name="../x.png"), "leads out of"),
        (lambda content: content["annotations"][0].update(file_name="y.png"), r"y\.png: no such file"),
    ],
)
def test_files_that_contradict_each_other(
    written: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = json.loads(written.read_text())
    change(content)
    written.write_text(json.dumps(content))
    with pytest.raises(SegueError, match=message) as caught:
        open_panoptic(written).read(31, (3, 4))
    assert caught.value.cure
    assert str(written.parent) in str(caught.value)


def test_maps_that_are_no_segment_maps(written: Path) -> None:
    file, place = open_panoptic(written), written.parent / "panoptic_val/x.png"
    with pytest.raises(DataError, match=r"x\.png: the panoptic map is 4x3, its picture 3x4; exchange"):
        file.read(31, (4, 3))
    save(np.zeros((3, 4), np.uint8), place)
    with pytest.raises(DataError, match=r"x\.png: one channel where panoptic RGB is expected; save"):
        file.read(31, (3, 4))
    place.write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"x\.png"):
        file.read(31, (3, 4))


def test_the_picture_of_a_map_is_read_as_the_map(tmp_path: Path) -> None:
    plane = torch.randint(0, 2**24, (50, 70), generator=torch.Generator().manual_seed(0))
    map_picture(plane).save(tmp_path / "x.png")
    assert torch.equal(read_ids(tmp_path / "x.png", (50, 70)), plane.int())


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ([], r"p\.json: there are no scenes to write"),
        ([scene(file=None)], "picture 0: a scene has no file name"),
        ([scene(file="a.jpg"), scene(file="a.tif")], r"two pictures would share a\.png"),
        (
            [scene(), replace(scene(file="y.jpg"), categories=Categories.from_names(["a", "b", "c"]))],
            "different classes",
        ),
        ([replace(scene(), panoptic=None, segments=None)], r"x\.jpg: no panoptic map"),
        ([scene(ids=IDS[1:], labels=LABELS[1:])], r"x\.jpg: number 258 is in the panoptic map"),
        ([scene(ids=[*IDS, 9], labels=[*LABELS, 0])], r"x\.jpg: segment 9 has no pixel"),
    ],
)
def test_scenes_that_cannot_be_written(tmp_path: Path, scenes: list[Scene], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_panoptic(enumerate(scenes), tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_other_tools_read_the_files_and_agree_on_the_quality(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(3)
    pairs = []
    for number in range(6):
        truth = torch.randint(0, 7, (4, 4), generator=chance).repeat_interleave(5, 0).repeat_interleave(5, 1).int()
        noise = torch.randint(0, 7, (20, 20), generator=chance).int()
        found = torch.where(torch.rand(20, 20, generator=chance) < 0.75, truth, noise)
        labels = torch.randint(0, 3, (7,), generator=chance)
        pairs.append([_numbered(plane, labels, f"{number}.jpg") for plane in (truth, found)])
    for name, side in (("truth", 0), ("found", 1)):
        write_panoptic(enumerate(pair[side] for pair in pairs), tmp_path / f"{name}.json")
    metric = PanopticQuality(CLASSES)
    for truth, found in pairs:
        metric.update(found, truth)
    other = PanopticEval(tmp_path / "truth.json", tmp_path / "found.json")
    other.evaluate()
    numbers, reference = metric.compute(), other.results()
    for end, group in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
        ours = [numbers[f"panoptic/{name}{end}"] for name in ("PQ", "SQ", "RQ")]
        assert ours == pytest.approx([reference[group][key] for key in ("pq", "sq", "rq")], abs=1e-12)
        assert 0.1 < ours[0] < 0.9


def _numbered(plane: Tensor, labels: Tensor, file: str) -> Scene:
    ids = plane[plane > 0].unique().long()
    segments = Segments(ids, labels[ids], crowd=ids == 5)
    return Scene((20, 20), CLASSES, Regions.empty(), panoptic=plane, segments=segments, file=file)


@pytest.mark.parametrize("name", ["coco_mini/annotations/panoptic_val.json", "panoptic_samples/panoptic_examples.json"])
def test_real_files_survive_a_round_trip(real_data: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    folder, _, rest = name.partition("/")
    file = open_panoptic(real_data(folder) / rest)
    scenes = []
    for number in list(file.maps)[::12]:
        plane, segments = file.read(number, size := image_size(file.maps[number]))
        scenes.append(
            Scene(size, file.categories, Regions.empty(), panoptic=plane, segments=segments, file=f"{number}.jpg")
        )
    write_panoptic(enumerate(scenes), tmp_path / "p.json")
    original = {entry["image_id"]: entry for entry in json.loads(file.path.read_text())["annotations"]}
    copied = json.loads((tmp_path / "p.json").read_text())["annotations"]
    for written, truth in zip(copied, scenes, strict=True):
        rows = [{k: v for k, v in row.items() if k != "isthing"} for row in written["segments_info"]]
        assert rows == original[int(Path(truth.file or "").stem)]["segments_info"]
        plane, _ = open_panoptic(tmp_path / "p.json").read(written["image_id"], truth.size)
        assert truth.panoptic is not None
        assert torch.equal(plane, truth.panoptic)
