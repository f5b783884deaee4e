from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from segue.engine.recipe import check_network, read_recipe, to_plain
from segue.errors import RecipeError
from segue.tasks import tasks_named
from segue.tasks.masks import MaskSettings

Write = Callable[..., Path]


def test_values_arrive_typed_with_the_heads_settings(write_recipe: Write) -> None:
    overrides = ["training.lr=0.5", "network.backbone.width=16", "augmentation.scale=[0.5, 2]"]
    recipe = read_recipe(write_recipe(), overrides)
    assert recipe.training.lr == 0.5
    assert recipe.network.backbone.width == 16
    assert recipe.augmentation.scale == (0.5, 2.0)
    assert recipe.network.tasks["masks"] == MaskSettings(channels=16, convolutions=1)


def test_round_trip_through_yaml(write_recipe: Write, tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe())
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(to_plain(recipe)))
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_the_network_part_comes_back_from_plain_values(write_recipe: Write) -> None:
    network = read_recipe(write_recipe()).network
    assert check_network(to_plain(network), tasks_named(list(network.tasks)), "x") == network


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batchsize=2", r"training\.batchsize: unknown key 'batchsize'; did you mean 'batch'\? allowed are"),
        ("network.backbone.depth=19", r"network\.backbone\.depth: .*18, 34, 50 or 101"),
        ("training.steps=many", r"training\.steps: .*integer"),
        ("training.steps=0", r"training.*steps must be at least 1"),
        ("network.tasks.mask={}", r"network\.tasks\.mask: unknown task 'mask'; did you mean 'masks'"),
        ("network.tasks.masks.layers=3", r"network\.tasks\.masks\.layers: unknown key 'layers'"),
        ("network.conventions=detectron", r"network\.conventions: .*'segue', 'torchvision'"),
        ("data=coco", r"data: expected keys and values, not 'coco'"),
        ("nonsense", r"--set: cannot read 'nonsense'"),
    ],
)
def test_wrong_values_are_answered_with_key_and_cure(write_recipe: Write, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write_recipe(), [override])


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [1", "\0"])
def test_files_that_are_no_recipe(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"bad\.yaml"):
        read_recipe(path)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_recipes_that_ship_are_valid(path: Path) -> None:
    assert read_recipe(path).name == path.stem
