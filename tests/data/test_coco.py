import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.coco import categories_from_coco, read_coco, write_coco
from segue.data.dataset import locate, open_dataset, statistics
from segue.data.layout import contained
from segue.data.rle import decode_segmentations
from segue.errors import DataError, ImageError
from segue.structures import Categories, Masks, Regions, Scene


def parse_masks(annotations, size):
    if not annotations or not all("segmentation" in a for a in annotations):
        return None
    return decode_segmentations([a["segmentation"] for a in annotations], size, "masks")


PARSERS = {"masks": parse_masks}


def make_scenes(seed: int = 0, names: tuple[str, ...] = ("a.png", "b.png")) -> list[Scene]:
    generator = torch.Generator().manual_seed(seed)
    categories = Categories.from_names(["date", "fig", "nut"])
    scenes = []
    for i, name in enumerate(names):
        size = (20 + i, 30)
        masks = Masks.from_dense(torch.rand(4, *size, generator=generator) < 0.1)
        labels = torch.randint(0, 3, (4,), generator=generator)
        regions = Regions(masks.boxes.float(), labels, masks=masks, crowd=torch.tensor([False, True, False, False]))
        scenes.append(Scene(size, categories, regions, file=name))
    return scenes


def make_set(folder: Path, name: str = "instances_train.json", images: str = "") -> Path:
    scenes = make_scenes()
    (folder / images).mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        Image.fromarray(np.full((*scene.size, 3), 90, np.uint8)).save(folder / images / str(scene.file))
    write_coco(scenes, folder / name)
    return folder / name


def test_what_is_written_is_read(tmp_path):
    dataset = read_coco(make_set(tmp_path), PARSERS)
    assert dataset.categories.names == ["date", "fig", "nut"]
    assert len(dataset) == 2
    for index, expected in enumerate(make_scenes()):
        scene = dataset.scene(index)
        assert scene.size == expected.size
        assert scene.file == str(tmp_path / str(expected.file))
        for name in ("boxes", "labels", "crowd"):
            assert torch.equal(getattr(scene.regions, name), getattr(expected.regions, name)), name
        assert torch.equal(scene.regions.masks.dense(), expected.regions.masks.dense())
        assert torch.equal(scene.regions.areas, expected.regions.masks.area.float())
        assert dataset.image(index).shape == (3, *expected.size)


def test_boxes_only(tmp_path):
    path = make_set(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"], annotation["area"]
    content["annotations"][0]["bbox"] = [1.5, 2, 3.25, 4]
    path.write_text(json.dumps(content))
    regions = read_coco(path, PARSERS).regions(0)
    assert regions.masks is None
    assert regions.areas is None
    assert regions.boxes[0].tolist() == [1.5, 2, 4.75, 6]


def test_a_picture_without_annotation(tmp_path):
    path = make_set(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == 2]
    path.write_text(json.dumps(content))
    dataset = read_coco(path, PARSERS)
    assert len(dataset.regions(0)) == 0
    assert dataset.regions(0).boxes.shape == (0, 4)
    assert len(dataset.regions(1)) == 4
    assert "1 images without any" in statistics(dataset)


def test_categories_follow_the_ids_and_know_left_from_right():
    rows = [
        {"id": 9, "name": "dog"},
        {
            "id": 2,
            "name": "person",
            "keypoints": ["nose", "left_eye", "right_eye"],
            "skeleton": [[1, 2], [1, 3]],
        },
    ]
    person, dog = categories_from_coco(rows)
    assert (person.name, person.id, dog.name, dog.id) == ("person", 2, "dog", 9)
    assert person.skeleton == ((0, 1), (0, 2))
    assert person.flip_pairs == ((1, 2),)
    assert person.color != dog.color


def test_other_keys_of_a_picture_are_kept(tmp_path):
    path = make_set(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0]["kind"] = "fluorescence"
    path.write_text(json.dumps(content))
    assert read_coco(path, {}).records[0].info == {"kind": "fluorescence"}


def test_a_fault_of_a_parser_names_the_picture(tmp_path):
    def refuse(annotations, size):
        raise DataError("no good", where="annotation 3", cure="mend it")

    dataset = read_coco(make_set(tmp_path), {"masks": refuse})
    with pytest.raises(DataError, match=r"b\.png, annotation 3: no good; mend it"):
        dataset.regions(1)


def test_pictures_of_another_size_or_damaged_are_refused_when_read(tmp_path):
    dataset = read_coco(make_set(tmp_path), {})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"a\.png: the picture is 8x8, its annotation says 30x20"):
        dataset.image(0)
    with pytest.raises(ImageError, match=r"b\.png"):
        dataset.image(1)


def test_scenes_of_different_categories_or_without_file_are_not_written(tmp_path):
    first, second = make_scenes()
    other = Scene(second.size, Categories.from_names(["x", "y", "z"]), second.regions, file="b.png")
    nameless = Scene(second.size, second.categories, second.regions)
    for bad in (other, nameless):
        with pytest.raises(DataError):
            write_coco([first, bad], tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("json_at", "images_at"),
    [
        ("instances_train.json", ""),
        ("instances_train.json", "images"),
        ("instances_train.json", "images/train"),
        ("annotations/instances_train.json", "images"),
        ("annotations/instances_train.json", "images/train"),
        ("annotations/instances_train.json", "train"),
        ("annotations/instances_train.json", "annotations"),
    ],
)
def test_the_picture_folder_is_found(tmp_path, json_at, images_at):
    make_set(tmp_path, json_at, images_at)
    for reference in (str(tmp_path), f"{tmp_path}:train", str(tmp_path / json_at)):
        assert open_dataset(reference, {}).image(0).shape == (3, 20, 30), reference


def test_pictures_elsewhere_need_their_folder_named(tmp_path):
    path = make_set(tmp_path, "instances_train.json", "far/away")
    with pytest.raises(DataError, match=r"a\.png.*--images"):
        open_dataset(str(path), {})
    assert len(open_dataset(str(path), {}, str(tmp_path / "far/away"))) == 2
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(str(path), {}, str(tmp_path / "nowhere"))


def test_names_below_the_data_folder(tmp_path, monkeypatch):
    make_set(tmp_path / "fruits", "instances_train.json")
    make_set(tmp_path / "fruits", "instances_val.json")
    monkeypatch.setenv("SEGUE_DATA", str(tmp_path))
    assert locate("fruits")[0] == tmp_path / "fruits/instances_train.json"
    assert locate("fruits:val")[0] == tmp_path / "fruits/instances_val.json"
    for wrong, expected in {
        "fruts": "did you mean 'fruits'",
        "fruits:vall": "did you mean 'val'",
        "fruits:test": "there is train, val",
        str(tmp_path / "fruits"): "there is train, val",
        "nothing.json": "no such file",
        "": "no data set",
        str(tmp_path): "no annotation file",
    }.items():
        with pytest.raises(DataError, match=expected):
            locate(wrong)
    monkeypatch.delenv("SEGUE_DATA")
    with pytest.raises(DataError, match="set SEGUE_DATA"):
        locate("fruits")
    monkeypatch.setenv("SEGUE_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="SEGUE_DATA names no folder"):
        locate("fruits")


def test_files_are_kept_inside_their_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.png").touch()
    (tmp_path / "images2").mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "x.png")
    for name in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "a/../../secret.png",
        "../images2/x",
        "\0",
        "",
    ):
        assert contained(folder, name) is None, name
    assert contained(folder, "inner.png") == folder / "x.png"
    (tmp_path / "alias").symlink_to(folder)
    assert contained(tmp_path / "alias", "x.png") == folder / "x.png"


@pytest.mark.parametrize(
    ("reference", "images", "regions"),
    [("dsb2018:val", 66, 2957), ("fruits_nuts:train", 14, 134), ("coco_mini:val", 41, 355)],
)
def test_real_sets(reference, images, regions):
    name = reference.partition(":")[0]
    if not (Path(os.environ.get("SEGUE_DATA", "/nonexistent")) / name).is_dir():
        pytest.skip(f"SEGUE_DATA has no {name}")
    dataset = open_dataset(reference, PARSERS)
    assert len(dataset) == images
    found = [dataset.regions(i) for i in range(len(dataset))]
    assert sum(map(len, found)) == regions
    for entry in found:
        assert isinstance(entry.masks, Masks)
        off = (entry.masks.boxes - entry.boxes).abs().amax(1)
        whole = (entry.masks.area > 0) & (off < 3)
        assert whole.float().mean() > 0.8, "masks lie where the boxes say"
    assert dataset.image(0).shape[1:] == dataset.records[0].size
