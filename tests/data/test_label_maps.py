import json
import pickle

import numpy as np
import pytest
import torch
from label_files import (
    PALETTE,
    SIZE,
    assert_truth,
    codes,
    colours,
    make_plain,
    opened,
    photo,
    png,
    save,
    truth,
)
from PIL import Image

from segue.data.images import EXIF_ORIENTATION, read_stored
from segue.data.label_maps import ValueTable
from segue.data.published_classes import CAMVID, CITYSCAPES_IDS, VOC, voc_color
from segue.errors import DataError, ImageError


@pytest.mark.parametrize(
    ("depth", "row", "values"),
    [
        (1, b"\xa0", [1, 0, 1]),
        (2, b"\x1b", [0, 1, 2, 3]),
        (4, b"\x0f\x92", [0, 15, 9, 2]),
        (8, b"\x00\xff\x07", [0, 255, 7]),
        (16, b"\x01\x00\xff\xff", [256, 65535]),
    ],
)
def test_gray_pixels_of_any_depth_keep_their_numbers(tmp_path, depth, row, values):
    (tmp_path / "x.png").write_bytes(png([row, row], len(values), depth))
    assert read_stored(tmp_path / "x.png").tolist() == [values, values]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_palette_pixels_are_indices(tmp_path, suffix):
    labels = np.arange(54, dtype=np.uint8).reshape(SIZE)
    assert read_stored(save(labels, tmp_path / f"x.{suffix}", palette=True)).tolist() == labels.tolist()


def test_wide_integers_and_transparency(tmp_path):
    wide = np.array([[0, 70000]], dtype=np.int32)
    assert read_stored(save(wide, tmp_path / "i.tif")).tolist() == [[0, 70000]]
    Image.fromarray(np.array([[3, 4]], dtype=np.uint8)).convert("LA").save(tmp_path / "la.png")
    assert read_stored(tmp_path / "la.png").tolist() == [[3, 4]]
    Image.new("RGBA", (2, 1), (1, 2, 3, 0)).save(tmp_path / "rgba.png")
    assert read_stored(tmp_path / "rgba.png").tolist() == [[[1, 2, 3]] * 2]
    for mode in ("F", "CMYK"):
        Image.new(mode, (2, 2)).save(tmp_path / "f.tif")
        with pytest.raises(ImageError, match="are no labels"):
            read_stored(tmp_path / "f.tif")


def test_a_table_decodes_like_a_dict(tmp_path):
    rng = np.random.default_rng(4)
    meaning = {
        int(v): int(i) for v, i in zip(rng.choice(70000, 50, replace=False), rng.integers(-1, 30, 50), strict=True)
    }
    pixels = rng.choice(list(meaning), (40, 30)).astype(np.int32)
    found = ValueTable(meaning).decode(pixels, tmp_path, "")
    assert found.dtype == np.int16
    assert found.tolist() == [[meaning[value] for value in row] for row in pixels.tolist()]


def test_values_that_a_table_lacks_are_named_with_their_number(tmp_path):
    table = ValueTable({2: 0, 5: 1})
    pixels = np.array([[2, 5, 5, 0], [3, 3, 9, 2]], dtype=np.uint8)
    with pytest.raises(DataError, match=r"for value 0 \(1 pixels\), value 3 \(2 pixels\), value 9 \(1 pixels\); mend"):
        table.decode(pixels, tmp_path, "mend")
    with pytest.raises(DataError, match="and 15 other values"):
        ValueTable({}).decode(np.arange(20), tmp_path, "")


def test_readers_travel_to_loader_processes(tmp_path):
    dataset = opened(make_plain(tmp_path))
    assert_truth(pickle.loads(pickle.dumps(dataset)), truth(0), truth(1))


@pytest.mark.parametrize("maps", ["labels", "masks", "annotations"])
def test_a_folder_of_pictures_and_one_of_maps(tmp_path, maps):
    dataset = opened(make_plain(tmp_path, maps=maps))
    assert_truth(dataset, truth(0), truth(1))
    assert dataset.categories.names == ["sky", "road", "tree"]
    assert [category.id for category in dataset.categories] == [0, 1, 2]
    assert len({category.color for category in dataset.categories}) == 3
    assert len(dataset.regions(0)) == 0


def test_splits_as_folders(tmp_path, monkeypatch):
    make_plain(tmp_path / "mine", ("train/a", "val/b"))
    photo(tmp_path / "mine/images/test/c.png")
    assert_truth(opened(f"{tmp_path}/mine:val"), truth(1))
    assert opened(f"{tmp_path}/mine:test").semantic(0) is None
    with pytest.raises(DataError, match="several splits, and none was chosen; there is test, train, val"):
        opened(tmp_path / "mine")
    with pytest.raises(DataError, match="no split 'vol'; did you mean 'val'"):
        opened(f"{tmp_path}/mine:vol")
    monkeypatch.setenv("SEGUE_DATA", str(tmp_path))
    assert_truth(opened("mine"), truth(0))
    with pytest.raises(DataError, match="did you mean 'mine'"):
        opened("mime")


def test_splits_as_lists(tmp_path):
    make_plain(tmp_path, ("a", "b", "c c"))
    (tmp_path / "train.txt").write_text("b\nc c.png\n\n")
    (tmp_path / "val.txt").write_text("images/a.png labels/a.png\r\n")
    (tmp_path / "readme.txt").write_text("hello\n")
    assert_truth(opened(f"{tmp_path}:train"), truth(1), truth(2))
    assert_truth(opened(f"{tmp_path}:val"), truth(0))
    with pytest.raises(DataError, match=r"there is train, val;"):
        opened(tmp_path)


def test_a_list_cannot_name_files_elsewhere(tmp_path):
    make_plain(tmp_path / "set")
    photo(tmp_path / "secret.png")
    (tmp_path / "set/train.txt").write_text("../images/a.png\n/etc/passwd\n../../secret.png\n")
    with pytest.raises(DataError, match="no picture of this name: passwd, secret"):
        opened(f"{tmp_path}/set:train")


def test_links_out_of_a_folder_are_refused(tmp_path):
    make_plain(tmp_path / "set")
    photo(tmp_path / "secret.png")
    (tmp_path / "set/images/z.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"z\.png: a link that leads out"):
        opened(tmp_path / "set")


def test_segnet_layout_of_camvid(tmp_path):
    labels = truth(classes=11, size=(5, 7))
    for name in ("a", "b"):
        photo(tmp_path / f"train/{name}.png", (5, 7))
        save(codes(labels, list(range(11)), 11), tmp_path / f"trainannot/{name}.png")
    dataset = opened(f"{tmp_path}:train")
    assert_truth(dataset, labels, labels)
    assert dataset.categories.names[:2] == ["sky", "building"]
    assert dataset.categories[3].color == (128, 64, 128)
    (tmp_path / "train.txt").write_text("/SegNet/CamVid/train/b.png /SegNet/CamVid/trainannot/b.png\n")
    assert_truth(opened(f"{tmp_path}:train"), labels)


def test_pascal_voc(tmp_path):
    labels = truth(classes=21)
    photo(tmp_path / "JPEGImages/x.jpg")
    photo(tmp_path / "JPEGImages/y.jpg")
    save(codes(labels, list(range(21)), 255), tmp_path / "SegmentationClass/x.png", palette=True)
    save(colours(labels, [voc_color(i) for i in range(21)], (224, 224, 192)), tmp_path / "SegmentationClass/y.png")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("x\ny\n")
    dataset = opened(tmp_path)
    assert_truth(dataset, labels, labels)
    assert dataset.categories.names[15] == "person"
    assert dataset.categories[15].color == (192, 128, 128)


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, kind):
    labels = truth(classes=19)
    values = [row.value for row in CITYSCAPES_IDS.rows] if kind == "labelIds" else list(range(19))
    for city in ("aachen", "bonn"):
        photo(tmp_path / f"leftImg8bit/train/{city}/{city}_1_leftImg8bit.png")
        save(
            codes(labels, values, 4 if kind == "labelIds" else 255),
            tmp_path / f"gtFine/train/{city}/{city}_1_gtFine_{kind}.png",
        )
        save(labels.astype(np.uint8), tmp_path / f"gtFine/train/{city}/{city}_1_gtFine_instanceIds.png")
    dataset = opened(f"{tmp_path}:train")
    assert_truth(dataset, labels, labels)
    assert [dataset.categories.names[i] for i in (0, 11, 18)] == ["road", "person", "bicycle"]


def test_ade20k(tmp_path):
    labels = truth()
    photo(tmp_path / "images/training/x.jpg")
    save(codes(labels, [1, 2, 3], 0), tmp_path / "annotations/training/x.png")
    (tmp_path / "objectInfo150.csv").write_text("Idx,Name\n1,screen;door\n2,building;edifice\n3,screen;silver\n")
    for split in ("training", "train"):
        assert_truth(opened(f"{tmp_path}:{split}"), labels)
    assert opened(tmp_path).categories.names == ["screen, door", "building", "screen, silver"]


def test_coco_stuff_values_are_the_numbers_of_the_list_less_one(tmp_path):
    labels = truth()
    photo(tmp_path / "images/val2017/x.jpg")
    save(codes(labels, [0, 1, 181], 255), tmp_path / "stuffthingmaps/val2017/x.png")
    (tmp_path / "labels.txt").write_text("0: unlabeled\n1: person\n2: bicycle\n182: wood\n")
    dataset = opened(f"{tmp_path}:val2017")
    assert_truth(dataset, labels)
    assert dataset.categories.names == ["person", "bicycle", "wood"]


@pytest.mark.parametrize("write", ["labelmap.txt", "classes.json", "dataset_meta.json"])
def test_colours_where_the_class_list_has_them(tmp_path, write):
    photo(tmp_path / "images/x.png")
    save(colours(truth(), PALETTE, (0, 0, 0)), tmp_path / "masks/x.png")
    names = ["sky", "road", "tree", "void"]
    palette = [*PALETTE, (0, 0, 0)]
    lines = [
        "# label:color_rgb:parts:actions",
        *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in zip(names, palette, strict=True)),
    ]
    contents = {
        "labelmap.txt": "\n".join(lines),
        "classes.json": json.dumps({"names": names, "palette": palette}),
        "dataset_meta.json": json.dumps({"label_map": dict(enumerate(names)), "segmentation_colors": palette}),
    }
    (tmp_path / write).write_text(contents[write])
    dataset = opened(tmp_path)
    assert_truth(dataset, truth())
    assert [category.color for category in dataset.categories] == PALETTE
    save(np.full((*SIZE, 3), 7, np.uint8), tmp_path / "masks/x.png")
    with pytest.raises(DataError, match=r"x\.png: no class is known for colour 7,7,7 \(54 pixels\)"):
        dataset.semantic(0)


@pytest.mark.parametrize(
    ("values", "names", "void"),
    [
        ((0, 1), ["class_0", "class_1"], None),
        ((0, 255), ["class_0", "class_255"], None),
        ((3, 9, 255), ["class_3", "class_9"], 255),
    ],
)
def test_without_a_list_the_values_are_the_classes(tmp_path, values, names, void):
    for split, chosen in (("train", values[:1]), ("val", values)):  # the classes of a set, not of a split
        photo(tmp_path / f"images/{split}/x.png", (1, 3))
        save(np.resize(np.array(chosen, np.uint8), (1, 3)), tmp_path / f"labels/{split}/x.png")
    for split in ("train", "val"):
        assert opened(f"{tmp_path}:{split}").categories.names == names
    expected = [names.index(f"class_{v}") if v != void else -1 for v in np.resize(np.array(values), 3).tolist()]
    assert opened(f"{tmp_path}:val").semantic(0).tolist() == [expected]


def test_a_photo_turned_by_its_exif_matches_an_upright_map(tmp_path):
    make_plain(tmp_path, ("a",))
    (tmp_path / "images/a.png").unlink()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    Image.new("RGB", (SIZE[0], SIZE[1])).save(tmp_path / "images/a.jpg", exif=exif)
    assert_truth(opened(tmp_path), truth())


def test_pictures_may_be_elsewhere_or_missing(tmp_path):
    make_plain(tmp_path / "set")
    (tmp_path / "set/images").rename(tmp_path / "photos")
    (tmp_path / "set/images").mkdir()
    assert_truth(opened(tmp_path / "set", images=str(tmp_path / "photos")), truth(0), truth(1))
    dataset = opened(tmp_path / "set", need_images=False)
    assert torch.equal(dataset.semantic(1), torch.from_numpy(truth(1)))


def test_published_lists():
    assert [len(classes.rows) for classes in (VOC, CAMVID, CITYSCAPES_IDS)] == [21, 11, 19]
    assert [voc_color(i) for i in (1, 8, 20)] == [(128, 0, 0), (64, 0, 0), (0, 64, 128)]
    raw = sorted([row.value for row in CITYSCAPES_IDS.rows] + list(CITYSCAPES_IDS.void))
    assert raw == [*range(34), 255]
