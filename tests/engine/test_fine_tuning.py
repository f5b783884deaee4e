"""Training that starts from public weights: what fits is kept, the rest is fresh, and both are told."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segue.engine.fine_tuning import Fit, start_from
from segue.engine.recipe import check_network, check_recipe, read_recipe, tasks_of
from segue.errors import RecipeError
from segue.models import zoo
from segue.models.download import WebFile
from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork, SemanticSettings
from segue.models.weights import ModelFile, read_model, write_model
from segue.models.zoo_model import ZooModel
from segue.structures import Categories
from segue.tasks import BOXES, MASKS

Write = Callable[..., Path]

NAME = "torchvision/tiny"
NETWORK: dict[str, Any] = {
    "conventions": "torchvision",
    "backbone": {"depth": 18, "norm": "frozen"},
    "proposals": {"pre_nms_train": 32, "post_nms_train": 32, "pre_nms": 16, "post_nms": 16},
    "regions": {"samples": 8},
    "tasks": {"boxes": {"channels": 16}, "masks": {}},
}
NAMES = (
    (r"trunk\.backbone\.stem\.0\.", "backbone.body.conv1."),
    (r"trunk\.backbone\.stem\.1\.", "backbone.body.bn1."),
    (r"trunk\.backbone\.stages\.0\.", "backbone.body.layer1."),
    (r"trunk\.backbone\.stages\.1\.", "backbone.body.layer2."),
    (r"trunk\.backbone\.stages\.2\.", "backbone.body.layer3."),
    (r"trunk\.backbone\.stages\.3\.", "backbone.body.layer4."),
    (r"(?<=\d)\.norm(?=\d)", ".bn"),
    (r"\.shortcut\.", ".downsample."),
    (r"trunk\.pyramid\.lateral\.(\d)", r"backbone.fpn.inner_blocks.\1.0"),
    (r"trunk\.pyramid\.output\.(\d)", r"backbone.fpn.layer_blocks.\1.0"),
    (r"rpn\.conv\.", "rpn.head.conv.0.0."),
    (r"rpn\.logits\.", "rpn.head.cls_logits."),
    (r"rpn\.deltas\.", "rpn.head.bbox_pred."),
    (r"heads\.boxes\.fc1\.", "roi_heads.box_head.fc6."),
    (r"heads\.boxes\.fc2\.", "roi_heads.box_head.fc7."),
    (r"heads\.boxes\.logits\.", "roi_heads.box_predictor.cls_score."),
    (r"heads\.boxes\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"heads\.masks\.convolutions\.(\d)", r"roi_heads.mask_head.\1.0"),
    (r"heads\.masks\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"heads\.masks\.logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
)


def torchvision_name(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    """Random weights of a small Mask R-CNN for three classes, by our names."""
    torch.manual_seed(1)
    tasks = [BOXES, MASKS]
    network = RegionNetwork(check_network(NETWORK, tasks, "x"), Categories.from_names(["a", "b", "c"]), tasks)
    return network.state_dict()


@pytest.fixture(scope="module")
def public(original: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same weights in torchvision's layout, in the cache as if they had been downloaded; their name."""
    with pytest.MonkeyPatch.context() as patch:
        put(original, tmp_path_factory.mktemp("public"), patch)
        yield NAME


def put(original: dict[str, torch.Tensor], folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SEGUE_CACHE", str(folder / "cache"))
    path = folder / "weights.pth"
    torch.save({torchvision_name(name): tensor for name, tensor in original.items()}, path)
    content = path.read_bytes()
    web = WebFile("http://127.0.0.1:1/tiny.pth", "sha256", hashlib.sha256(content).hexdigest()[:8])
    model = ZooModel(NAME, "boxes, masks", "3", "none", "RGB", "free", web=web)
    assert model.weights
    model.weights.parent.mkdir(parents=True)
    model.weights.write_bytes(content)
    patch.setattr(zoo, "ZOO", [*zoo.ZOO, model])


def started(weights: str, classes: list[str], **changes: Any) -> tuple[Fit, RegionNetwork]:
    """A network of a recipe like that of the weights but for some values, and what it took over."""
    values = {"name": "x", "data": {"train": "x"}, "training": {"steps": 1}, "network": {**NETWORK, **changes}}
    recipe = check_recipe({**values, "weights": weights}, "the test")
    categories = Categories.from_names(classes)
    network = RegionNetwork(recipe.network, categories, [BOXES, MASKS])
    return start_from(network, recipe, categories), network


def test_a_new_class_list_keeps_all_but_the_last_layers(public: str, original: dict[str, torch.Tensor]) -> None:
    fit, network = started(public, ["fig", "date"])
    fresh = ["heads.boxes.logits", "heads.boxes.deltas", "heads.masks.logits"]
    kept = [name for name in original if name.rpartition(".")[0] not in fresh]
    assert fit.kept == kept
    now = network.state_dict()
    for name, tensor in original.items():
        assert (name in kept) == (tensor.shape == now[name].shape)
        assert name not in kept or torch.equal(tensor, now[name])
    first, second, *rest = fit.table(public).splitlines()
    assert first == f"weights torchvision/tiny: {len(kept)} of {len(original)} tensors kept"
    assert second.startswith("  kept   trunk ")
    assert second.endswith(", rpn 6, heads.boxes 4, heads.masks 10")
    assert rest == [f"  fresh  {', '.join(fresh)}: another shape"]


def test_a_head_that_the_weights_lack_is_fresh(public: str, tmp_path: Path) -> None:
    file = read_model(zoo.find_model(public))
    boxes = {name: tensor for name, tensor in file.state.items() if "masks" not in name}
    path = tmp_path / "boxes.safetensors"
    network = {**file.network, "tasks": {"boxes": {"channels": 16}}}
    write_model(path, ModelFile("boxes", network, file.categories, None, boxes))
    fit, _ = started(str(path), ["fig"])
    assert {name.split(".")[1] for name in fit.missing} == {"masks"}
    masks = ", ".join(f"heads.masks.convolutions.{i}" for i in range(4))
    assert f"  fresh  {masks}, heads.masks.upsample, heads.masks.logits: not in the weights" in fit.table("x")


def test_other_conventions_and_as_many_other_classes_are_noted(public: str) -> None:
    fit, _ = started(public, ["fig", "date"], conventions="segue")
    assert fit.differences == ["network.conventions: torchvision"]
    assert not fit.renamed
    assert "  note   the weights' network differs: network.conventions: torchvision" in fit.table("x")
    fit, _ = started(public, ["fig", "date", "nut"], backbone={**NETWORK["backbone"], "freeze": 2})
    assert not fit.differences
    assert not fit.reshaped
    assert fit.renamed
    assert "  note   as many classes as the weights', but others" in fit.table("x")
    names = [row["name"] for row in read_model(zoo.find_model(public)).categories]
    assert not started(public, names)[0].renamed


def test_another_backbone_is_refused_with_the_settings_that_the_weights_have(public: str) -> None:
    with pytest.raises(RecipeError) as error:
        started(public, ["fig"], backbone={"depth": 50, "norm": "batch"}, conventions="segue")
    text = str(error.value)
    assert re.search(r"weights torchvision/tiny: only \d+ of \d+ tensors of the trunk fit", text)
    wanted = "network.conventions: torchvision, network.backbone.depth: 18, network.backbone.norm: frozen"
    assert text.endswith(f"write what those weights have: {wanted}")
    assert "\n" not in text


def test_weights_of_another_kind_of_network_are_refused(
    write_recipe: Write, tmp_path: Path, refused: Callable[..., str]
) -> None:
    pixels = SemanticNetwork(SemanticSettings({"unet": {"width": 4}}), 2)
    path, settings = tmp_path / "pixels.safetensors", {"semantic": {"network": {"unet": {"width": 4}}}}
    classes = Categories.from_names(["sky", "road"]).to_json()
    write_model(path, ModelFile("pixels", settings, classes, None, pixels.state_dict()))
    line = refused("train", write_recipe(weights=str(path)), "--out", tmp_path / "run", "--device", "cpu")
    assert re.search(r"only 0 of \d+ tensors of the trunk fit; write what those weights have: semantic: ", line)


def test_the_example_recipe_wants_what_torchvision_s_weights_have() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "recipes" / "fine_tune.yaml")
    assert recipe.weights in {model.name for model in zoo.PUBLIC}
    assert (recipe.network.conventions, recipe.network.backbone.depth) == ("torchvision", 50)
    assert recipe.network.backbone.norm == "frozen"
    assert recipe.augmentation.resize == (800, 1333)


@pytest.mark.parametrize("page", ["captions.md", "meshes.md"])
def test_the_recipe_of_a_page_keeps_all_that_it_freezes(page: str) -> None:
    """Its weights have every tensor of the frozen parts, in networks that mean the same by them."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text()
    block = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "weights:" in block)
    values = yaml.safe_load(block)
    if "captions" in values["network"]["tasks"]:
        values["network"]["tasks"]["captions"]["words"] = ["a", "word"]  # which training fills
    recipe = check_recipe(values, page)
    file = read_model(zoo.find_model(str(recipe.weights)))
    categories = Categories.from_json(file.categories)
    fit = start_from(RegionNetwork(recipe.network, categories, tasks_of(recipe)), recipe, categories)
    assert fit.differences == []
    assert list(recipe.network.proposals.sizes) == file.network["proposals"]["sizes"]
    frozen = tuple(f"{part}." for part in recipe.training.freeze)
    assert frozen
    assert not [name for name in (*fit.reshaped, *fit.missing) if name.startswith(frozen)]
