"""Sentences about regions and whole pictures: Visual Genome's files, alone and beside instances, and COCO's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from label_files import photo, write_json

from segue.data.dataset import check_dataset, open_dataset, statistics
from segue.data.records import Dataset
from segue.data.words import tokenise
from segue.errors import DataError
from segue.tasks.captions import parse

PARSERS = {"captions": parse}
SIZE = (60, 80)


def region(phrase: Any, *box: Any, **more: Any) -> dict[str, Any]:
    x, y, w, h = box or (10, 20, 30, 15)
    return {"region_id": 1, "image_id": 1, "x": x, "y": y, "width": w, "height": h, "phrase": phrase, **more}


def make(folder: Path, pictures: list[Any] | None = None) -> Path:
    """Three pictures in three folders, with the files that Visual Genome and DenseCap publish about them."""
    regions = [region("a red mug"), region("The grass is GREEN.", 0, 40, 80, 20)]
    pictures = pictures or [{"id": i, "regions": regions} for i in (31, 7, 2000)]
    write_json(folder / "region_descriptions.json", pictures)
    write_json(folder / "densecap_splits.json", {"train": [7, 31, 99], "val": [2000], "test": []})
    for name in ("VG_100K/31.jpg", "VG_100K_2/7.jpg", "images/2000.png"):
        photo(folder / name, SIZE)
    return folder


def told(*regions: Any) -> list[Any]:
    return [{"id": 7, "regions": [*regions]}]


def opened(folder: Path, split: str = "train", **options: Any) -> Dataset:
    return open_dataset(f"{folder}:{split}", PARSERS, **options)


def codes(reference: object) -> dict[str, int]:
    return check_dataset(str(reference)).counts


def test_regions_of_a_split(tmp_path: Path) -> None:
    dataset = opened(make(tmp_path))
    assert [(r.id, r.file.name, r.size) for r in dataset.records] == [(7, "7.jpg", SIZE), (31, "31.jpg", SIZE)]
    assert dataset.categories.names == ["object"]
    regions = dataset.regions(1)
    assert regions.boxes.tolist() == [[10, 20, 40, 35], [0, 40, 80, 60]]
    assert regions.captions == ["a red mug", "The grass is GREEN."]
    assert regions.labels.tolist() == [0, 0]
    assert dataset.image(0).shape == (3, *SIZE)
    assert [r.id for r in opened(tmp_path, "val").records] == [2000]
    assert "2 images, 4 regions, 1 classes" in statistics(dataset)


def test_splits_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'vale'; did you mean 'val'"):
        opened(make(tmp_path), "vale")
    with pytest.raises(DataError, match="several splits, and none was chosen"):
        open_dataset(str(tmp_path), PARSERS)
    with pytest.raises(DataError, match="no picture has a sentence"):
        opened(tmp_path, "test")
    (tmp_path / "densecap_splits.json").unlink()
    assert len(open_dataset(str(tmp_path), PARSERS)) == len(opened(tmp_path)) == 3
    assert len(open_dataset(str(tmp_path / "region_descriptions.json"), PARSERS)) == 3
    with pytest.raises(DataError, match=r"no split 'val', since there is no densecap_splits\.json"):
        opened(tmp_path, "val")


def test_sizes_come_from_the_list_or_else_from_the_picture(tmp_path: Path) -> None:
    make(tmp_path)
    write_json(tmp_path / "image_data.json", [{"image_id": 7, "width": 70, "height": 50}])
    assert [r.size for r in opened(tmp_path).records] == [(50, 70), SIZE]
    assert codes(f"{tmp_path}:train") == {"image-size": 1, "box-over-edge": 1}
    with pytest.raises(DataError, match="the picture is 80x60, its annotation says 70x50"):
        opened(tmp_path).image(0)
    (tmp_path / "VG_100K_2/7.jpg").unlink()
    with pytest.raises(DataError, match=r"picture 7: there is no 7\.jpg"):
        opened(tmp_path)
    assert opened(tmp_path, need_images=False).records[0].size == (50, 70)
    (tmp_path / "VG_100K/31.jpg").unlink()
    with pytest.raises(DataError, match=r"picture 31: there is no 31\.jpg"):
        opened(tmp_path, need_images=False)


def test_pictures_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / "set/VG_100K_2/7.jpg").unlink()
    photo(tmp_path / "there/VG_100K/7.jpg", (50, 90))
    photo(tmp_path / "there/31.jpg", (51, 80))
    sizes = [r.size for r in opened(tmp_path / "set", images=str(tmp_path / "there")).records]
    assert sizes == [(50, 90), (51, 80)]


def test_the_published_filters(tmp_path: Path) -> None:
    fifteen, sixteen = " ".join(["word"] * 15), " ".join(["word"] * 16)
    kept = [region(f"{fifteen} - !", 1, 1, 5, 5), region("it is a t-shirt", 1, 1, 5, 5), region("\u2603", 3, 3, 5, 5)]
    dropped = [region(text) for text in (sixteen, "long " * 300, "", " \n\t ", "...!?", "\u200f")]
    dataset = opened(make(tmp_path, told(*dropped, *kept)))
    assert dataset.regions(0).captions == [f"{fifteen} - !\nit is a t-shirt", "\u2603"]
    assert codes(f"{tmp_path}:train") == {"sentence-long": 2, "sentence-empty": 4}
    assert not check_dataset(f"{tmp_path}:train").fatal


def test_words_are_counted_without_punctuation() -> None:
    texts = ("", "-", "a - b", "(one) two.", "\U0001f600 \u05e9\u05dc\u05d5\u05dd")
    assert [len(tokenise(text)) for text in texts] == [0, 0, 2, 2, 2]


def test_boxes_are_cut_off_at_the_edge_or_left_out_beyond(tmp_path: Path) -> None:
    over = [region("over", -4, 50, 20, 100), region("by rounding", 60, 10, 21, 10)]
    out = [(80, 0, 9, 9), (-9, 0, 9, 9), (5, 5, 0, 9), (5, 5, 9, -3), (79.5, 5, 9, 9), (1e8, 1e8, 1e8, 1e8)]
    dataset = opened(make(tmp_path, told(*over, *(region("out", *box) for box in out))))
    assert dataset.regions(0).boxes.tolist() == [[0, 50, 16, 60], [60, 10, 80, 20]]
    assert codes(f"{tmp_path}:train") == {"box-over-edge": 1, "box-empty": 6}


def test_what_looks_like_code_stays_text(tmp_path: Path) -> None:
    texts = ["<script>alert(1)</script>", "\u202eright to left", "two\nlines", "\ud83d half a sign"]
    dataset = opened(make(tmp_path, told(*map(region, texts))))
    assert dataset.annotations[0][0]["captions"] == texts
    captions = dataset.regions(0).captions
    assert captions is not None
    assert captions[0].encode()
    assert captions[0].splitlines()[2] == "two lines"


NONSENSE: dict[str, Any] = {
    "nothing": ({}, "no list of pictures"),
    "a number": ([3], r"pictures\[0\]: no object with"),
    "no id": ([{"regions": []}], "'id'"),
    "a name for an id": ([{"id": "../7", "regions": []}], "'id'"),
    "no regions": ([{"id": 7}], "'regions'"),
    "twice": ([{"id": 7, "regions": []}] * 2, "picture 7 comes twice"),
    "a text for a region": (told("a mug"), r"picture 7, regions\[0\]: no object with a text 'phrase'"),
    "a list for a phrase": (told(region(["a mug"])), "'phrase'"),
    "no phrase": (told(region(None)), "'phrase'"),
    "a text for a side": (told(region("a mug", 1, 1, "5", 5)), "must be finite numbers"),
    "a side beyond everything": (told(region("a mug", 1, 1, 1e999, 5)), "must be finite numbers"),
    "NaN": (told(region("a mug", float("nan"), 1, 5, 5)), "must be finite numbers"),
    "no side": (told({"phrase": "a mug", "x": 1, "y": 2, "width": 3}), "must be finite numbers"),
    "nothing left": (told(region("")), "no picture has a sentence"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, words = NONSENSE[kind]
    make(tmp_path)
    write_json(tmp_path / "region_descriptions.json", content)
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert check_dataset(f"{tmp_path}:train").fatal


@pytest.mark.parametrize("content", [[], {"train": 3}, {"train": ["7"]}, {"train": [[7]]}])
def test_splits_that_make_no_sense(tmp_path: Path, content: object) -> None:
    write_json(make(tmp_path) / "densecap_splits.json", content)
    with pytest.raises(DataError, match=r"densecap_splits\.json"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [{}, [3], [{"image_id": 7, "width": 0, "height": 5}], [{"image_id": 7}]])
def test_sizes_that_make_no_sense(tmp_path: Path, content: object) -> None:
    write_json(make(tmp_path) / "image_data.json", content)
    with pytest.raises(DataError, match=r"image_data\.json"):
        opened(tmp_path)
    write_json(tmp_path / "image_data.json", [{"image_id": 7, "width": 10**9, "height": 10**9}])
    assert codes(f"{tmp_path}:train")["image-size"] == 1


def test_pictures_that_are_none_or_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    (folder / "VG_100K_2/7.jpg").write_bytes(b"not a picture")
    assert codes(f"{folder}:train") == {"image-unreadable": 1}
    with pytest.raises(DataError, match="picture 7: not a picture in a known format"):
        opened(folder)
    photo(tmp_path / "secret.jpg")
    (folder / "VG_100K_2/7.jpg").unlink()
    (folder / "VG_100K_2/7.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match="leads out of its folder"):
        opened(folder)


def instances(folder: Path) -> dict[str, Any]:
    """Two pictures with an object each, and sentences about them beside."""
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
    content = {
        "images": images,
        "categories": [{"id": 5, "name": "mug"}, {"id": 6, "name": "ball"}],
        "annotations": [
            {"id": 100, "image_id": 1, "category_id": 6, "bbox": [10.0, 20.0, 30.0, 15.0]},
            {"id": 101, "image_id": 1, "category_id": 5, "bbox": [1.7, 2.2, 9.4, 8.8]},
            {"id": 200, "image_id": 2, "category_id": 5, "bbox": [10, 20, 30, 15]},
        ],
    }
    mug = region("a mug", 1, 2, 10, 9)  # from 1.7, 2.2 to 11.1, 11.0, each rounded down
    sentences = [{"id": 1, "regions": [region("a ball"), region("it is round"), mug]}]
    write_json(folder / "instances_val.json", content)
    write_json(folder / "visual_genome_val.json", sentences)
    for i in (1, 2):
        photo(folder / f"{i}.png", SIZE)
    return content


def test_sentences_come_to_the_object_with_their_box(tmp_path: Path) -> None:
    instances(tmp_path)
    dataset = opened(tmp_path, "val")
    assert dataset.regions(0).captions == ["a ball\nit is round", "a mug"]
    assert dataset.regions(0).labels.tolist() == [1, 0]
    assert dataset.regions(1).captions == [""]
    assert dataset.categories.names == ["mug", "ball"]
    (tmp_path / "visual_genome_val.json").write_text("broken")
    assert "captions" not in open_dataset(f"{tmp_path}:val", {}).annotations[0][0]
    with pytest.raises(DataError, match=r"visual_genome_val\.json: not JSON"):
        opened(tmp_path, "val")


def test_sentences_of_the_instances_themselves_stay(tmp_path: Path) -> None:
    content = instances(tmp_path)
    content["annotations"][1]["caption"] = "its own"
    write_json(tmp_path / "instances_val.json", content)
    assert opened(tmp_path, "val").regions(0).captions == ["", "its own"]


def test_sentences_about_no_object_are_left_out_unless_they_are_most(tmp_path: Path) -> None:
    instances(tmp_path)
    path = tmp_path / "visual_genome_val.json"
    content = json.loads(path.read_text())
    content[0]["regions"].append(region("the sky", 0, 0, 80, 9))
    content.append({"id": 3, "regions": [region("of another picture"), region("and one more")]})
    write_json(path, content)
    assert opened(tmp_path, "val").regions(0).captions == ["a ball\nit is round", "a mug"]
    assert codes(path) == {"box-unknown": 3}
    content[1]["regions"].append(region("the last straw"))
    write_json(path, content)
    with pytest.raises(DataError, match=r"only 3 of 7 sentences are about the box of an object in"):
        opened(tmp_path, "val")
    assert check_dataset(str(path)).fatal


def test_sentences_about_pictures_without_objects_are_left_out(tmp_path: Path) -> None:
    content = instances(tmp_path)
    content["annotations"] = content["annotations"][2:]  # of the picture without sentences
    write_json(tmp_path / "instances_val.json", content)
    assert [opened(tmp_path, "val").regions(i).captions for i in (0, 1)] == [[], [""]]
    assert codes(tmp_path / "visual_genome_val.json") == {"box-unknown": 3}


def test_sentences_beside_instances_by_themselves(tmp_path: Path) -> None:
    instances(tmp_path)
    dataset = opened(tmp_path, "visual_genome_val")
    assert [record.file.name for record in dataset.records] == ["1.png"]  # the other has no sentence
    assert dataset.categories.names == ["object"]
    assert dataset.regions(0).boxes.tolist() == [[10, 20, 40, 35], [1, 2, 11, 11]]
    assert dataset.regions(0).captions == ["a ball\nit is round", "a mug"]


def captions(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (8, 3, 5)]
    said = [(3, "One mug."), (8, "<b>a mug</b>"), (3, "Two \U0001f600"), (8, " "), (8, "far too " * 150), (5, "...")]
    rows: list[Any] = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(said)]
    content: dict[str, Any] = {"images": images, "annotations": rows}
    change(content)
    write_json(folder / "annotations/captions_val.json", content)
    for i in (8, 3, 5):
        photo(folder / f"images/{i}.png", SIZE)
    return folder / "annotations/captions_val.json"


def test_captions_are_about_the_whole_picture(tmp_path: Path) -> None:
    path = captions(tmp_path)
    for reference in (f"{tmp_path}:val", str(tmp_path), str(path)):
        dataset = open_dataset(reference, PARSERS)
        assert [record.id for record in dataset.records] == [3, 8]
        assert [dataset.regions(i).captions for i in (0, 1)] == [["One mug.\nTwo \U0001f600"], ["<b>a mug</b>"]]
        assert dataset.regions(0).boxes.tolist() == [[0, 0, 80, 60]]
        assert dataset.categories.names == ["image"]
    assert codes(path) == {"sentence-empty": 2, "sentence-long": 1, "no-sentence": 1}


def test_captions_beside_instances_need_their_name(tmp_path: Path) -> None:
    captions(tmp_path)
    instances(tmp_path / "annotations")
    (tmp_path / "annotations/visual_genome_val.json").unlink()
    assert open_dataset(f"{tmp_path}:captions_val", PARSERS).categories.names == ["image"]
    assert opened(tmp_path, "val").categories.names == ["mug", "ball"]
    assert open_dataset(str(tmp_path), PARSERS).categories.names == ["mug", "ball"]


CAPTION_FAULTS: dict[str, Any] = {
    "no list of sentences": (lambda c: c.update(annotations={}), "no object with images and annotations"),
    "no pictures": (lambda c: c.pop("images"), "'images' is missing"),
    "a picture without size": (lambda c: c["images"][0].pop("width"), "has no 'width'"),
    "a picture without area": (lambda c: c["images"][0].update(width=0), "0x60 is no size"),
    "an id twice": (lambda c: c["images"][0].update(id=3), "have id 3"),
    "a picture outside": (lambda c: c["images"][0].update(file_name="../../x.png"), "leads out of"),
    "a picture that is not there": (lambda c: c["images"][0].update(file_name="x.png"), "there is no"),
    "a number for a sentence": (lambda c: c["annotations"][0].update(caption=3), "a text 'caption'"),
    "a text for an annotation": (lambda c: c["annotations"].append("mug"), "a text 'caption'"),
    "a sentence about no picture": (lambda c: c["annotations"][0].update(image_id=77), "there is no image 77"),
}


@pytest.mark.parametrize("kind", CAPTION_FAULTS)
def test_nonsense_in_captions_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    change, words = CAPTION_FAULTS[kind]
    path = captions(tmp_path, change)
    with pytest.raises(DataError, match=words) as caught:
        open_dataset(str(path), PARSERS)
    assert "\n" not in str(caught.value)
    assert check_dataset(str(path)).fatal


def test_a_picture_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    path = captions(tmp_path / "set", CAPTION_FAULTS["a picture outside"][0])
    (tmp_path / "x.png").write_bytes(b"a secret")
    assert codes(path).keys() & {"path-outside", "image-unreadable"} == {"path-outside"}


def test_captions_of_real_photos(real_data: Callable[[str], Path]) -> None:
    dataset = open_dataset(f"{real_data('coco_mini')}:captions_train", PARSERS)
    texts = [text for i in range(len(dataset)) for text in dataset.regions(i).captions or ()]
    assert len(dataset) == len(texts) == 80
    assert {len(text.splitlines()) for text in texts} == {5}
    assert dataset.image(0).shape[1:] == dataset.records[0].size
