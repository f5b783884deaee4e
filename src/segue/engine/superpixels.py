"""From probabilities to labels that follow the picture's edges (Farabet et al. 2013, section 5).

Needs the ``superpixels`` extra (scikit-image).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segue.errors import UsageError

Floats = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SuperpixelSettings:
    """How the picture is cut up (Felzenszwalb & Huttenlocher 2004).

    Attributes:
        scale: the larger, the larger the superpixels.
        sigma: of the Gaussian blur before, in pixels.
        smallest: pixels of the smallest superpixel.
    """

    scale: float = 100.0
    sigma: float = 0.8
    smallest: int = 20


class Borders(NamedTuple):
    """Which regions touch.

    Attributes:
        pairs: (E, 2) regions, the lower number first; each pair once.
        length: (E,) how many pairs of neighbouring pixels lie across the border.
        strength: (E,) sum over these of the distance of their colours.
    """

    pairs: Ints
    length: Floats
    strength: Floats


def superpixels(image: Tensor, settings: SuperpixelSettings) -> Ints:
    """(3, H, W) uint8 -> (H, W) number of each pixel's superpixel, from 0 without gaps.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise UsageError("superpixels need scikit-image", cure="pip install 'segue[superpixels]'") from error
    pixels = image.permute(1, 2, 0).numpy(force=True)
    s = settings
    segments = felzenszwalb(pixels, scale=s.scale, sigma=s.sigma, min_size=s.smallest)
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)


def superpixel_labels(probabilities: Tensor, segments: Ints) -> Tensor:
    """Every superpixel gets the class of the highest mean probability over its pixels.

    Args:
        probabilities: (K, H, W) float, of each pixel.
        segments: (H, W), as of `superpixels`.

    Returns:
        (H, W) int16.
    """
    best = _sums(probabilities, segments).argmax(1)
    return torch.from_numpy(best.astype(np.int16)[segments])


def purity_cover(probabilities: Tensor, image: Tensor, segments: Ints) -> Tensor:
    """Every pixel gets the class of the purest component that holds it, among all sizes of a segmentation tree.

    The tree joins superpixels as `merge_tree` does. A component's distribution of classes is the mean over its pixels;
    the less its entropy, the purer it is; of equally pure ones the smallest counts. The paper predicts the distribution
    instead with a second classifier, from features max-pooled on a grid over the component, and trains that on the
    true distributions. The mean needs no training, and is never purer than the purest part: large components win where
    they are surer than the superpixel in question.

    Args:
        probabilities: (K, H, W) float, of each pixel.
        image: (3, H, W) uint8.
        segments: (H, W), as of `superpixels`.

    Returns:
        (H, W) int16.
    """
    sums, sizes = _sums(probabilities, segments), np.bincount(segments.ravel()).astype(np.float64)
    best, purest = np.zeros(len(sizes), np.int64), np.full(len(sizes), np.inf)
    for component in merge_tree(borders(image, segments), len(sizes)):  # of each superpixel
        total = _add(sums, component)
        mean = total / np.bincount(component, sizes)[:, None]
        impurity, label = _entropy(mean)[component], mean.argmax(1)[component]
        purer = impurity < purest
        best, purest = np.where(purer, label, best), np.where(purer, impurity, purest)
    return torch.from_numpy(best.astype(np.int16)[segments])


def merge_tree(edges: Borders, regions: int) -> Iterator[Ints]:
    """The levels of a segmentation tree, finest first: the component of every region, (R,) numbers from 0.

    From one level to the next, two components become one where the border between them is for both the weakest that
    they have, by the mean over its length. That gives the tree of joining the two with the weakest border again and
    again, since no border of a union is weaker than all of those that it came from.
    """
    component = np.arange(regions)
    yield component
    while len(edges.pairs):
        parent = _join(edges, regions)
        edges = _contract(edges, parent)
        component, regions = parent[component], int(parent.max()) + 1
        yield component


def borders(image: Tensor, segments: Ints) -> Borders:
    """Lengths and strengths of the borders between segments (H, W) of a picture (3, H, W) uint8."""
    pixels = image.numpy(force=True).astype(np.float64)
    pairs, steps = [], []
    for axis in (0, 1):
        before = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        after = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        across = segments[before] != segments[after]
        pairs.append(np.stack([segments[before][across], segments[after][across]], 1))
        steps.append(np.linalg.norm(pixels[:, *before] - pixels[:, *after], axis=0)[across])
    strength = np.concatenate(steps)
    return _unite(np.concatenate(pairs), np.ones(len(strength)), strength)


def _join(edges: Borders, regions: int) -> Ints:
    """(R,) new number of every region, from 0, after the best pairs have become one."""
    rank = np.empty(len(edges.pairs), np.int64)
    rank[np.argsort(edges.strength / edges.length, kind="stable")] = np.arange(len(rank))
    weakest = np.full(regions, len(rank))
    np.minimum.at(weakest, edges.pairs.ravel(), rank.repeat(2))
    chosen = (weakest[edges.pairs] == rank[:, None]).all(1)
    parent = np.arange(regions)
    parent[edges.pairs[chosen, 1]] = edges.pairs[chosen, 0]
    return np.unique(parent, return_inverse=True)[1]


def _contract(edges: Borders, parent: Ints) -> Borders:
    """The borders that remain between regions when each has its new number."""
    pairs = parent[edges.pairs]
    left = pairs[:, 0] != pairs[:, 1]
    return _unite(pairs[left], edges.length[left], edges.strength[left])


def _unite(pairs: Ints, length: Floats, strength: Floats) -> Borders:
    """Pairs in any order and any number of times -> each once, with the sums."""
    unique, which = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    which = which.reshape(-1)
    return Borders(unique, np.bincount(which, length), np.bincount(which, strength))


def _sums(probabilities: Tensor, segments: Ints) -> Floats:
    """(K, H, W) -> (R, K) sums over the pixels of each segment."""
    return _add(probabilities.flatten(1).float().numpy(force=True).T, segments.ravel())


def _add(rows: Floats, index: Ints) -> Floats:
    """(N, K) rows -> (R, K) sums of those with the same index."""
    return np.stack([np.bincount(index, column) for column in rows.T], 1)


def _entropy(distributions: Floats) -> Floats:
    """(R, K) -> (R,) in nats; rows need not quite sum to 1."""
    p = distributions
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy: Floats = -(p * logs).sum(1)
    return entropy
