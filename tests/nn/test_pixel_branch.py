"""The semantic branch of Panoptic FPN."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.engine.recipe import check_recipe
from segue.errors import RecipeError
from segue.nn.pixel_branch import BranchSettings, SemanticBranch, class_rows
from segue.nn.pixel_losses import PixelLossSettings
from segue.structures import Categories, Category

STRIDES = (4, 8, 16, 32)
KINDS = Categories(
    tuple(Category(name, number, name in ("mug", "car")) for number, name in enumerate(("mug", "car", "sky", "sand")))
)


def make(channels: int = 8, width: int = 16, strides: tuple[int, ...] = STRIDES, **values: object) -> SemanticBranch:
    torch.manual_seed(0)
    return SemanticBranch(channels, strides, KINDS, BranchSettings(channels=width, **values))  # type: ignore[arg-type]


def pyramid(
    channels: int, coarsest: tuple[int, int], strides: tuple[int, ...] = STRIDES, batch: int = 2
) -> list[Tensor]:
    torch.manual_seed(1)
    sizes = [tuple(side * strides[-1] // stride for side in coarsest) for stride in strides]
    return [torch.randn(batch, channels, *size) for size in sizes]


@pytest.mark.parametrize("coarsest", [(1, 1), (1, 3), (3, 5), (2, 7)])
@pytest.mark.parametrize("strides", [STRIDES, (2, 4, 8), (8, 32), (4,)])
def test_the_output_has_the_size_of_the_finest_level(coarsest: tuple[int, int], strides: tuple[int, ...]) -> None:
    levels = pyramid(8, coarsest, strides)
    for things, outputs in (("apart", 4), ("together", 3)):
        raw = make(strides=strides, things=things)(levels)
        assert raw.shape == (2, outputs, *levels[0].shape[2:])
        assert raw.dtype == torch.float32


@pytest.mark.parametrize("width", [2, 7, 9, 16, 32, 48])
def test_one_small_picture_is_enough(width: int) -> None:
    """Of a level of one cell, a norm over single channels would make nothing, or an error."""
    branch, levels = make(width=width), pyramid(8, (1, 1), batch=1)
    coarse = branch.levels[-1][:2](levels[-1]).detach()
    assert bool(branch(levels).isfinite().all())
    assert float(coarse.abs().max()) > 0.01


@pytest.mark.parametrize("strides", [STRIDES, (2, 4, 8, 16, 32), (4, 32), (8, 16, 64), (16,)])
def test_steps_of_every_level(strides: tuple[int, ...]) -> None:
    for stride, steps in zip(strides, make(strides=strides).levels, strict=True):
        doublings = round(math.log2(stride / strides[0]))
        kinds = [type(module) for module in steps]
        assert kinds.count(nn.Conv2d) == kinds.count(nn.GroupNorm) == kinds.count(nn.ReLU) == max(1, doublings)
        assert kinds.count(nn.Upsample) == doublings


def test_the_published_branch_has_the_published_parameters() -> None:
    """256 channels in, 128 inside, 53 kinds of stuff and one output for the 80 things of COCO."""
    names = [Category(f"thing {i}", i) for i in range(80)] + [Category(f"stuff {i}", 80 + i, False) for i in range(53)]
    settings = BranchSettings(things="together")
    branch = SemanticBranch(256, STRIDES, Categories(tuple(names)), settings)
    first, later, norm = 256 * 128 * 9, 128 * 128 * 9, 2 * 128  # convolutions without bias; scale and shift
    steps = (1, 1, 2, 3)
    expected = 4 * first + (sum(steps) - 4) * later + sum(steps) * norm + 128 * 54 + 54
    assert sum(parameter.numel() for parameter in branch.parameters()) == expected == 1_630_774
    convolutions = [m for m in branch.levels.modules() if isinstance(m, nn.Conv2d)]
    assert {tuple(c.weight.shape) for c in convolutions} == {(128, 256, 3, 3), (128, 128, 3, 3)}
    assert all(c.bias is None for c in convolutions)
    assert {m.num_groups for m in branch.modules() if isinstance(m, nn.GroupNorm)} == {32}
    assert branch.logits.weight.shape == (54, 128, 1, 1)


def test_every_level_has_a_say_and_they_are_added() -> None:
    branch, levels = make(), pyramid(8, (2, 2))
    nn.init.normal_(branch.logits.weight)
    alone = []
    for chosen in range(len(levels)):
        part = branch.levels[chosen](levels[chosen])
        assert float(part.detach().abs().max()) > 0.1
        alone.append(part)
    torch.testing.assert_close(branch(levels), branch.logits(torch.stack(alone).sum(0)))


def test_things_together_share_the_first_output() -> None:
    row, category = class_rows([True, False, True, False, False], together=True)
    assert row.tolist() == [0, 1, 0, 2, 3]
    assert category.tolist() == [-1, 1, 3, 4]
    row, category = class_rows([True, False, True], together=False)
    assert row.tolist() == category.tolist() == [0, 1, 2]
    assert class_rows([False, False], together=True)[1].tolist() == [-1, 0, 1]


@pytest.mark.parametrize("things", ["apart", "together"])
def test_constant_maps_are_decoded_as_their_class(things: str) -> None:
    branch = make(things=things)
    for output in range(len(branch.category)):
        raw = torch.zeros(len(branch.category), 8, 12)
        raw[output] = 3.0
        labels, confidence = branch.decode(raw, (29, 45), (58, 90))
        expected = output if things == "apart" else (-1, 2, 3)[output]
        assert labels.dtype == torch.int16
        assert labels.shape == confidence.shape == (58, 90)
        assert labels.unique().tolist() == [expected]
        share = math.exp(3) / (math.exp(3) + len(raw) - 1)
        torch.testing.assert_close(confidence, torch.full((58, 90), share))


def test_what_was_padded_is_not_decoded() -> None:
    branch, raw = make(), torch.zeros(4, 8, 8)
    raw[1, :, :4], raw[2, :, 4:] = 9.0, 9.0  # the left half is a car, the padding at the right the sky
    labels, _ = branch.decode(raw, (32, 16), (64, 32))
    assert labels.unique().tolist() == [1]
    assert branch.decode(raw, (32, 32), (64, 64))[0].unique().tolist() == [1, 2]


def test_probabilities_are_those_of_the_upsampled_logits() -> None:
    branch, raw = make(), torch.randn(4, 6, 8)
    found = branch.probabilities(raw, (22, 30), (22, 30))
    logits = F.interpolate(raw[None], scale_factor=4, mode="bilinear", align_corners=False)[0, :, :22, :30]
    torch.testing.assert_close(found, logits.exp() / logits.exp().sum(0))
    labels, confidence = branch.label(found)
    assert torch.equal(labels.long(), logits.argmax(0))
    torch.testing.assert_close(confidence, found.amax(0))


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    branch, raw = make(weight=0.25), torch.randn(2, 4, 5, 6)
    semantic = torch.randint(-1, 4, (2, 20, 24))
    logp = F.interpolate(raw, scale_factor=4, mode="bilinear", align_corners=False).log_softmax(1)
    terms = [-float(logp[i, semantic[i, y, x], y, x]) for i, y, x in (semantic >= 0).nonzero().tolist()]
    assert float(branch.losses(raw, semantic)["semantic"]) == pytest.approx(0.25 * sum(terms) / len(terms), rel=1e-5)


def test_things_together_are_one_class_of_the_loss() -> None:
    branch, raw = make(things="together"), torch.randn(1, 3, 4, 4)
    losses = {label: float(branch.losses(raw, torch.full((1, 16, 16), label))["semantic"]) for label in range(4)}
    assert losses[0] == losses[1]
    assert len({losses[0], losses[2], losses[3]}) == 3


def test_unlabelled_pixels_teach_nothing() -> None:
    branch = make()
    raw = torch.randn(1, 4, 8, 8, requires_grad=True)
    semantic = torch.randint(0, 4, (1, 32, 32))
    semantic[:, 12:] = -1
    branch.losses(raw, semantic)["semantic"].backward()
    assert raw.grad is not None
    assert not bool(raw.grad[:, :, 4:].any())  # row 12 is nearer to the logits of rows 2 and 3 than to any other
    assert bool(raw.grad[:, :, :4].any(1).all())


@pytest.mark.parametrize("semantic", [None, torch.full((2, 32, 32), -1)])
def test_nothing_labelled_costs_nothing_and_still_reaches_every_weight(semantic: Tensor | None) -> None:
    branch = make()
    loss = branch.losses(branch(pyramid(8, (1, 1))), semantic)["semantic"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not bool(p.grad.any()) for p in branch.parameters())


def test_a_few_steps_learn_a_picture() -> None:
    branch, levels = make(width=32), pyramid(8, (2, 2), batch=1)
    semantic = torch.arange(4).repeat_interleave(16)[None, None].expand(1, 64, 64).contiguous()
    optimizer = torch.optim.AdamW(branch.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        branch.losses(branch(levels), semantic)["semantic"].backward()
        optimizer.step()
    labels, _ = branch.decode(branch(levels)[0].detach(), (64, 64), (64, 64))
    assert float((labels == semantic[0]).float().mean()) > 0.95


def test_class_weights_are_refused_since_nothing_counts_the_classes() -> None:
    with pytest.raises(ValueError, match="balance"):
        BranchSettings(loss=PixelLossSettings(balance=1.0))
    values = {"boxes": {}, "semantic": {"loss": {"balance": 0.5}}}
    recipe = {"name": "x", "data": {"train": "y"}, "training": {"steps": 1}, "network": {"tasks": values}}
    with pytest.raises(RecipeError, match=r"r\.yaml: network\.tasks\.semantic: balance is for semantic networks only"):
        check_recipe(recipe, "r.yaml")


def test_a_branch_without_channels() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        BranchSettings(channels=1)
