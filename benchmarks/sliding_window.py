"""What classifying patch after patch costs: ``python -m benchmarks.sliding_window --out docs/sliding_window.md``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.load import OtherWork
from benchmarks.report import machine
from segue.files import atomic_write
from segue.nn.sliding_window import Field, SlidingWindow, dilate, receptive_field, shift_and_stitch, surround

SIZE, SIZE_QUICK = (120, 160), (6, 9)
CLASSES = 8  # of Stanford Background
REPEATS = 5  # of the fast ways, after one warm-up; the literal way takes long enough to be run once
HEADER = ("way", "runs over", "time", "faster", "multiply-adds", "fewer", "largest difference")

PAGE = """\
# The cost of a sliding window

Written by `python -m benchmarks.sliding_window --out docs/sliding_window.md`.

A network of the kind of Pinheiro & Collobert's CNN1 (2014: convolution, pooling, convolution, pooling, convolution; no
padding) gives each pixel of a {h} × {w} picture the scores of {classes} classes, from {field} × {field} pixels. Its
strides multiply to {stride}. Three ways to the same numbers:

- **literal**: cut out every pixel's patch and classify it.
- **shift and stitch**: run the network over {stride} × {stride} shifted pictures and interleave the outputs.
- **dilated**: take the strides away and dilate the later kernels instead; one run.

{table}
Differences are between scores as computed in float32, over all pixels and classes; scores reach {largest:.1f}.
The literal way does the work again for each of the up to {field}² patches that share a pixel: that is why every
network in Segue runs over whole pictures.

{machine}{others}"""
OTHERS = "- Other work took {:.0%} of the processor meanwhile, which makes times longer. Multiply-adds are counted.\n"
QUICK = "\n**Made with `--quick`: a tiny picture, to see that everything runs. These are no measurements.**\n"


@dataclass(frozen=True)
class Way:
    """One way over the whole picture, measured.

    Attributes:
        runs: what is run how often, in words.
        seconds: of the whole picture.
        operations: multiply-adds of the whole picture.
        scores: (1, K, H, W).
    """

    name: str
    runs: str
    seconds: float
    operations: float
    scores: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sliding_window", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the page here, too")
    parser.add_argument("--quick", action="store_true", help="a tiny picture: see that it runs")
    arguments = parser.parse_args()
    others = OtherWork()
    field, ways = measure(SIZE_QUICK if arguments.quick else SIZE)
    text = page(field, ways, others.share()) + (QUICK if arguments.quick else "")
    print(text, end="")
    if arguments.out:
        atomic_write(arguments.out, text.encode())


def network() -> nn.Sequential:
    """The kind of CNN1, with smaller kernels: 67 pixels at a stride of 8, not 133 at 16."""
    random = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 25, 4),
        nn.MaxPool2d(4),
        nn.Tanh(),
        nn.Conv2d(25, 50, 3),
        nn.MaxPool2d(2),
        nn.Tanh(),
        nn.Conv2d(50, CLASSES, 7),
    )
    for module in net:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=random)
            nn.init.zeros_(module.bias)
    return net


@torch.no_grad()
def measure(size: tuple[int, int]) -> tuple[Field, list[Way]]:
    """All three ways over one picture of random pixels; the scores do not know what they are about."""
    net, picture = network(), torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    field, dense = receptive_field(net), dilate(net)
    padded, pixels = surround(picture, Field(field.size, 1)), size[0] * size[1]
    literal, slow = timed(lambda: SlidingWindow(net, field.size)(picture), repeats=0)
    patch = operations(lambda: net(padded[..., : field.size, : field.size]))
    shifted, middle = timed(lambda: shift_and_stitch(net, padded, field), REPEATS)
    dilated, fast = timed(lambda: dense(padded), REPEATS)
    counts = operations(lambda: shift_and_stitch(net, padded, field)), operations(lambda: dense(padded))
    return field, [
        Way("literal", f"{pixels:,} patches", slow, pixels * patch, literal),
        Way("shift and stitch", f"{field.stride**2} pictures", middle, counts[0], shifted),
        Way("dilated", "1 picture", fast, counts[1], dilated),
    ]


def timed(run: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float]:
    """The result of the first run, and the seconds of the fastest of those after it, or of it where there are none."""
    results, seconds = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        results.append(run())
        seconds.append(time.perf_counter() - start)
    return results[0], min(seconds[1:] or seconds)


def operations(run: Callable[[], Tensor]) -> float:
    """Multiply-adds of the convolutions in it."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def page(field: Field, ways: Sequence[Way], others: float | None) -> str:
    """The whole page; ``others`` is the share of the processor that other work took, None where unknown."""
    first = ways[0]
    rows = [HEADER, tuple("---" for _ in HEADER), *(row(way, first) for way in ways)]
    return PAGE.format(
        h=first.scores.shape[2],
        w=first.scores.shape[3],
        classes=CLASSES,
        field=field.size,
        stride=field.stride,
        table="".join(f"| {' | '.join(cells)} |\n" for cells in rows),
        largest=first.scores.abs().max(),
        machine=machine(None),
        others="" if others is None else OTHERS.format(others),
    )


def row(way: Way, literal: Way) -> tuple[str, ...]:
    return (
        way.name,
        way.runs,
        f"{way.seconds:,.3f} s",
        f"{literal.seconds / way.seconds:,.0f} ×",
        f"{way.operations / 1e9:,.2f} G",
        f"{literal.operations / way.operations:,.0f} ×",
        f"{(way.scores - literal.scores).abs().max():.1e}",
    )


if __name__ == "__main__":
    main()
