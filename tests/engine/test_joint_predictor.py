"""Boxes, masks, keypoints and panoptic maps from one network, from a model file to files and scores."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import segue
from segue.data.dataset import open_dataset
from segue.data.images import read_image, to_pil
from segue.data.panoptic import read_ids
from segue.data.records import Dataset
from segue.data.toybox.write import Order, write_toybox
from segue.engine.blend import fade, spans
from segue.engine.evaluate import evaluate
from segue.engine.load import load
from segue.engine.picture import class_map, overlay
from segue.engine.recipe import check_network, to_plain
from segue.engine.region_predictor import RegionPredictor
from segue.errors import DataError, RecipeError
from segue.models.region_network import RegionNetwork, things_of
from segue.models.weights import ModelFile, write_model
from segue.ops.panoptic import MergeLimits, merge_panoptic
from segue.structures import Categories, Regions, Scene, Segments
from segue.tasks import all_tasks, tasks_named

LOW = 0.08
"""Below most scores of the random network, which knows 14 classes with background."""

NETWORK: dict[str, Any] = {
    "backbone": {"depth": 18, "width": 8},
    "pyramid": {"channels": 16},
    "proposals": {"sizes": [16, 32, 64, 128, 256], "pre_nms": 32, "post_nms": 32},
    "tasks": {
        "boxes": {"channels": 16, "detections": 12, "score": 0.0},
        "masks": {"channels": 8, "convolutions": 1},
        "keypoints": {"channels": 8, "convolutions": 1},
        "semantic": {"channels": 8},
        "panoptic": {"score": LOW, "overlap": 0.8, "stuff_area": 20},
    },
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys") / "set"
    write_toybox(folder, Order(train=0, val=3, size=96, seed=3))
    return folder


@pytest.fixture(scope="module")
def dataset(toys: Path) -> Dataset:
    return open_dataset(f"{toys}:val", {task.name: task.parse for task in all_tasks()}, panoptic=True)


@pytest.fixture(scope="module")
def photos(toys: Path) -> list[Path]:
    return sorted((toys / "images" / "val").iterdir())


@pytest.fixture(scope="module")
def file(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint model with random weights, with maps and masks of some shape."""
    tasks = tasks_named(list(NETWORK["tasks"]))
    settings = check_network(NETWORK, tasks, "the test")
    torch.manual_seed(2)
    network = RegionNetwork(settings, dataset.categories, tasks)
    for head in (network.heads["masks"], network.pixel_heads["semantic"]):
        torch.nn.init.normal_(head.logits.weight, std=0.6)
    path = tmp_path_factory.mktemp("joint") / "joint.safetensors"
    write_model(path, ModelFile("joint", to_plain(settings), dataset.categories.to_json(), None, network.state_dict()))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> RegionPredictor:
    predictor = load(file, "cpu")
    assert isinstance(predictor, RegionPredictor)
    return predictor


def assert_same(a: Scene, b: Scene) -> None:
    """Equal but for rounding."""
    assert a.size == b.size
    torch.testing.assert_close(a.regions.scores, b.regions.scores, atol=1e-5, rtol=0)
    assert torch.equal(a.regions.labels, b.regions.labels)
    for name in ("boxes", "keypoints"):
        torch.testing.assert_close(a.regions.field(name), b.regions.field(name), atol=1e-3, rtol=0)
    torch.testing.assert_close(a.confidence, b.confidence, atol=1e-4, rtol=0)
    for one, two in ((a.semantic, b.semantic), (a.panoptic, b.panoptic)):
        assert one is not None
        assert two is not None
        assert float((one != two).float().mean()) < 1e-3
    assert a.segments is not None
    assert b.segments is not None
    assert torch.equal(a.segments.labels, b.segments.labels)


def test_one_pass_fills_everything(model: RegionPredictor, photos: list[Path]) -> None:
    scene = model.predict(photos[0], LOW)
    regions = scene.regions
    assert [task.name for task in model.tasks] == ["semantic", "panoptic", "boxes", "masks", "keypoints"]
    assert 0 < len(regions) <= 12
    assert regions.masks.size == scene.size == (96, 96)
    assert regions.keypoints.shape == (len(regions), 17, 3)
    assert int(regions.labels.max()) < len(things_of(model.categories)) == 13
    assert scene.semantic.dtype == torch.int16
    assert scene.panoptic.dtype == torch.int32
    assert len(scene.semantic.unique()) > 2
    assert bool((scene.confidence > 1 / 20).all())
    assert bool((scene.confidence <= 1).all())
    kinds = {model.categories[label].isthing for label in scene.segments.labels.tolist()}
    assert kinds == {True, False}  # else the tests below would say little


def test_the_panoptic_map_is_made_of_instances_and_stuff(model: RegionPredictor, photos: list[Path]) -> None:
    scene = model.predict(photos[1], LOW)
    segments = scene.segments
    for number, label, score in zip(
        *(v.tolist() for v in (segments.ids, segments.labels, segments.scores)), strict=True
    ):
        here = scene.panoptic == number
        if model.categories[label].isthing:
            row = int((scene.regions.scores == score).nonzero()[0])
            assert int(scene.regions.labels[row]) == label
            assert not bool((here & ~scene.regions.masks.dense()[row]).any())
        else:
            assert bool((scene.semantic[here] == label).all())
            assert score == pytest.approx(float(scene.confidence[here].mean()), abs=1e-5)


def test_the_semantic_map_is_that_of_the_branch(model: RegionPredictor, photos: list[Path]) -> None:
    """Whatever was found, and in whatever batch."""
    pixels = read_image(photos[0])
    scene, bare = model.predict(pixels, LOW), model.predict(pixels, 1.0)
    assert torch.equal(scene.semantic, bare.semantic)
    assert len(bare.regions) == 0
    assert {model.categories[label].isthing for label in bare.segments.labels.tolist()} == {False}


def test_a_batch_changes_nothing(model: RegionPredictor, photos: list[Path]) -> None:
    alone = [model.predict(photo, LOW) for photo in photos]
    for one, two in zip(alone, model.predict(photos, LOW, batch=3), strict=True):
        assert_same(one, two)
    assert not torch.equal(alone[0].semantic, alone[1].semantic)


@pytest.mark.parametrize("size", [(1, 1), (20, 31), (1, 300), (97, 33)])
def test_any_size(model: RegionPredictor, size: tuple[int, int]) -> None:
    scene = model.predict(np.full((*size, 3), 90, np.uint8), LOW)
    assert scene.semantic.shape == scene.panoptic.shape == scene.confidence.shape == size


def test_resize_gives_maps_of_the_original(model: RegionPredictor, photos: list[Path]) -> None:
    resized = RegionPredictor("half", model.network, model.categories, model.tasks, resize=(64, 128))
    scene = resized.predict(photos[0], LOW)
    assert scene.semantic.shape == scene.panoptic.shape == scene.regions.masks.size == (96, 96)
    assert_same(resized.tiled(read_image(photos[0]), 96, LOW), scene)


def test_only_what_is_asked_for_and_what_that_needs(model: RegionPredictor, photos: list[Path]) -> None:
    whole = model.predict(photos[0], LOW)
    panoptic = model.only(["panoptic"])
    assert [task.name for task in panoptic.tasks] == ["semantic", "panoptic", "boxes", "masks"]
    scene = panoptic.predict(photos[0], LOW)
    assert torch.equal(scene.panoptic, whole.panoptic)
    assert scene.regions.keypoints is None
    boxes = model.only(["boxes"]).predict(photos[0], LOW)
    assert boxes.semantic is boxes.confidence is boxes.panoptic is boxes.segments is None
    assert set(boxes.regions.fields()) == {"boxes", "labels", "scores"}
    assert torch.equal(boxes.regions.boxes, whole.regions.boxes)
    semantic = model.only(["semantic"]).predict(photos[0], LOW)
    assert torch.equal(semantic.semantic, whole.semantic)
    assert semantic.panoptic is semantic.regions.masks is None


def test_files_of_predict(
    model: RegionPredictor, file: Path, photos: list[Path], run: Callable[..., str], tmp_path: Path
) -> None:
    run("predict", *photos, "--model", file, "--out", tmp_path, "--threshold", LOW, "--device", "cpu", "--batch", 2)
    content = json.loads((tmp_path / "scenes.json").read_text())
    assert [Path(entry["file"]).name for entry in content["scenes"]] == [photo.name for photo in photos]
    names = {category.name: category for category in model.categories}
    for entry, photo in zip(content["scenes"], photos, strict=True):
        scene = model.predict(photo, LOW)
        assert set(entry) == {
            "file", "width", "height", "regions", "semantic", "confidence", "panoptic", "overlay",
        }  # fmt: skip
        assert set(entry["panoptic"]) == {"file", "segments_info"}
        ids = read_ids(tmp_path / entry["panoptic"]["file"], (96, 96))
        assert float((ids != scene.panoptic).float().mean()) < 1e-3
        rows = entry["panoptic"]["segments_info"]
        assert sum(row["area"] for row in rows) == int((ids > 0).sum())
        for row in rows:
            assert set(row) == {"id", "label", "isthing", "area", "score"}
            assert row["area"] == int((ids == row["id"]).sum())
            assert row["isthing"] is names[row["label"]].isthing
            assert 0 < row["score"] <= 1
        with Image.open(tmp_path / entry["semantic"]) as labels:
            table = np.array([category.id for category in model.categories])
            assert (np.asarray(labels) != table[scene.semantic.numpy()]).mean() < 1e-3
        with Image.open(tmp_path / entry["overlay"]) as picture:
            assert picture.width > 96  # with a legend


def test_save_and_draw(model: RegionPredictor, photos: list[Path], tmp_path: Path) -> None:
    scene = model.predict(photos[0], LOW)
    scene.save(tmp_path)
    stem = photos[0].stem
    names = {f"{stem}.{end}" for end in ("png", "semantic.png", "confidence.png", "panoptic.png")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"scenes.json"}
    assert torch.equal(read_ids(tmp_path / f"{stem}.panoptic.png", scene.size), scene.panoptic)
    drawn = np.asarray(segue.draw(scene, photos[0]))
    assert drawn.shape == (96, 96, 3)
    with Image.open(photos[0]) as plain:
        assert not np.array_equal(drawn, np.asarray(plain.convert("RGB")))
    assert all(word in repr(scene) for word in ("96x96", f"{len(scene.regions)} regions", "%"))


def test_evaluate_scores_every_task(model: RegionPredictor, dataset: Dataset) -> None:
    numbers = evaluate(model, dataset, progress=False).numbers
    for name in ("boxes/AP", "masks/AP", "keypoints/AP", "semantic/mIoU", "panoptic/PQ", "panoptic/SQ", "panoptic/RQ"):
        assert name in numbers
    scores = {name: value for name, value in numbers.items() if name not in ("images", "seconds")}
    assert all(math.isnan(value) or 0 <= value <= 1 for value in scores.values()), scores
    assert not any(math.isnan(numbers[name]) for name in ("boxes/AP", "masks/AP", "semantic/mIoU", "panoptic/PQ"))


class Knower(RegionPredictor):
    """Says what is annotated."""

    truth: Dataset

    def scenes(self, pictures: Any, threshold: float) -> list[Scene]:
        found = {str(record.file): i for i, record in enumerate(self.truth.records)}
        scenes = [self.truth.scene(found[file]) for _, file in pictures]
        return [replace(s, regions=replace(s.regions, scores=torch.ones(len(s.regions)))) for s in scenes]


def test_the_truth_scores_1_in_every_task(model: RegionPredictor, dataset: Dataset) -> None:
    knower = Knower("knower", model.network, model.categories, model.tasks)
    knower.truth = dataset
    numbers = evaluate(knower, dataset, progress=False).numbers
    for name in ("boxes/AP", "masks/AP", "keypoints/AP", "semantic/mIoU", "panoptic/PQ"):
        assert numbers[name] == pytest.approx(1.0), name


def test_one_tile_is_the_whole_picture(model: RegionPredictor, photos: list[Path]) -> None:
    pixels = read_image(photos[0])[:, :90, :77]
    for side in (90, 200):
        tiled = model.tiled(pixels, side, LOW, "x.png")
        assert tiled.file == "x.png"
        assert_same(tiled, model.predict(pixels, LOW))


@pytest.fixture(scope="module")
def large(photos: list[Path]) -> torch.Tensor:
    """A picture of 150 x 203 pixels."""
    row = torch.cat([read_image(photo) for photo in photos], dim=2)
    return torch.cat([row, row.flip(2)], dim=1)[:, :150, :203].contiguous()


@pytest.mark.parametrize("tasks", [None, ["boxes"], ["masks"], ["keypoints"], ["semantic"], ["panoptic"]], ids=str)
def test_tiles_have_the_fields_of_the_whole(
    model: RegionPredictor, large: torch.Tensor, tasks: list[str] | None
) -> None:
    chosen = model if tasks is None else model.only(tasks)
    tiled, whole = chosen.tiled(large, 96, LOW), chosen.predict(large, LOW)
    assert set(tiled.regions.fields()) == set(whole.regions.fields())
    for name in ("semantic", "confidence", "panoptic"):
        one, two = getattr(tiled, name), getattr(whole, name)
        assert (one is None) == (two is None)
        if one is not None:
            assert one.shape == (150, 203)
            assert one.dtype == two.dtype
    if tiled.regions.masks is not None:
        assert tiled.regions.masks.size == (150, 203)


def test_tiles_fade_into_each_other(model: RegionPredictor, large: torch.Tensor) -> None:
    places = spans(203, 128, 32)
    assert places == [(0, 128), (64, 203)]  # and one row of tiles
    scene = model.tiled(large, 128, LOW)
    tiles = [model.predict(large[:, :, x0:x1], LOW) for x0, x1 in places]
    expected, labels = torch.zeros(150, 203), torch.full((2, 150, 203), -2)
    for number, (tile, (x0, x1)) in enumerate(zip(tiles, places, strict=True)):
        expected[:, x0:x1] += tile.confidence * fade(places, number)
        labels[number, :, x0:x1] = tile.semantic.long()
    agree = (labels.amin(0) == -2) | (labels[0] == labels[1])
    assert int(agree[:, 64:128].sum()) > 1000
    torch.testing.assert_close(scene.confidence[agree], expected[agree], atol=1e-5, rtol=0)
    assert torch.equal(scene.semantic[agree].long(), labels.amax(0)[agree])
    assert bool((scene.confidence <= expected + 1e-5).all())


def test_a_panoptic_map_of_tiles_is_merged_on_the_whole(model: RegionPredictor, large: torch.Tensor) -> None:
    scene = model.tiled(large, 96, LOW)
    limits = MergeLimits(**NETWORK["tasks"]["panoptic"])
    panoptic, segments = merge_panoptic(scene.regions, scene.semantic, scene.categories, limits, scene.confidence)
    assert torch.equal(scene.panoptic, panoptic)
    assert torch.equal(scene.segments.labels, segments.labels)
    stuff = [label for label in segments.labels.tolist() if not model.categories[label].isthing]
    assert len(set(stuff)) == len(stuff) > 1  # one segment for a kind of stuff, however many tiles it is in


def test_tiles_from_the_command_line(
    model: RegionPredictor, file: Path, large: torch.Tensor, run: Callable[..., str], tmp_path: Path
) -> None:
    to_pil(large).save(tmp_path / "large.png")
    run("predict", tmp_path / "large.png", "--model", file, "--out", "out", "--threshold", LOW, "--tile", 96)
    entry = json.loads(Path("out/scenes.json").read_text())["scenes"][0]
    ids = read_ids(Path("out") / entry["panoptic"]["file"], (150, 203))
    assert torch.equal(ids, model.tiled(large, 96, LOW).panoptic)


def test_the_legend_of_a_panoptic_scene_is_of_its_segments(model: RegionPredictor) -> None:
    """Not of the semantic map, whose pixels the instances take."""
    cat = model.categories
    semantic = torch.full((4, 6), cat.index("grass"), dtype=torch.int16)
    panoptic = torch.tensor([[7, 7, 7, 300, 300, 0]] * 4, dtype=torch.int32)
    segments = Segments(torch.tensor([300, 7]), torch.tensor([cat.index("mug"), cat.index("sky")]))
    scene = Scene((4, 6), cat, Regions.empty(), semantic=semantic)
    assert torch.equal(class_map(scene), semantic)
    assert class_map(replace(scene, semantic=None)) is None
    both = replace(scene, panoptic=panoptic, segments=segments)
    sky, mug = cat.index("sky"), cat.index("mug")
    assert class_map(both).tolist() == [[sky, sky, sky, mug, mug, -1]] * 4
    plain = Image.new("RGB", (6, 4))
    colors = {color for _, color in overlay(both, plain).getcolors(2**20)}
    assert {cat[sky].color, cat[mug].color} <= colors
    assert cat[cat.index("grass")].color not in colors


def recipe_of(toys: Path, folder: Path, tasks: dict[str, Any]) -> Path:
    data = {"train": f"{toys}:val"}
    values = {"name": "joint", "data": data, "network": {**NETWORK, "tasks": tasks}, "training": {"steps": 1}}
    (folder / "joint.yaml").write_text(yaml.safe_dump(values))
    return folder / "joint.yaml"


@pytest.mark.parametrize("missing", ["masks", "semantic"])
def test_panoptic_maps_need_masks_and_classes_of_pixels(
    toys: Path, model: RegionPredictor, refused: Callable[..., str], tmp_path: Path, missing: str
) -> None:
    values = {name: value for name, value in NETWORK["tasks"].items() if name != missing}
    expected = f"network.tasks.panoptic: panoptic needs the task {missing}; add {missing}: {{}} to network.tasks"
    assert expected in refused("train", recipe_of(toys, tmp_path, values), "--out", tmp_path / "run", "--device", "cpu")
    tasks = tasks_named(list(values))
    settings = check_network({**NETWORK, "tasks": values}, tasks, "the test")
    with pytest.raises(RecipeError, match=f"panoptic needs the task {missing}"):
        RegionNetwork(settings, model.categories, tasks)


def test_stuff_before_things_is_refused(model: RegionPredictor) -> None:
    mixed = Categories(tuple(reversed(tuple(model.categories))))
    tasks = tasks_named(["boxes"])
    with pytest.raises(DataError, match="stuff categories stand before things; order them by isthing"):
        RegionNetwork(check_network({**NETWORK, "tasks": {"boxes": {}}}, tasks, "the test"), mixed, tasks)
    assert things_of(model.categories).names == model.categories.names[:13]
