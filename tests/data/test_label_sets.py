import numpy as np
import pytest
import torch
from label_files import SIZE, make_plain, opened, photo, save, write_json
from PIL import Image

from segue.data.dataset import class_frequencies, statistics
from segue.data.published_classes import CAMVID
from segue.engine.datasets import show
from segue.errors import DataError


def test_frequencies_of_two_small_maps(tmp_path):
    write_json(tmp_path / "classes.json", {"names": ["a", "b", "never"], "ignore_index": 7})
    for name, row in (("x", [0, 0, 0, 7]), ("y", [0, 1, 1, 1, 7, 7, 7, 7])):
        photo(tmp_path / f"images/{name}.png", (1, len(row)))
        save(np.array([row], np.uint8), tmp_path / f"labels/{name}.png")
    frequencies = class_frequencies(opened(tmp_path))
    assert frequencies.dtype == torch.float64
    assert frequencies.tolist() == pytest.approx([4 / 12, 3 / 8, 0])


def test_frequencies_need_label_maps(tmp_path):
    make_plain(tmp_path, ("train/a",))
    photo(tmp_path / "images/test/b.png")
    with pytest.raises(DataError, match="no label maps"):
        class_frequencies(opened(f"{tmp_path}:test"))
    assert "no label maps" in statistics(opened(f"{tmp_path}:test"))


def test_statistics_name_shares(tmp_path):
    write_json(tmp_path / "classes.json", {"names": ["sky", "road"], "ignore_index": 7})
    photo(tmp_path / "images/x.png", (1, 8))
    save(np.array([[0, 0, 0, 0, 0, 1, 7, 7]], np.uint8), tmp_path / "labels/x.png")
    text = statistics(opened(tmp_path))
    assert "1 images, 1 label maps, 2 classes" in text
    assert "unlabelled        25.000%" in text
    assert "    sky   62.500%\n    road  12.500%" in text


def test_show_writes_a_sheet(tmp_path):
    make_plain(tmp_path / "set")
    show(str(tmp_path / "set"), None, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > SIZE[1]


SEGNET_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)


def test_camvid(real_data):
    real_data("camvid")
    train, val, test = (opened(f"camvid:{split}") for split in ("train", "val", "test"))
    assert [len(dataset) for dataset in (train, val, test)] == [367, 101, 233]
    assert train.categories.names == [row.name for row in CAMVID.rows]
    assert [category.color for category in train.categories] == [row.color for row in CAMVID.rows]
    assert test.semantic(0) is None
    assert train.scene(0).semantic.shape == (360, 480)
    assert train.records[0].file.name == "0001TP_006690.jpg"


def test_median_frequencies_of_camvid_are_those_of_segnet(real_data):
    """Up to a common factor and 10 %: the published weights were not made from just these maps.

    Signs are left out, which the published weights take for 2.7 times as rare as they are here.
    """
    real_data("camvid")
    frequencies = class_frequencies(opened("camvid:train"))
    ratio = (torch.tensor(SEGNET_WEIGHTS) * frequencies).log()
    others = torch.arange(11) != 6
    assert (ratio - ratio[others].mean())[others].abs().max() < 0.1
    assert ratio[6] - ratio[others].mean() == pytest.approx(np.log(2.74), abs=0.1)


def test_membranes_without_class_list(real_data):
    real_data("isbi2012_em")
    dataset = opened("isbi2012_em")
    assert len(dataset) == 24  # of 30 pictures
    assert dataset.categories.names == ["class_0", "class_1"]
    assert 0.7 < dataset.semantic(0).float().mean() < 0.85  # cells, the rest membrane


def test_ade20k_sample(real_data):
    real_data("ade20k_sample")
    dataset = opened("ade20k_sample")
    assert (len(dataset), len(dataset.categories)) == (3, 150)
    assert dataset.categories.names[:3] == ["wall", "building", "sky"]
    assert dataset.semantic(0).min() == -1


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("camvid_dataset:train", {"bicyclist", "road"}),
        ("common_semantic_segmentation_dataset/dataset", {"Bicyclist", "Road"}),
        ("voc_dataset/voc_dataset1:train", {"bicycle"}),
    ],
)
def test_sets_in_colours(real_data, reference, expected):
    dataset = opened(real_data("annotation_formats") / "datumaro_assets" / reference)
    labels = dataset.semantic(0)
    assert labels.min() >= 0
    assert {dataset.categories.names[i] for i in labels.unique()} == expected


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("cityscapes_dataset/train_dataset:train", r"labelTrainIds\.png: no class is known for value 19 \(4 pixels\)"),
        ("camvid_dataset:val", r"no class is known for colour 64,128,64"),
        ("coco_dataset/coco_panoptic:train", r"a\.png: the label map is 5x5, its picture 10x5"),
    ],
)
def test_sets_with_faults(real_data, reference, message):
    dataset = opened(real_data("annotation_formats") / "datumaro_assets" / reference)
    with pytest.raises(DataError, match=message):
        dataset.semantic(0)
