"""Synthetic pictures of cell nuclei under a fluorescence microscope, with exact masks.

They are drawn from random shapes and are not real data: good for a first run without any download, for tests, and
as a warm-up before real pictures. Numbers measured on them say nothing about real microscopes.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from segue.errors import UsageError
from segue.files import atomic_write, cannot_write
from segue.structures import Categories, Masks, Regions, Scene

NUCLEUS = Categories.from_names(["nucleus"])

Floats = NDArray[np.float64]

RADII = (5.0, 17.0)  # px, typical radius of a picture's nuclei; single ones reach from 4 to 20
HARMONICS = np.array([2, 3, 4, 5])  # of the outline's low-frequency perturbation
MIN_VISIBLE = 20  # px, what is left of a nucleus below that is neither drawn nor annotated


def make_cells(
    seed: int | tuple[int, ...], size: tuple[int, int] = (256, 256), count: tuple[int, int] = (8, 60)
) -> tuple[Tensor, Regions]:
    """One synthetic picture of stained nuclei, the same for the same arguments.

    Clustered centres (Thomas process), thinned so that nuclei touch but hardly overlap (Matérn's second thinning);
    outlines are ellipses with a few random harmonics; then texture, haze, blur, photon and read-out noise.

    Args:
        seed: any non-negative number, or several.
        size: (height, width) in pixels.
        count: fewest and most nuclei aimed at; where these do not fit, there are fewer.

    Returns:
        (3, H, W) uint8 gray as RGB; and the nuclei: label 0, tight xyxy boxes in pixels, disjoint masks.
    """
    rng = np.random.default_rng(seed)
    centres, radii = _place(rng, size, count)
    owner, y, x, depth = _outlines(rng, size, centres, radii)
    labels = _partition(size, owner, y, x, depth)
    kept = np.bincount(labels.ravel() + 1, minlength=len(radii) + 1)[1:] >= MIN_VISIBLE
    seen = kept[owner]
    signal = _stain(rng, size, len(radii), owner[seen], y[seen], x[seen], depth[seen])
    masks = _masks(labels, np.flatnonzero(kept))
    pixels = torch.from_numpy(_expose(rng, signal)).expand(3, -1, -1).contiguous()
    return pixels, Regions(masks.boxes.float(), torch.zeros(len(masks), dtype=torch.int64), masks=masks)


def write_cells(
    folder: str | os.PathLike[str],
    images: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    count: tuple[int, int] = (8, 60),
) -> Path:
    """Write synthetic pictures ``cells_000.png`` ... and their COCO annotations ``cells.json``; return the latter.

    Picture i is ``make_cells((seed, i), size, count)``, so sets of different seeds share no picture.

    Raises:
        UsageError: numbers that make no sense, or a folder with files that such a set does not have.
    """
    from segue.data.coco import write_coco

    if images < 1 or seed < 0 or min(size) < 16 or not 0 <= count[0] <= count[1]:
        raise UsageError(
            f"cannot make {images} pictures of {size} with {count} nuclei from seed {seed}",
            cure="use at least 1 picture, 16 pixels a side, and no negative number",
        )
    folder = Path(folder)
    names = [f"cells_{i:03d}.png" for i in range(images)]
    _claim(folder, {*names, "cells.json"})
    scenes = []
    for i, name in enumerate(names):
        image, regions = make_cells((seed, i), size, count)
        buffer = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(buffer, "PNG")
        atomic_write(folder / name, buffer.getvalue())
        scenes.append(Scene(size, NUCLEUS, regions, file=name))
    write_coco(scenes, folder / "cells.json")
    return folder / "cells.json"


def _claim(folder: Path, names: set[str]) -> None:
    """Make the folder; refuse one that holds anything but an earlier set of the same names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    foreign = sorted(found if "cells.json" not in found else found - names)
    if foreign:
        raise UsageError(f"the folder holds other files ({foreign[0]})", where=folder, cure="name an empty folder")


def _place(rng: np.random.Generator, size: tuple[int, int], count: tuple[int, int]) -> tuple[Floats, Floats]:
    """Centres (N, 2) y x and radii (N,) in pixels."""
    h, w = size
    wanted = int(rng.integers(count[0], count[1] + 1))
    tries = 4 * wanted
    typical = np.exp(rng.uniform(*np.log(RADII)))
    radii = np.clip(typical * np.exp(rng.normal(0, 0.18, tries)), 4, 20)
    centres = rng.uniform((-2, -2), (h + 2, w + 2), (tries, 2))
    parents = rng.uniform((0, 0), (h, w), (max(1, wanted // 6), 2))
    clustered = rng.random(tries) < rng.uniform(0, 0.9)
    offspring = parents[rng.integers(len(parents), size=tries)] + rng.normal(0, 2.2 * typical, (tries, 2))
    centres[clustered] = offspring[clustered]
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)  # (T, T)
    tight = gaps < rng.uniform(0.78, 1.05) * (radii[:, None] + radii[None])
    free = ~np.tril(tight, -1).any(1) & (centres > -2).all(1) & (centres < (h + 2, w + 2)).all(1)
    first = np.flatnonzero(free)[:wanted]
    return centres[first], radii[first]


def _outlines(
    rng: np.random.Generator, size: tuple[int, int], centres: Floats, radii: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
    """Every pixel in a nucleus: its owner, y, x, and its depth: 0 in the centre to 1 on the outline."""
    n = len(radii)
    reach = int(np.ceil(1.7 * radii.max())) if n else 0
    steps = np.arange(-reach, reach + 1)
    corner = np.floor(centres).astype(np.int64)
    rows, columns = corner[:, :1] + steps, corner[:, 1:] + steps  # (N, S)
    dy = (rows + 0.5 - centres[:, :1])[:, :, None]  # (N, S, 1)
    dx = (columns + 0.5 - centres[:, 1:])[:, None, :]
    turn, stretch = rng.uniform(0, np.pi, (n, 1, 1)), np.exp(rng.uniform(0, 0.28, (n, 1, 1)))
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch  # a long axis of stretch, a short one of 1 / stretch
    v = (dy * np.cos(turn) - dx * np.sin(turn)) * stretch
    angle, edge = np.arctan2(v, u), np.ones((n, 1, 1))
    for k in HARMONICS:
        amount, phase = rng.normal(0, 0.1 / k, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
        edge = edge + amount * np.cos(k * angle + phase)
    depth = np.hypot(u, v) / (radii[:, None, None] * np.clip(edge, 0.6, 1.3))  # (N, S, S)
    inside = (rows >= 0)[:, :, None] & (rows < size[0])[:, :, None]
    inside = inside & (columns >= 0)[:, None, :] & (columns < size[1])[:, None, :] & (depth < 1)
    owner, i, j = np.nonzero(inside)
    return owner, rows[owner, i], columns[owner, j], depth[inside]


def _partition(size: tuple[int, int], owner: Any, y: Any, x: Any, depth: Floats) -> NDArray[np.int64]:
    """(H, W) the nucleus of each pixel, the one in which it lies deepest; -1 for the background."""
    labels = np.full(size, -1, dtype=np.int64)
    order = np.argsort(-depth, kind="stable")  # the deepest is written last
    labels[y[order], x[order]] = owner[order]
    return labels


def _masks(labels: NDArray[np.int64], kept: NDArray[np.int64]) -> Masks:
    """The pixels of each nucleus in ``kept``, in its tight box."""
    slices = ndimage.find_objects(labels + 1, max_label=int(kept.max()) + 1 if len(kept) else 0)
    tight = [(slices[k][1].start, slices[k][0].start, slices[k][1].stop, slices[k][0].stop) for k in kept.tolist()]
    height, width = labels.shape
    windows = torch.tensor(tight, dtype=torch.int64).reshape(-1, 4)
    empty = Masks.empty_windows((height, width), windows)
    owner, x, y = empty.coordinates()
    return Masks(empty.size, empty.boxes, torch.from_numpy(labels)[y, x] == torch.from_numpy(kept)[owner])


def _stain(
    rng: np.random.Generator, size: tuple[int, int], n: int, owner: Any, y: Any, x: Any, depth: Floats
) -> Floats:
    """(H, W) light of the stained nuclei, about 1 inside; they add up where they overlap."""
    brightness = np.exp(rng.normal(0, rng.uniform(0.1, 0.45), n))
    brightness[rng.random(n) < 0.03] *= 1.8  # dying or dividing: small and bright in real pictures, too
    dome = (0.7 + 0.3 * np.sqrt(1 - depth**2)) * brightness[owner]
    signal = np.bincount(y * size[1] + x, weights=dome, minlength=size[0] * size[1]).reshape(size)
    coarse, fine = (_clouds(rng, size, sigma) for sigma in (3.0, 1.1))
    texture = 1 + rng.uniform(0.04, 0.14) * coarse + rng.uniform(0.04, 0.16) * fine
    spots = rng.uniform(0.0, 0.5) * np.maximum(fine - 1.0, 0)  # chromocentres
    return np.maximum(signal * (texture + spots), 0)


def _expose(rng: np.random.Generator, signal: Floats) -> NDArray[np.uint8]:
    """(H, W) light to a camera picture: haze, uneven background, blur, photons, read-out noise, 8 bits."""
    h, w = signal.shape
    haze = rng.uniform(0.02, 0.15) * ndimage.gaussian_filter(signal, 14)
    light = ndimage.gaussian_filter(signal, rng.uniform(0.6, 1.6)) + haze
    tilt = rng.normal(0, 0.25, 2)
    gradient = 1 + tilt[0] * np.linspace(-1, 1, h)[:, None] + tilt[1] * np.linspace(-1, 1, w)
    gain, floor = np.exp(rng.uniform(np.log(30), np.log(190))), rng.uniform(2, 16)
    expected = gain * light + floor * np.maximum(gradient, 0.2)
    photons = rng.uniform(2, 12)  # per gray level
    counts = rng.poisson(np.maximum(expected, 0) * photons) / photons
    read: Floats = counts + rng.normal(0, rng.uniform(0.2, 1.2), (h, w))
    return np.clip(np.rint(read), 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> Floats:
    """(H, W) smooth noise of zero mean and unit spread."""
    noise: Floats = ndimage.gaussian_filter(rng.standard_normal(size), sigma, mode="wrap")
    noise /= noise.std()
    return noise
