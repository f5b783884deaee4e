"""Two models made one: the boxes of the first, what the second says of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import segue
from segue.data.dataset import open_dataset
from segue.engine.evaluate import evaluate
from segue.engine.given_boxes import read_boxes
from segue.engine.joined_predictor import JoinedPredictor, join
from segue.engine.recipe import check_network, to_plain
from segue.engine.region_predictor import RegionPredictor
from segue.engine.semantic_predictor import SemanticPredictor
from segue.errors import UsageError
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork, SemanticSettings
from segue.models.weights import ModelFile, write_model
from segue.structures import Categories, Category, Masks, Regions, Scene
from segue.tasks import SEMANTIC, parsers_of, tasks_named

THREE = Categories((Category("cup", 1), Category("person", 2), Category("dog", 3)))
POSED = Categories(
    (
        Category("dog", 1, keypoints=("nose",)),
        Category("person", 2, keypoints=("head", "left_foot", "right_foot"), skeleton=((0, 1),), flip_pairs=((1, 2),)),
    )
)
FOUND = 9


def region_model(
    name: str, categories: Categories, tasks: list[str], seed: int, resize: tuple[int, int] | None, width: int = 8
) -> RegionPredictor:
    heads: dict[str, Any] = {
        "boxes": {"channels": 16, "score": 0.0, "detections": FOUND},
        "masks": {"channels": 8, "convolutions": 1},
        "keypoints": {"channels": 8, "convolutions": 1},
        "semantic": {"channels": 8},
        "panoptic": {},
    }
    values: dict[str, Any] = {
        "backbone": {"depth": 18, "width": width},
        "pyramid": {"channels": 8},
        "proposals": {"sizes": [16, 32, 48, 64, 96], "pre_nms": 32, "post_nms": 16},
        "tasks": {task: heads[task] for task in tasks},
    }
    torch.manual_seed(seed)
    known = tasks_named(tasks)
    network = RegionNetwork(check_network(values, known, "the test"), categories, known)
    if "masks" in tasks:
        torch.nn.init.normal_(network.heads["masks"].logits.weight, std=0.5)  # masks of some shape
    torch.nn.init.normal_(network.heads["boxes"].logits.weight, std=1.0)  # objects of several classes
    return RegionPredictor(name, network, categories, known, resize)


@pytest.fixture(scope="module")
def finder() -> RegionPredictor:
    return region_model("finder", THREE, ["boxes", "masks"], 1, (96, 120))


@pytest.fixture(scope="module")
def poser() -> RegionPredictor:
    return region_model("poser", POSED, ["boxes", "keypoints"], 7, (128, 160), width=12)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.randint(0, 256, (3, 70, 110), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def points(scene: Scene) -> torch.Tensor:
    assert scene.regions.keypoints is not None
    return scene.regions.keypoints


def areas(scene: Scene) -> torch.Tensor:
    assert isinstance(scene.regions.masks, Masks)
    return scene.regions.masks.area.float()


@pytest.mark.parametrize("resize", [(96, 120), None])
@pytest.mark.parametrize("alone", [["boxes"], ["boxes", "masks"], ["boxes", "keypoints"]])
def test_a_model_joined_with_itself_is_itself(
    picture: torch.Tensor, alone: list[str], resize: tuple[int, int] | None
) -> None:
    whole = region_model("whole", POSED, ["boxes", "masks", "keypoints"], 3, resize)
    finder = whole.only(alone)
    assert isinstance(finder, RegionPredictor)
    joined = JoinedPredictor(finder, [whole])
    assert {task.name for task in joined.tasks} == {"boxes", "masks", "keypoints"}
    expected, got = (model.scenes([(picture, "a.png")], 0.0)[0] for model in (whole, joined))
    assert len(got.regions) == FOUND
    assert (got.categories, got.file, got.size) == (POSED, "a.png", (70, 110))
    for name in ("boxes", "labels", "scores"):
        assert getattr(got.regions, name).equal(getattr(expected.regions, name))
    torch.testing.assert_close(points(got), points(expected), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(areas(got), areas(expected), rtol=0, atol=2)


def test_boxes_of_the_first_and_points_of_the_second_for_classes_that_it_knows(
    finder: RegionPredictor, poser: RegionPredictor, picture: torch.Tensor
) -> None:
    joined = JoinedPredictor(finder, [poser])
    scene, own = (model.scenes([(picture, None)], 0.0)[0] for model in (joined, finder))
    labels = scene.regions.labels
    assert len({*labels.tolist()}) == 3
    assert scene.regions.boxes.equal(own.regions.boxes)
    assert areas(scene).equal(areas(own))
    assert points(scene).shape == (FOUND, 3, 3)
    assert not points(scene)[labels == 0].any()  # a cup, of which the second model knows nothing
    for label, theirs in ((1, 1), (2, 0)):
        rows = labels == label
        given = Regions(scene.regions.boxes[rows], labels[rows] * 0 + theirs)
        read = read_boxes(poser, picture, given)
        torch.testing.assert_close(points(scene)[rows], points(read), rtol=1e-4, atol=1e-3)
        assert points(read)[:, : len(POSED[theirs].keypoints)].any(-1).all()
    person = scene.categories[1]
    assert (scene.categories.names, person.id) == (THREE.names, 2)
    assert (person.keypoints, person.skeleton, person.flip_pairs) == (
        POSED[1].keypoints,
        POSED[1].skeleton,
        POSED[1].flip_pairs,
    )


def test_masks_may_come_second_and_are_empty_where_they_are_not_known(
    poser: RegionPredictor, picture: torch.Tensor
) -> None:
    fewer = region_model("masks", Categories((Category("dog", 7),)), ["boxes", "masks"], 4, None)
    joined = JoinedPredictor(poser, [fewer])
    scene = joined.scenes([(picture, None)], 0.0)[0]
    dogs = scene.regions.labels == 0
    assert dogs.any()
    assert not dogs.all()
    assert not areas(scene)[~dogs].any()
    assert areas(scene)[dogs].any()
    assert scene.categories == POSED  # masks bring no names of keypoints


def test_no_object_no_points(finder: RegionPredictor, poser: RegionPredictor, picture: torch.Tensor) -> None:
    scene = JoinedPredictor(finder, [poser]).scenes([(picture, None)], 1.1)[0]
    assert (len(scene.regions), len(points(scene))) == (0, 0)


def test_only_some_tasks(finder: RegionPredictor, poser: RegionPredictor, picture: torch.Tensor) -> None:
    joined = JoinedPredictor(finder, [poser])
    fields = joined.only(["keypoints"]).scenes([(picture, None)], 0.0)[0].regions.fields()
    assert fields.keys() == {"boxes", "labels", "scores", "keypoints"}
    fields = joined.only(["masks"]).scenes([(picture, None)], 0.0)[0].regions.fields()
    assert fields.keys() == {"boxes", "labels", "scores", "masks"}


def test_tile_by_tile_with_maps_of_the_first(poser: RegionPredictor) -> None:
    classes = Categories((*THREE, Category("grass", 9, isthing=False)))
    finder = region_model("maps", classes, ["boxes", "masks", "semantic", "panoptic"], 5, None)
    image = torch.randint(0, 256, (3, 80, 150), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    joined = JoinedPredictor(finder, [poser])
    scene, alone = joined.tiled(image, 96, 0.0, "b.png"), finder.tiled(image, 96, 0.0, "b.png")
    assert scene.semantic is not None
    assert alone.semantic is not None
    assert scene.semantic.equal(alone.semantic)
    assert scene.panoptic is not None
    assert scene.regions.boxes.equal(alone.regions.boxes)
    assert points(scene)[scene.regions.labels == 1].any()
    assert len(joined.scenes([(image, None)] * 2, 0.0)) == 2
    objects = JoinedPredictor(finder.only(["masks"]), [poser])  # type: ignore[arg-type]
    assert objects.tiled(image, 96, 0.0).regions.boxes.equal(alone.regions.boxes)


def test_scored_on_what_both_find(finder: RegionPredictor, poser: RegionPredictor, tmp_path: Path) -> None:
    person = {"id": 2, "name": "person", "keypoints": list(POSED[1].keypoints), "skeleton": []}
    box = [10, 10, 40, 50]
    corners = [[10, 10, 50, 10, 50, 60, 10, 60]]
    points = [20, 20, 2, 30, 50, 2, 25, 52, 2]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 70}],
        "categories": [
            {"id": 1, "name": "cup"},
            person,
            {"id": 3, "name": "dog", "keypoints": ["nose"], "skeleton": []},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": box, "area": 2000, "iscrowd": 0}
            | {"segmentation": corners, "keypoints": points, "num_keypoints": 3}
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    Image.new("RGB", (80, 70)).save(tmp_path / "a.png")
    joined = JoinedPredictor(finder, [poser])
    dataset = open_dataset(str(tmp_path / "set.json"), parsers_of(joined.tasks))
    numbers = evaluate(joined, dataset, progress=False).numbers
    assert {"boxes/AP", "masks/AP", "keypoints/AP"} <= numbers.keys()


def test_what_cannot_be_joined(finder: RegionPredictor, poser: RegionPredictor) -> None:
    with pytest.raises(UsageError, match="finder adds no task to boxes, masks"):
        join(finder, [finder])
    strange = region_model(
        "strange", Categories((Category("tree", 1, keypoints=("top",)),)), ["boxes", "keypoints"], 1, None
    )
    with pytest.raises(UsageError, match="strange and finder have no class in common"):
        join(finder, [strange])
    pixels = SemanticNetwork(SemanticSettings({"unet": {"width": 4}}), 3)
    with pytest.raises(UsageError, match="pixels has no boxes to share"):
        join(finder, [SemanticPredictor("pixels", pixels, THREE, [SEMANTIC], None)])
    sounds = replace(next(task for task in poser.tasks if task.name == "keypoints"), name="sounds", unknown=None)
    loud = region_model("loud", POSED, ["boxes", "keypoints"], 1, None)
    loud.tasks.append(sounds)
    with pytest.raises(UsageError, match="loud adds sounds, which every object must have"):
        join(finder, [loud])


def saved(model: RegionPredictor, folder: Path) -> Path:
    path = folder / f"{model.name}.safetensors"
    network = to_plain(model.network.settings)
    categories, state = model.categories.to_json(), model.network.state_dict()
    write_model(path, ModelFile(model.name, network, categories, model.resize, state, {"licence": "free"}))
    return path


def test_by_name_everywhere(
    finder: RegionPredictor,
    poser: RegionPredictor,
    picture: torch.Tensor,
    tmp_path: Path,
    run: Callable[..., str],
    refused: Callable[..., str],
) -> None:
    a, b = saved(finder, tmp_path), saved(poser, tmp_path)
    model = segue.load(f"{a}+{b}", device="cpu")
    assert (model.name, model.device.type) == ("finder+poser", "cpu")
    assert [row["licence"] for row in model.notes["models"]] == ["free", "free"]
    expected = JoinedPredictor(finder, [poser]).scenes([(picture, None)], 0.0)[0]
    scene = model.predict(picture, threshold=0.0)
    torch.testing.assert_close(points(scene), points(expected), rtol=1e-4, atol=1e-3)
    file = tmp_path / "p.png"
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file)
    run("predict", file, "--model", f"{a}+{b}", "--threshold", "0", "--device", "cpu", "--out", tmp_path / "out")
    text = (tmp_path / "out" / "scenes.json").read_text()
    assert '"keypoints"' in text
    assert '"segmentation"' in text
    assert "poser adds no task" in refused("predict", file, "--model", f"{b}+{b}", "--device", "cpu")
    plus = tmp_path / "a+b.safetensors"  # a file whose name has the sign
    plus.write_bytes(a.read_bytes())
    assert segue.load(plus, device="cpu").name == "finder"
