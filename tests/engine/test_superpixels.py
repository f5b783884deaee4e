import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from segue.engine.superpixels import (
    Ints,
    SuperpixelSettings,
    borders,
    merge_tree,
    purity_cover,
    superpixel_labels,
    superpixels,
)
from segue.errors import UsageError


def mosaic(seed: int, side: int = 24, seeds: int = 12) -> Ints:
    """(side, side) numbers of the nearest of some random points."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, side, (seeds, 2))
    at = np.stack(np.mgrid[:side, :side], -1)[:, :, None]
    return np.unique(np.square(at - points).sum(-1).argmin(-1), return_inverse=True)[1].reshape(side, side)


def noise(seed: int, side: int = 24) -> Tensor:
    return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def chances(seed: int, classes: int = 4, side: int = 24) -> Tensor:
    return (3 * torch.randn(classes, side, side, generator=torch.Generator().manual_seed(seed))).softmax(0)


def neighbours(segments: Ints) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    h, w = segments.shape
    for y in range(h):
        for x in range(w):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < h and other[1] < w and segments[y, x] != segments[other]:
                    yield (y, x), other


def mean_border(image: Tensor, owner: Ints) -> dict[tuple[int, int], float]:
    """The mean distance of colours across the border, for each pair of regions that touch."""
    steps: dict[tuple[int, int], list[float]] = {}
    for a, b in neighbours(owner):
        pair = (min(int(owner[a]), int(owner[b])), max(int(owner[a]), int(owner[b])))
        steps.setdefault(pair, []).append(float((image[:, *a].double() - image[:, *b].double()).norm()))
    return {pair: sum(values) / len(values) for pair, values in steps.items()}


def components_one_by_one(image: Tensor, segments: Ints) -> set[frozenset[int]]:
    """All components of the tree that joins the two regions with the weakest border until one is left."""
    members = {i: frozenset([i]) for i in range(segments.max() + 1)}
    found, owner = set(members.values()), segments.copy()
    while len(members) > 1:
        means = mean_border(image, owner)
        a, b = min(means, key=lambda pair: means[pair])
        owner[owner == b] = a
        members[a] |= members.pop(b)
        found.add(members[a])
    return found


def two_halves() -> tuple[Tensor, Tensor]:
    """A picture of two colours with a little noise, and which is where."""
    labels = (torch.arange(40) >= 17).long().expand(32, 40)
    image = torch.where(labels == 1, 200, 40).expand(3, 32, 40) + noise(0, 40)[:, :32].long() // 32
    return image.byte(), labels


def test_superpixels_do_not_cross_edges_and_are_numbered_without_gaps() -> None:
    image, labels = two_halves()
    segments = superpixels(image, SuperpixelSettings())
    assert segments.shape == (32, 40)
    assert set(np.unique(segments)) == set(range(segments.max() + 1))
    for number in range(segments.max() + 1):
        assert len(labels[torch.from_numpy(segments == number)].unique()) == 1


def test_labels_over_superpixels_forget_single_wrong_pixels() -> None:
    image, labels = two_halves()
    wrong = torch.rand(32, 40, generator=torch.Generator().manual_seed(1)) < 0.2
    seen = torch.where(wrong, 1 - labels, labels)
    probabilities = torch.stack([0.9 - 0.8 * seen, 0.1 + 0.8 * seen])
    segments = superpixels(image, SuperpixelSettings(smallest=60))
    for smooth in (superpixel_labels(probabilities, segments), purity_cover(probabilities, image, segments)):
        assert smooth.dtype == torch.int16
        assert torch.equal(smooth.long(), labels)


def test_without_scikit_image_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UsageError, match=r"scikit-image; pip install 'segue\[superpixels\]'"):
        superpixels(torch.zeros(3, 8, 8, dtype=torch.uint8), SuperpixelSettings())


def test_superpixel_labels_are_the_best_of_the_mean() -> None:
    segments, probabilities = mosaic(2), chances(3)
    labels = superpixel_labels(probabilities, segments)
    for number in range(segments.max() + 1):
        inside = torch.from_numpy(segments == number)
        assert set(labels[inside].tolist()) == {int(probabilities[:, inside].mean(1).argmax())}


def test_borders_equal_a_walk_over_all_pixels() -> None:
    image, segments = noise(4), mosaic(5)
    found = borders(image, segments)
    means = (found.strength / found.length).tolist()
    assert dict(zip(map(tuple, found.pairs.tolist()), means, strict=True)) == pytest.approx(
        mean_border(image, segments)
    )
    assert found.length.sum() == len(list(neighbours(segments)))


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_is_that_of_joining_the_weakest_border_first(seed: int) -> None:
    image, segments = noise(seed), mosaic(seed)
    count = int(segments.max()) + 1
    levels = list(merge_tree(borders(image, segments), count))
    found = {frozenset(np.flatnonzero(level == c).tolist()) for level in levels for c in np.unique(level)}
    expected = components_one_by_one(image, segments)
    assert len(expected) == 2 * count - 1
    assert found == expected
    assert len(levels) < count


@pytest.mark.parametrize("seed", range(3))
def test_the_cover_takes_the_purest_of_all_components_around_each_superpixel(seed: int) -> None:
    image, segments, probabilities = noise(seed), mosaic(seed), chances(seed)
    means = {}
    for component in components_one_by_one(image, segments):
        inside = torch.from_numpy(np.isin(segments, list(component)))
        means[component] = probabilities[:, inside].double().mean(1)
    expected = torch.zeros(segments.shape, dtype=torch.int16)
    for number in range(int(segments.max()) + 1):
        around = [mean for component, mean in means.items() if number in component]
        purest = min(around, key=lambda p: float(torch.special.entr(p).sum()))
        expected[torch.from_numpy(segments == number)] = int(purest.argmax())
    assert torch.equal(purity_cover(probabilities, image, segments), expected)


def test_an_unsure_superpixel_takes_the_label_of_a_sure_neighbour_it_belongs_to() -> None:
    segments = np.repeat([[0, 1, 2]], 4, axis=0).repeat(4, axis=1)  # three columns
    image = torch.tensor([100, 110, 200]).repeat_interleave(4).expand(3, 4, 12).byte()  # the middle is like the left
    shares = torch.tensor([[0.98, 0.48, 0.05], [0.02, 0.52, 0.95]]).repeat_interleave(4, dim=1)
    probabilities = shares[:, None].expand(2, 4, 12)
    assert superpixel_labels(probabilities, segments)[0].tolist() == [0] * 4 + [1] * 8
    assert purity_cover(probabilities, image, segments)[0].tolist() == [0] * 8 + [1] * 4


def test_one_superpixel_and_certain_zeros_are_no_trouble() -> None:
    segments = np.zeros((3, 5), np.int64)
    probabilities = torch.zeros(3, 3, 5)
    probabilities[2] = 1
    labels = purity_cover(probabilities, noise(0, 5)[:, :3], segments)
    assert torch.equal(labels, torch.full((3, 5), 2, dtype=torch.int16))
