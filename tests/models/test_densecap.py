from dataclasses import replace

import pytest
import torch

from segue.models.batch import Batch
from segue.models.densecap import DenseCap, DenseCapSettings, LossWeights, packed
from segue.models.region_network import pad_truth
from segue.nn.localisation import LocalisationSettings
from segue.ops import box_iou
from segue.structures import Categories, Regions
from segue.tasks.captions import CaptionSettings

SMALL = DenseCapSettings(
    width=4,
    localisation=LocalisationSettings(anchors=((32, 32), (48, 24), (24, 48)), channels=8, samples=16, proposals=12),
    captions=CaptionSettings(
        channels=16, hidden=16, embedding=8, longest=4, words=("a", "red", "blue", "ball", "box"), dropout=0.5
    ),
    detections=6,
)
CATEGORIES = Categories.from_names(["region"])
LOSSES = {"proposals", "proposal_objectness", "box_decay", "boxes", "objectness", "captions"}


def make(settings: DenseCapSettings = SMALL) -> DenseCap:
    torch.manual_seed(0)
    return DenseCap(settings, CATEGORIES)


def batch_of(counts: list[int]) -> Batch:
    torch.manual_seed(1)
    total = sum(counts)
    boxes = torch.tensor([[10.0, 12, 40, 44], [50, 20, 90, 60], [5, 60, 30, 90]]).repeat(total, 1)[:total]
    captions = ["a red ball", "a blue box\na box", "a ball"] * total
    truth = Regions(boxes, torch.zeros(total, dtype=torch.int64), captions=captions[:total])
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sizes = torch.tensor([[96, 96]] * len(counts))
    return Batch(torch.randn(len(counts), 3, 96, 96), sizes, truth, owners, ["x.png"] * len(counts))


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("counts", [[2, 3], [3, 0], [0, 0]])
def test_every_loss_is_finite_and_every_weight_gets_a_gradient(norm: str, counts: list[int]) -> None:
    network = make(replace(SMALL, norm=norm))  # type: ignore[arg-type]
    losses = network(batch_of(counts))
    assert set(losses) == LOSSES
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_the_published_weights_and_thresholds() -> None:
    own = DenseCapSettings()
    assert own.losses == LossWeights(0.05, 0.1, 0.1, 0.1, 1.0, 5e-5)
    assert (own.nms, own.localisation.nms, own.localisation.proposals) == (0.3, 0.7, 1000)
    assert (own.localisation.samples, own.localisation.positive, own.localisation.negative) == (256, 0.7, 0.3)
    assert (own.captions.channels, own.captions.dropout, own.captions.hidden, own.captions.longest) == (
        4096,
        0.5,
        512,
        15,
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_each_weight_scales_its_own_loss(name: str) -> None:
    losses, batch = [], batch_of([3, 2])
    for factor in (1.0, 3.0):
        network = make(replace(SMALL, losses=LossWeights(**{n: factor if n == name else 1.0 for n in LOSSES})))
        torch.nn.init.normal_(network.localisation.deltas.weight, std=0.01)  # else there is nothing to decay
        torch.manual_seed(2)
        losses.append({n: loss.detach() for n, loss in network(batch).items()})
    for other in LOSSES:
        expected = 3.0 if other == name else 1.0
        assert float(losses[0][other]) > 0
        torch.testing.assert_close(losses[1][other], losses[0][other] * expected)


def test_each_positive_box_names_its_own_object_of_the_whole_batch() -> None:
    network, batch = make(), batch_of([1, 3])
    truth, valid, first = pad_truth(batch)
    candidates = network.localisation(network.features(batch.images))
    drawn = network.localisation.draw(candidates, truth, valid, batch.sizes, batch.searched)
    regions = packed(drawn, first)
    assert set(regions.matched[regions.positive].tolist()) == {0, 1, 2, 3}
    own = batch.truth.boxes[regions.matched[regions.positive]]
    torch.testing.assert_close(own, drawn.goals[drawn.positive])


def test_the_sentences_teach_the_boxes() -> None:
    """The gradient of the caption loss passes through the pooling to what moves the anchors."""
    network = make()
    network(batch_of([3, 3]))["captions"].backward()
    gradient = network.localisation.deltas.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_the_final_boxes_and_sentences_of_one_batch_can_be_learned() -> None:
    network, batch = make(replace(SMALL, norm="batch", captions=replace(SMALL.captions, dropout=0.0))), batch_of([3, 3])
    optimizer = torch.optim.Adam(network.parameters(), lr=6e-3)
    history = []
    for _ in range(25):
        losses = network(batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    assert history[-1]["captions"] < 0.7 * history[0]["captions"]
    assert history[-1]["objectness"] < 0.9 * history[0]["objectness"]


def test_detections_are_inside_apart_and_sorted() -> None:
    network = make(replace(SMALL, nms=0.2)).eval()
    sizes = torch.tensor([[96, 64], [70, 96]])
    with torch.no_grad():
        found, codes = network.find(torch.randn(2, 3, 96, 96), sizes)
    assert codes.shape == (2, 6, 16)
    assert bool((found.scores.diff(dim=1) <= 0).all())
    assert not found.labels.any()
    for image, (h, w) in enumerate(sizes.tolist()):
        boxes = found.boxes[image][found.valid[image]]
        assert len(boxes) > 1
        assert bool((boxes >= 0).all() & (boxes <= torch.tensor([w, h, w, h])).all())
        assert float(box_iou(boxes, boxes).triu(1).max()) <= 0.2 + 1e-6


def test_the_second_refinement_moves_the_boxes_and_not_the_codes() -> None:
    network = make(replace(SMALL, nms=1.0)).eval()
    images, sizes = torch.randn(1, 3, 96, 96), torch.tensor([[96, 96]])
    with torch.no_grad():
        before, codes = network.find(images, sizes)
        torch.testing.assert_close(before.boxes[0, 0][2:] > before.boxes[0, 0][:2], torch.tensor([True, True]))
        network.deltas.bias.copy_(torch.tensor([0.0, 0.0, -0.5, -0.5]))
        after, same = network.find(images, sizes)
    torch.testing.assert_close(same, codes)
    old, new = (found.boxes[0, :, 2:] - found.boxes[0, :, :2] for found in (before, after))
    torch.testing.assert_close(new, old * 0.6065307, rtol=1e-3, atol=1e-3)


def test_a_picture_is_seen_alike_alone_and_in_a_batch() -> None:
    network = make().eval()
    images, sizes = torch.randn(2, 3, 64, 64), torch.tensor([[64, 64]] * 2)
    with torch.no_grad():
        together, _ = network.find(images, sizes)
        alone, _ = network.find(images[1:], sizes[1:])
    count = int(alone.valid.sum())
    assert int(together.valid[1].sum()) == count
    torch.testing.assert_close(together.scores[1, :count], alone.scores[0, :count], atol=1e-4, rtol=1e-4)
