from dataclasses import replace

import pytest
import torch

from segue.errors import RecipeError
from segue.models.batch import Batch
from segue.models.region_network import RegionNetwork, pad_truth
from segue.models.settings import NetworkSettings, RegionSettings
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories, Masks, Regions
from segue.tasks import BOXES, MASKS

SMALL = NetworkSettings(
    backbone=BackboneSettings(depth=18, width=8),
    pyramid=PyramidSettings(channels=16),
    proposals=ProposalSettings(sizes=(16, 32, 64, 128, 256), pre_nms=50, post_nms=50, pre_nms_train=50),
    regions=RegionSettings(samples=16),
    tasks={"boxes": {"channels": 16, "score": 0.0}, "masks": {"channels": 8, "convolutions": 1}},
)
CATEGORIES = Categories.from_names(["a", "b"])


def make(conventions: str = "segue") -> RegionNetwork:
    torch.manual_seed(0)
    return RegionNetwork(replace(SMALL, conventions=conventions), CATEGORIES, [BOXES, MASKS])  # type: ignore[arg-type]


def batch_of(counts: list[int]) -> Batch:
    torch.manual_seed(1)
    total = sum(counts)
    boxes = torch.tensor([[10.0, 12, 40, 44], [50, 20, 90, 60], [5, 60, 30, 90]]).repeat(total, 1)[:total]
    masks = torch.zeros(total, 96, 96)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    truth = Regions(boxes, torch.arange(total) % 2, masks=Masks.from_dense(masks))
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sizes = torch.tensor([[96, 96]] * len(counts))
    return Batch(torch.randn(len(counts), 3, 96, 96), sizes, truth, owners, ["x.png"] * len(counts))


@pytest.mark.parametrize("conventions", ["segue", "torchvision", "detectron2"])
@pytest.mark.parametrize("counts", [[2, 3], [3, 0], [0, 0]])
def test_every_loss_is_finite_and_every_weight_gets_a_gradient(conventions: str, counts: list[int]) -> None:
    network = make(conventions)
    losses = network(batch_of(counts))
    assert set(losses) == {"objectness", "proposals", "classes", "boxes", "masks"}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_a_few_steps_on_one_batch_lower_the_loss() -> None:
    network, batch = make(), batch_of([3, 3])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    totals = []
    for _ in range(12):
        total = torch.stack(list(network(batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]


def test_detections_are_padded_sorted_and_inside_each_picture() -> None:
    network = make().eval()
    sizes = torch.tensor([[96, 64], [70, 96]])
    with torch.inference_mode():
        levels, found = network.find(torch.randn(2, 3, 96, 96), sizes)
        raw = network.read(levels, found.boxes[0], torch.zeros(len(found.boxes[0])).long(), ["masks"])
    assert raw["masks"].shape[1:] == (2, 28, 28)
    assert bool((found.scores.diff(dim=1) <= 0).all())
    for image, (h, w) in enumerate(sizes.tolist()):
        boxes = found.boxes[image][found.valid[image]]
        assert len(boxes)
        assert bool((boxes >= 0).all())
        assert float(boxes[:, 2].max()) <= w
        assert float(boxes[:, 3].max()) <= h


def test_a_picture_is_seen_alike_alone_and_in_a_batch() -> None:
    network = make().eval()
    images, sizes = torch.randn(2, 3, 64, 64), torch.tensor([[64, 64]] * 2)
    with torch.inference_mode():
        _, together = network.find(images, sizes)
        _, alone = network.find(images[1:], sizes[1:])
    count = int(alone.valid.sum())
    assert int(together.valid[1].sum()) == count
    torch.testing.assert_close(together.scores[1, :count], alone.scores[0, :count], atol=1e-4, rtol=1e-4)


def test_packed_truth_is_padded_per_picture() -> None:
    batch = batch_of([1, 0, 2])
    boxes, valid, first = pad_truth(batch)
    assert boxes.shape == (3, 2, 4)
    assert valid.tolist() == [[True, False], [False, False], [True, True]]
    assert first.tolist() == [0, 1, 1]
    assert torch.equal(boxes[2], batch.truth.boxes[1:])


def test_wrong_number_of_anchor_sizes_is_named() -> None:
    settings = replace(SMALL, proposals=ProposalSettings(sizes=(16, 32)))
    with pytest.raises(RecipeError, match=r"2 anchor sizes for 5 pyramid levels"):
        RegionNetwork(settings, CATEGORIES, [BOXES, MASKS])


def test_a_network_needs_one_task_that_selects() -> None:
    with pytest.raises(RecipeError, match="exactly one"):
        RegionNetwork(SMALL, CATEGORIES, [MASKS])


def test_a_head_that_wants_several_sides_gets_what_it_would_get_one_by_one() -> None:
    network = make().eval()
    levels = network.trunk(torch.randn(1, 3, 96, 96))
    boxes, images = torch.tensor([[10.0, 12, 40, 44], [3, 2, 90, 80]]), torch.tensor([0, 0])
    fine, coarse = network.pool(levels, boxes, images, (14, 7))
    assert fine.shape[-1] == 14
    assert torch.equal(fine, network.pool(levels, boxes, images, 14))
    assert torch.equal(coarse, network.pool(levels, boxes, images, 7))
