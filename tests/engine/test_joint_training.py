"""Data sets with different annotations train one network together, and each loss sees only what is annotated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import segue
from segue.data.dataset import open_dataset
from segue.data.mixture import Mixture, mix
from segue.data.toybox.write import Order, write_toybox
from segue.data.transforms import Augmentation
from segue.engine import train as training
from segue.engine.loader import Collate, Place, Stream, TrainingPictures
from segue.engine.recipe import check_recipe, read_recipe
from segue.engine.train import train
from segue.errors import DataError, RecipeError
from segue.models.batch import Batch
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings, RegionSettings
from segue.nn.conventions import CONVENTIONS
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Category, Masks, Regions
from segue.tasks import BOXES, KEYPOINTS, MASKS, SEMANTIC, Sampled, parsers_of
from segue.tasks.boxes import BoxHead, BoxSettings
from segue.tasks.masks import MaskHead, MaskSettings

TASKS = [BOXES, MASKS, KEYPOINTS]
CORNERS = ["left_top", "right_top", "left_bottom", "right_bottom"]
VALUES: dict[str, Any] = {
    "name": "joint",
    "network": {
        "backbone": {"depth": 18, "width": 8},
        "pyramid": {"channels": 16},
        "proposals": {"sizes": [12, 24, 48, 96, 192], "pre_nms_train": 64, "post_nms_train": 64},
        "regions": {"samples": 16, "positive_share": 0.5},
        "tasks": {
            "boxes": {"channels": 32},
            "masks": {"channels": 16, "convolutions": 1},
            "keypoints": {"channels": 16, "convolutions": 1},
        },
    },
    "training": {
        "steps": 30,
        "batch": 4,
        "optimizer": "adamw",
        "lr": 0.005,
        "warmup": 2,
        "log_every": 1,
        "evaluate_every": 100,
        "checkpoint_every": 100,
        "best": "keypoints/AP",
    },
}


def write_set(folder: Path, kind: str, count: int = 4) -> Path:
    """Pictures with one bright square each: ``disc`` with a mask, ``square`` with its corners as keypoints."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(1, count + 1):
        x, y, side = (int(v) for v in (*rng.integers(4, 24, 2), rng.integers(20, 34)))
        pixels = np.full((64, 64, 3), 30, np.uint8)
        pixels[y : y + side, x : x + side] = (250, 220, 90) if kind == "disc" else (90, 120, 250)
        Image.fromarray(pixels).save(folder / f"{kind}{i}.png")
        images.append({"id": i, "file_name": f"{kind}{i}.png", "width": 64, "height": 64})
        corners = [(x, y), (x + side - 1, y), (x, y + side - 1), (x + side - 1, y + side - 1)]
        own: dict[str, Any] = {"keypoints": [value for corner in corners for value in (*corner, 2)]}
        if kind == "disc":
            own = {"segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]]}
        box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
        annotations.append({"id": i, "image_id": i, "category_id": 1, **box, **own})
    category = {"id": 1, "name": kind} | ({"keypoints": CORNERS} if kind == "square" else {})
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / f"{kind}.json").write_text(json.dumps(content))
    return folder / f"{kind}.json"


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("joint") / "discs", "disc")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("joint") / "squares", "square", 6)


@pytest.fixture
def recipe_of(discs: Path, squares: Path) -> Callable[..., Any]:
    """The recipe that learns from both, scored on squares, with some training values changed."""

    def make(**changes: Any) -> Any:
        data = {"datasets": [{"train": str(discs), "weight": 2}, {"train": str(squares)}], "val": str(squares)}
        return check_recipe({**VALUES, "data": data, "training": VALUES["training"] | changes}, "the test")

    return make


@pytest.fixture
def both(discs: Path, squares: Path) -> Mixture:
    return mix([open_dataset(str(path), parsers_of(TASKS)) for path in (discs, squares)], [1, 1])


def network_of(categories: Categories, tasks: Sequence[Any] = TASKS) -> RegionNetwork:
    torch.manual_seed(0)
    settings = NetworkSettings(
        backbone=BackboneSettings(depth=18, width=8),
        pyramid=PyramidSettings(channels=16),
        proposals=ProposalSettings(sizes=(12, 24, 48, 96, 192), pre_nms=50, post_nms=50),
        regions=RegionSettings(samples=16),
        tasks={"boxes": {"channels": 16}, "masks": {"channels": 8}, "keypoints": {"channels": 8, "convolutions": 1}},
    )
    return RegionNetwork(settings, categories, tasks).eval()  # so that pictures do not meet in batch norm


def batch_of(mixture: Mixture, pictures: Sequence[int]) -> Batch:
    samples = TrainingPictures(mixture.dataset, Augmentation(mirror=False), TASKS, 0, mixture.known)
    batch = Collate(CONVENTIONS["segue"], 32, TASKS)([samples[Place(i, i)] for i in pictures])
    assert isinstance(batch, Batch)
    return batch


# --- the recipe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        ({}, r"data: give either train, one data set, or datasets"),
        ({"train": "a", "datasets": [{"train": "b"}]}, r"data: give either train"),
        ({"datasets": [{"train": "a", "weight": 0}]}, r"data\.datasets\.0: weight must be above 0"),
        ({"datasets": [{"train": "a"}, {"weight": 2}]}, r"data\.datasets\.1\.train: field required"),
        (
            {"datasets": [{"train": "a", "wieght": 2}]},
            r"data\.datasets\.0\.wieght: unknown key .* did you mean 'weight'",
        ),
        ({"datasets": ["a"]}, r"data\.datasets\.0: expected keys and values, not 'a'"),
        ({"datasets": "a"}, r"data\.datasets: .*'a'"),
    ],
)
def test_mistakes_in_the_list_are_named(data: dict[str, Any], pattern: str) -> None:
    with pytest.raises(RecipeError, match=pattern):
        check_recipe({**VALUES, "data": data}, "the test")


# --- which pictures come -----------------------------------------------------------------------------------------


def test_one_set_comes_in_the_order_that_it_always_had(squares: Path) -> None:
    mixture = mix([open_dataset(str(squares), {})], [1.0])
    orders = [np.random.default_rng([7, epoch]).permutation(6) for epoch in range(3)]
    seen = [place.picture for places in Stream(mixture, 4, 0, 4, seed=7) for place in places]
    assert seen == np.concatenate(orders)[:16].tolist()


def test_the_stream_of_several_sets_can_be_entered_anywhere(both: Mixture) -> None:
    whole = list(Stream(both, 4, 0, 12, seed=1))
    assert list(Stream(both, 4, 5, 12, seed=1)) == whole[5:]
    ranks = [list(Stream(both, 2, 0, 12, 1, rank, 2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == whole
    pictures = [place.picture for places in whole for place in places]
    for number in range(4):
        assert sorted(pictures[10 * number : 10 * number + 10]) == sorted(both.epoch(number).tolist())
    assert pictures[:10] != pictures[10:20]


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_batch_keeps_what_only_some_of_its_pictures_have(both: Mixture) -> None:
    truth = batch_of(both, [0, 5, 1]).truth
    assert truth.keypoints is not None
    assert truth.masks is not None
    assert truth.keypoints[..., 2].sum(1).tolist() == [0, 8, 0]
    assert truth.masks.area.gt(0).tolist() == [True, False, True]
    alone = batch_of(both, [0, 1]).truth
    assert alone.keypoints is None
    assert torch.equal(alone.masks[0], truth.masks[0])  # type: ignore[index]


def test_a_picture_without_objects_can_be_mirrored(squares: Path) -> None:
    dataset = open_dataset(str(squares), parsers_of(TASKS))
    dataset.annotations[0] = []
    samples = TrainingPictures(dataset, Augmentation(mirror=True), TASKS, 0)
    drawn = [samples[Place(number, 0)] for number in range(6)]
    assert len({float(sample.image.float().flatten() @ torch.arange(3 * 64 * 64.0)) for sample in drawn}) == 2
    assert not any(len(sample.regions) for sample in drawn)


def test_every_toybox_picture_with_objects_has_keypoints(tmp_path: Path) -> None:
    """Also those without a person or a car, so that no batch loses them."""
    write_toybox(tmp_path / "toybox", Order(train=12, val=0, size=48, seed=2))
    dataset = open_dataset(f"{tmp_path / 'toybox'}:train", parsers_of(TASKS), panoptic=True)
    pointless = 0
    for picture in range(len(dataset)):
        regions = dataset.regions(picture)
        if len(regions):
            assert regions.keypoints is not None
            assert regions.keypoints.shape == (len(regions), 17, 3)
            pointless += not regions.keypoints[..., 2].any()
    assert pointless


# --- losses ------------------------------------------------------------------------------------------------------


def test_a_class_that_a_set_does_not_annotate_neither_gains_nor_loses() -> None:
    categories = Categories.from_names(["a", "b", "c"])
    for conventions in CONVENTIONS.values():
        head = BoxHead(4, categories, conventions, BoxSettings(channels=8))
        logits = torch.randn(4, 4, requires_grad=True)
        yes = torch.ones(4, dtype=torch.bool)
        positive, known = torch.tensor([True, True, False, False]), torch.ones(4, 3, dtype=torch.bool)
        known[0, 1] = known[3] = False
        labels, matched = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 1, 0, 0])
        regions = Sampled(torch.rand(4, 4) + torch.tensor([0, 0, 9, 9]), labels, matched, positive, yes, known)
        truth = Regions(torch.tensor([[0.0, 0, 9, 9]] * 2), torch.tensor([0, 1]))
        head.losses((logits, torch.zeros(4, 3, 4)), regions, truth)["classes"].backward()
        gradient = logits.grad
        assert gradient is not None
        classes = gradient[:, head.first : head.first + 3]
        assert (classes != 0).tolist() == [[True, False, True], [True] * 3, [True] * 3, [False] * 3]
        assert gradient[3].eq(0).all()  # nothing but background to choose from


def test_the_network_tells_its_box_head_what_each_picture_knows(both: Mixture) -> None:
    network = network_of(both.dataset.categories)
    logits = network.heads["boxes"].logits
    for pictures, learns in (([0, 1], [True, False]), ([5, 6], [False, True]), ([0, 5], [True, True])):
        network.zero_grad()
        network(batch_of(both, pictures))["classes"].backward()
        assert logits.bias.grad[:2].ne(0).tolist() == learns  # type: ignore[union-attr]


def test_objects_without_a_mask_do_not_count_in_the_mask_loss() -> None:
    head = MaskHead(4, Categories.from_names(["a"]), CONVENTIONS["segue"], MaskSettings(channels=8, convolutions=1))
    boxes = torch.tensor([[0.0, 0, 20, 20], [4, 4, 30, 30]])
    dense = torch.zeros(2, 32, 32)
    dense[0, 2:12, 3:16] = 1
    truth = Regions(boxes, torch.zeros(2).long(), masks=Masks.from_dense(dense))
    raw = torch.randn(2, 1, 28, 28, requires_grad=True)
    yes, no = torch.ones(2, dtype=torch.bool), torch.tensor([True, False])
    both, one = (
        head.losses(raw, Sampled(boxes, truth.labels, torch.arange(2), positive, yes), truth)["masks"]
        for positive in (yes, no)
    )
    assert float(both.detach()) == float(one.detach()) > 0
    both.backward()
    assert raw.grad is not None
    assert raw.grad.abs().sum((1, 2, 3)).gt(0).tolist() == [True, False]


def test_a_picture_without_the_annotation_leaves_the_keypoint_and_mask_losses(both: Mixture) -> None:
    network = network_of(both.dataset.categories)
    for pictures in ([0, 5], [5, 0]):
        losses = network(batch_of(both, pictures))
        assert float(losses["keypoints"].detach()) > 1
        assert float(losses["masks"].detach()) > 0.1
    assert float(network(batch_of(both, [0, 1]))["keypoints"].detach()) == 0
    assert float(network(batch_of(both, [5, 6]))["masks"].detach()) == 0


@pytest.mark.parametrize("conventions", ["segue", "torchvision"])
def test_pictures_of_a_set_without_objects_teach_no_boxes(both: Mixture, conventions: Any) -> None:
    network = network_of(both.dataset.categories)
    network.rpn.conventions = CONVENTIONS[conventions]
    batch = batch_of(both, [0, 5, 6])
    assert batch.known is not None
    batch.truth, batch.owners = batch.truth.select(batch.owners != 1), batch.owners[batch.owners != 1]
    batch.known[1] = False
    batch.images.requires_grad_()
    losses = network(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert batch.images.grad is not None
    assert batch.images.grad.abs().sum((1, 2, 3)).gt(0).tolist() == [True, False, True]
    draw_all = RegionSettings(samples=1000, positive_share=0.5)
    network.settings = replace(network.settings, regions=draw_all)
    network.rpn.settings = replace(network.rpn.settings, samples=10**4)
    with_it, without = network(batch), network(batch_of(both, [0, 6]))
    for name in ("objectness", "proposals", "classes", "boxes"):
        torch.testing.assert_close(with_it[name], without[name])


def test_label_maps_alone_train_the_semantic_head_only(both: Mixture) -> None:
    categories = Categories((*both.dataset.categories, Category("sky", 9, isthing=False)))
    network = network_of(categories, [*TASKS, SEMANTIC])
    batch = batch_of(both, [0, 5])
    batch.known, batch.semantic = torch.zeros(2, 2, dtype=torch.bool), torch.full((2, *batch.images.shape[2:]), 2)
    batch.truth, batch.owners = Regions.empty(), torch.empty(0, dtype=torch.int64)
    losses = {name: float(value.detach()) for name, value in network(batch).items()}
    assert losses.pop("semantic") > 0
    assert set(losses) == {"objectness", "proposals", "classes", "boxes", "masks", "keypoints"}
    assert not any(losses.values())


# --- training ----------------------------------------------------------------------------------------------------


def test_a_set_of_masks_and_a_set_of_keypoints_train_together(recipe_of: Callable[..., Any], tmp_path: Path) -> None:
    recipe = recipe_of()
    numbers = train(recipe, tmp_path / "run", device="cpu")
    assert read_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    assert [source.weight for source in recipe.data.sources] == [2, 1]
    assert {"boxes/AP", "keypoints/AP"} <= set(numbers)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name in ("masks", "keypoints", "classes"):
        values = [value for line in lines if (value := line.get(f"loss/{name}"))]  # 0 where no picture carries it
        assert np.mean(values[-5:]) < 0.8 * np.mean(values[:3]), name
    model = segue.load(tmp_path / "run", device="cpu")
    assert model.categories.names == ["disc", "square"]
    assert model.categories[1].keypoints == tuple(CORNERS)


def test_a_resumed_run_of_several_sets_gives_the_same_weights(
    recipe_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(steps=4, checkpoint_every=2)
    train(recipe, tmp_path / "whole", device="cpu")
    step = training.train_step

    def broken(run: Any, *rest: Any) -> Any:
        if run.progress.step == 3:
            raise KeyboardInterrupt
        return step(run, *rest)

    monkeypatch.setattr(training, "train_step", broken)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "broken", device="cpu")
    monkeypatch.setattr(training, "train_step", step)
    train(recipe, tmp_path / "broken", resume=True, device="cpu")
    whole, resumed = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_set_to_score_on_with_foreign_classes_is_refused(
    recipe_of: Callable[..., Any], cells: Path, tmp_path: Path
) -> None:
    recipe = recipe_of()
    recipe = replace(recipe, data=replace(recipe.data, val=str(cells)))
    with pytest.raises(DataError, match=r"its class 1 is nucleus, the model's disc"):
        train(recipe, tmp_path / "run", device="cpu")
