import struct
import zlib

import numpy as np
import pytest
from label_files import SIZE, assert_truth, make_plain, opened, photo, png, save, truth

from segue.data.class_lists import read_class_list
from segue.data.dataset import check_dataset
from segue.errors import DataError, ImageError


def test_a_map_of_another_size(tmp_path):
    dataset = opened(make_plain(tmp_path))
    save(np.zeros((3, 4), np.uint8), tmp_path / "labels/b.png")
    with pytest.raises(DataError, match=r"b\.png: the label map is 4x3, its picture 9x6"):
        dataset.semantic(1)


def test_values_outside_the_classes(tmp_path):
    dataset = opened(make_plain(tmp_path))
    save(np.array([[0] * 9] * 5 + [[3] * 4 + [200] * 5], np.uint8), tmp_path / "labels/a.png")
    with pytest.raises(
        DataError, match=r"a\.png: no class is known for value 3 \(4 pixels\), value 200 \(5 pixels\); mend the map"
    ):
        dataset.semantic(0)


def test_rgb_where_numbers_are_expected(tmp_path):
    dataset = opened(make_plain(tmp_path))
    for name in ("a", "b"):
        photo(tmp_path / f"labels/{name}.png")
    with pytest.raises(DataError, match=r"a\.png: RGB where a map of class numbers is expected; save class numbers"):
        dataset.semantic(0)
    (tmp_path / "classes.json").unlink()
    with pytest.raises(DataError, match=r"a\.png: RGB where"):
        opened(tmp_path)


def test_broken_maps(tmp_path):
    dataset = opened(make_plain(tmp_path))
    for content in (b"", b"no picture", (tmp_path / "labels/b.png").read_bytes()[:50]):
        (tmp_path / "labels/a.png").write_bytes(content)
        with pytest.raises(ImageError, match=r"a\.png"):
            dataset.semantic(0)


def test_a_map_that_claims_to_be_huge_is_not_decoded(tmp_path):
    dataset = opened(make_plain(tmp_path))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "labels/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + png([b"\0"], 1, 8)[33:])
    with pytest.raises(ImageError, match="more than"):
        dataset.semantic(0)


def test_missing_pairs_are_named_and_counted(tmp_path):
    names = tuple(f"train/{i}" for i in range(6))
    make_plain(tmp_path, names)
    for i in range(4):
        (tmp_path / f"labels/train/{i}.png").unlink()
    with pytest.raises(DataError, match=r"there is no label map of this name: 0, 1, 2 and 1 more; .*segue data check"):
        opened(f"{tmp_path}:train")
    (tmp_path / "images/train/5.png").unlink()
    assert check_dataset(f"{tmp_path}:train").counts == {"map-missing": 4, "image-missing": 1}


def test_in_a_folder_without_splits_pictures_without_map_are_left_out(tmp_path):
    make_plain(tmp_path)
    photo(tmp_path / "images/aa.png")
    assert_truth(opened(tmp_path), truth(0), truth(1))
    report = check_dataset(str(tmp_path))
    assert not report.fatal
    assert report.counts == {"map-missing": 1}
    with pytest.raises(DataError, match="no split 'val', nor any other"):
        opened(f"{tmp_path}:val")


def test_empty_folders(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="no annotation file in this folder; expected"):
        opened(tmp_path)
    make_plain(tmp_path)
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(DataError, match="no pictures"):
        opened(f"{tmp_path}:train")
    assert check_dataset(f"{tmp_path}:train").counts["empty"] == 1


def test_a_map_without_any_class_is_fine(tmp_path):
    make_plain(tmp_path)
    save(np.full(SIZE, 7, np.uint8), tmp_path / "labels/a.png")
    assert opened(tmp_path).semantic(0).eq(-1).all()
    report = check_dataset(str(tmp_path))
    assert not report.fatal
    assert report.counts == {"map-unlabelled": 1}


def test_all_faults_at_once(tmp_path):
    make_plain(tmp_path, tuple("abcdefg"))
    photo(tmp_path / "labels/a.png")
    save(np.zeros((2, 2), np.uint8), tmp_path / "labels/b.png")
    save(np.full(SIZE, 9, np.uint8), tmp_path / "labels/c.png")
    (tmp_path / "labels/d.png").write_bytes(b"x")
    (tmp_path / "images/e.png").write_bytes(b"x")
    (tmp_path / "images/f.png").unlink()
    report = check_dataset(str(tmp_path))
    codes = ("map-colours", "map-size", "map-values", "map-unreadable", "image-unreadable", "image-missing")
    assert report.counts == dict.fromkeys(codes, 1)
    assert "fatal map-values: 1\n  c: no class is known for value 9 (54 pixels)" in report.to_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.json", "[]", "not an object"),
        ("classes.json", "{", "not JSON"),
        ("classes.json", '{"names": "sky"}', "'names' is no list"),
        ("classes.json", '{"names": []}', "0 classes"),
        ("classes.json", '{"names": ["a", "a"]}', "name a occurs more than once"),
        ("classes.json", '{"names": ["a", ""]}', "empty name"),
        ("classes.json", '{"names": ["a"], "ignore_index": "x"}', "'ignore_index' must be a whole number"),
        ("classes.json", '{"names": ["a"], "ignore_index": 1e30}', "'ignore_index' must be a whole number"),
        ("classes.json", '{"names": ["a"], "ignore_index": 99999999999999999999}', "numbers run from 0 to 9999"),
        ("classes.json", '{"names": ["a"], "palette": [[1, 2]]}', "is no colour"),
        ("classes.json", '{"names": ["a"], "palette": []}', "no list of 1 colours"),
        ("dataset_meta.json", '{"label_map": {"x": "a"}}', "no object from numbers to names"),
        ("dataset_meta.json", '{"label_map": {"99999999999999999999": "a"}}', "numbers run from"),
        ("labelmap.txt", "sky:1,2::", "is not name:red,green,blue"),
        ("labelmap.txt", "sky:1,2,300::", "is no colour"),
        ("objectInfo150.csv", "a,b\n1,2\n", "no Idx and Name"),
        ("classes.txt", "", "0 classes"),
        ("classes.txt", "1: a\n1: b\n", "id 1 occurs more than once"),
    ],
)
def test_class_lists_that_make_no_sense(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_class_list(tmp_path)


def test_a_class_list_that_is_no_text(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classes\.txt: not a text"):
        read_class_list(tmp_path)
