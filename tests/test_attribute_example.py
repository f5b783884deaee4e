"""The example of docs/your_own_head.md: what its pieces do, and that it needs no more than Segue offers."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from segue.data.toybox import render
from segue.data.toybox.bridge import to_scene
from segue.data.toybox.entries import Address, picture_rows
from segue.engine.recipe import check_network
from segue.models.region_network import RegionNetwork
from segue.models.weights import load_what_fits, read_model
from segue.models.zoo import find_model
from segue.structures import Categories, Regions, Scene
from segue.tasks import BOXES, Sampled
from segue.tasks.added import watched

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attribute_head", FOLDER / "attribute_head.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_size_and_its_entry_point(example: ModuleType) -> None:
    assert len((FOLDER / "attribute_head.py").read_text().splitlines()) < 80
    [(group, points)] = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["entry-points"].items()
    assert group == "segue.tasks"
    assert points == {"attributes": "attribute_head:ATTRIBUTES"}
    assert example.ATTRIBUTES.name == "attributes"


def test_the_page_quotes_the_files() -> None:
    page = (FOLDER.parent / "docs" / "your_own_head.md").read_text()
    for language, name in (("python", "attribute_head.py"), ("toml", "pyproject.toml")):
        blocks = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
        assert blocks
        assert all(block in (FOLDER / name).read_text() for block in blocks)


def test_it_reads_what_toybox_writes(example: ModuleType) -> None:
    for seed in range(5):
        sample = render(seed, (64, 64))
        rows = picture_rows(Address("val", 1), sample, to_scene(sample, "a.png"))["instances"]
        told = example.parse(rows, (64, 64))
        assert bool((told[:, 0] > 0).all())  # everything has a colour
        for row, thing, (color, material) in zip(rows, sample.things, told.tolist(), strict=True):
            paint, person = thing.placed.solid.paint, thing.placed.solid.category == "person"
            assert example.KINDS["color"][color - 1] == paint.color
            assert (material == 0) == person
            assert person or example.KINDS["material"][material - 1] == ("shiny" if paint.shine else "matt")
            assert row["attributes"]["color"] == paint.color


def test_words_and_numbers(example: ModuleType) -> None:
    rows = [{"attributes": {"color": "blue", "material": "shiny"}}, {"attributes": {"color": "teal"}}, {}]
    told = example.parse(rows, (9, 9))
    assert told.tolist() == [[5, 2], [0, 0], [0, 0]]
    regions = Regions(torch.zeros(3, 4), torch.zeros(3).long(), extra={"attributes": told})
    assert example.to_json(regions) == [
        {"attributes": {"color": "blue", "material": "shiny"}},
        *[{"attributes": {}}] * 2,
    ]
    assert example.parse([{"id": 1}], (9, 9)) is None
    assert example.parse([], (9, 9)).shape == (0, 2)


def make(example: ModuleType) -> torch.nn.Module:
    torch.manual_seed(0)
    return example.AttributeHead(3, None, None, example.AttributeSettings(channels=8))


def sampled(positive: list[bool], matched: list[int]) -> Sampled:
    count, yes = len(positive), torch.ones(len(positive), dtype=torch.bool)
    boxes, labels = torch.zeros(count, 4), torch.zeros(count).long()
    return Sampled(boxes, labels, torch.tensor(matched), torch.tensor(positive), yes)


def test_only_told_regions_with_an_object_teach(example: ModuleType) -> None:
    head = make(example)
    truth = Regions(torch.zeros(2, 4), torch.zeros(2).long(), extra={"attributes": torch.tensor([[1, 2], [3, 0]])})
    raw = head(torch.randn(3, 3, 7, 7))
    losses = head.losses(raw, sampled([True, False, True], [1, 99, 0]), truth)
    colors, materials = (scores.log_softmax(1) for scores in raw)
    torch.testing.assert_close(losses["color"], -(colors[0, 2] + colors[2, 0]) / 2)
    torch.testing.assert_close(losses["material"], -materials[2, 1])
    for nothing in (Regions.empty(), truth.with_field("attributes", None)):
        losses = head.losses(raw, sampled([False] * 3, [0] * 3), nothing)
        assert [loss.item() for loss in losses.values()] == [0, 0]
        sum(losses.values()).backward(retain_graph=True)  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_accuracy_is_over_the_objects_that_were_found(example: ModuleType) -> None:
    names = Categories.from_names(["mug", "car"])
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 90, 90]])
    truth = Regions(boxes, torch.tensor([0, 1, 1]), extra={"attributes": torch.tensor([[1, 1], [2, 2], [3, 1]])})
    found = Regions(
        boxes[[0, 0, 1, 2]] + 1,
        torch.tensor([0, 0, 1, 0]),  # the last is of another class
        torch.tensor([0.3, 0.9, 0.8, 0.7]),
        extra={"attributes": torch.tensor([[1, 2], [1, 1], [7, 2], [3, 1]])},
    )
    metric = example.Accuracy(names)
    metric.update(Scene((99, 99), names, found), Scene((99, 99), names, truth))
    metric.update(Scene((99, 99), names, Regions.empty()), Scene((99, 99), names, Regions.empty()))
    expected = {"attributes/color": 0.5, "attributes/material": 1.0, "attributes/found": 2 / 3}
    assert metric.compute() == pytest.approx(expected)


def test_the_recipe_is_for_the_bundled_network(example: ModuleType) -> None:
    recipe = yaml.safe_load((FOLDER / "attributes.yaml").read_text())
    file = read_model(find_model(recipe["weights"]))
    tasks = [BOXES, watched(example.ATTRIBUTES, "the example")]
    settings = check_network(recipe["network"], tasks, "the recipe")
    things = Categories.from_json([row for row in file.categories if row["isthing"]])
    network = RegionNetwork(settings, things, tasks)
    _, fresh = load_what_fits(network, file.state)
    assert fresh == [name for name in network.state_dict() if name.startswith("heads.attributes.")]
