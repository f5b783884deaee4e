from __future__ import annotations

import pytest
import torch

from segue.engine.recipe import check_recipe, check_semantic, to_plain
from segue.errors import RecipeError
from segue.models.batch import Batch
from segue.models.semantic_network import SemanticNetwork
from segue.nn.dense import ARCHITECTURES
from segue.structures import Regions


def batch(labels: torch.Tensor) -> Batch:
    b, h, w = labels.shape
    images = torch.randn(b, 3, h, w, generator=torch.Generator().manual_seed(0))
    sizes, owners = torch.tensor([[h, w]] * b), torch.zeros(0, dtype=torch.int64)
    return Batch(images, sizes, Regions.empty(), owners, ["a"] * b, labels)


@pytest.fixture
def network() -> SemanticNetwork:
    torch.manual_seed(0)
    return SemanticNetwork(check_semantic({"network": {"unet": {"width": 4, "depth": 2}}}, "the test"), 3)


def test_probabilities_are_probabilities_at_every_pixel(network):
    p = network.eval().probabilities(torch.randn(2, 3, 8, 12))
    assert p.shape == (2, 3, 8, 12)
    assert torch.allclose(p.sum(1), torch.ones(2, 8, 12), atol=1e-6)


def test_learns_a_picture_by_heart(network):
    labels = torch.randint(0, 3, (1, 16, 16), generator=torch.Generator().manual_seed(2)).repeat(1, 1, 1)
    data, optimizer = batch(labels), torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        loss = network(data)["semantic"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_batch_without_any_label_gives_every_weight_a_zero_gradient(network):
    network(batch(torch.full((2, 8, 8), -1)))["semantic"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


def test_class_weights_are_part_of_the_state(network):
    assert "class_weights" in network.state_dict()


def test_settings_survive_a_model_file(network):
    plain = to_plain(network.settings)
    assert check_semantic(plain, "the test") == network.settings


def recipe(**semantic: object) -> dict[str, object]:
    return {"name": "x", "data": {"train": "x"}, "training": {"steps": 1}, "semantic": semantic}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (recipe(network={"unett": {}}), "unknown network 'unett'.*did you mean 'unet'"),
        (recipe(network={"unet": {"widht": 3}}), "semantic.network.unet.widht.*did you mean 'width'"),
        (recipe(network={"unet": {"width": "wide"}}), "semantic.network.unet.width"),
        (recipe(network={"unet": {}, "plain": {}}), "name one network"),
        (recipe(network={}), "name one network"),
        (recipe(network={"unet": {}}, loss={"hardest": 0}), "hardest must be above 0"),
        (recipe(network={"unet": {}}, losss={}), "did you mean 'loss'"),
        ({**recipe(network={"unet": {}}), "network": {}}, "both network and semantic"),
    ],
)
def test_a_wrong_recipe_is_answered_with_key_and_cure(values, message):
    with pytest.raises(RecipeError, match=message):
        check_recipe(values, "recipe.yaml")


@pytest.mark.parametrize("name", [a.name for a in ARCHITECTURES])
def test_every_architecture_is_documented_and_has_defaults(name):
    kind = next(a for a in ARCHITECTURES if a.name == name)
    kind.settings()
    text = kind.settings.__doc__ or ""
    assert all(f"{field}:" in text for field in kind.settings.__dataclass_fields__)
