"""What a picture of 6000x4000 pixels costs tile by tile, and how its labels differ from those of one look.

    python -m benchmarks.large_image --out docs/large_image.md

The memory is the peak of a `segue predict --tile` of its own, everything included: Python, the picture, its overlay.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segue.data.images import to_pil
from segue.engine.blend import blend_tiles, spans
from segue.engine.load import load
from segue.engine.recipe import check_semantic, to_plain
from segue.engine.semantic_predictor import SemanticPredictor
from segue.files import atomic_write
from segue.models.semantic_network import SemanticNetwork
from segue.models.weights import ModelFile, write_model
from segue.structures import Categories

NETWORK = {"network": {"unet": {"width": 8, "depth": 3}}}
REACH = 72  # pixels: more than half of this network's receptive field
CLASSES = Categories.from_names([f"class {i}" for i in range(11)])
PAGE = """# A picture of {w}x{h} pixels, tile by tile

Written by `python -m benchmarks.large_image --out docs/large_image.md`.

| what | measured | aim |
|---|---|---|
| peak memory of `segue predict --tile {side}`, 11 classes, overlay and maps included | {memory:.2f} GB | 2 GB |
| largest difference of a probability to one look at the whole picture, away from seams | {difference:.1e} | 1e-4 |
| pixels with the same label as in one look, seams included | {same:.2%} | |

The network is a U-Net of width 8 and depth 3 with random weights; away from seams means {reach} pixels, half of its
receptive field, or more from the edge of every tile that has a part in a pixel.
"""


def main() -> None:
    """Measure, then write the page."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--out", type=Path)
    parse.add_argument("--size", type=int, nargs=2, default=(4000, 6000), metavar=("H", "W"))
    parse.add_argument("--tile", type=int, default=1024)
    options = parse.parse_args()
    (h, w), side = options.size, options.tile
    with tempfile.TemporaryDirectory() as folder:
        model, picture = Path(folder, "model.safetensors"), Path(folder, "large.png")
        write_random_model(model)
        image = landscape(h, w)
        to_pil(image).save(picture, compress_level=1)
        memory = peak_memory(picture, model, side)
        difference, same = compare(load(model, "cpu"), image, side)
    text = PAGE.format(h=h, w=w, side=side, memory=memory, difference=difference, same=same, reach=REACH)
    print(text, end="")
    if options.out:
        atomic_write(options.out, text.encode())


def write_random_model(path: Path) -> None:
    """A semantic model that was never trained."""
    torch.manual_seed(0)
    settings = check_semantic(NETWORK, "the benchmark")
    network = SemanticNetwork(settings, len(CLASSES))
    content = {"semantic": to_plain(settings)}
    write_model(path, ModelFile("random", content, CLASSES.to_json(), None, network.state_dict()))


def landscape(h: int, w: int) -> Tensor:
    """(3, H, W) uint8 with structure of every size."""
    chance = torch.Generator().manual_seed(0)
    octaves = [torch.rand(1, 3, max(2, h // 4**i), max(2, w // 4**i), generator=chance) for i in range(6)]
    total = sum(F.interpolate(noise, (h, w), mode="bilinear") for noise in octaves)
    assert isinstance(total, Tensor)
    return (total[0] / len(octaves) * 255).byte()


def peak_memory(picture: Path, model: Path, side: int) -> float:
    """Gigabytes that a prediction of its own has at most in memory."""
    arguments = [
        "predict",
        str(picture),
        "--model",
        str(model),
        "--tile",
        str(side),
        "--out",
        str(picture.parent / "out"),
    ]
    subprocess.run([sys.executable, "-m", "segue", *arguments], check=True)
    Image.open(picture.parent / "out" / "large.semantic.png").load()  # it is there, and whole
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def compare(predictor: object, image: Tensor, side: int) -> tuple[float, float]:
    """Largest difference of a probability away from seams, and the share of equal labels."""
    assert isinstance(predictor, SemanticPredictor)
    whole = predictor.probabilities([image])[0]
    multiple = predictor.network.body.period
    away = far_from_seams(image.shape[1], side, multiple)[:, None] & far_from_seams(image.shape[2], side, multiple)
    difference, same = 0.0, 0
    for first, band in blend_tiles(lambda part: predictor.probabilities([part])[0], image, side, multiple):
        rows = slice(first, first + band.shape[1])
        apart = (band - whole[:, rows]).abs().amax(0)
        difference = max(difference, float((apart * away[rows]).max()))
        same += int((band.argmax(0) == whole[:, rows].argmax(0)).sum())
    return difference, same / away.numel()


def far_from_seams(length: int, side: int, multiple: int) -> Tensor:
    """(length,) bool: `REACH` or more from the inner edges of every tile that holds the pixel."""
    pixels, far = torch.arange(length), torch.ones(length, dtype=torch.bool)
    for start, end in spans(length, side, multiple):
        inside = (pixels >= start) & (pixels < end)
        near = (pixels < start + REACH) & (start > 0) | (pixels >= end - REACH) & (end < length)
        far &= ~(inside & near)
    return far


if __name__ == "__main__":
    main()
