"""How time and memory of a prediction grow with the picture, its regions, and the batch.

    python -m benchmarks.growth --out docs/growth.md

Every point is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks import vision
from benchmarks.load import OtherWork
from benchmarks.networks import CLASSES, clouds, limits, mask_rcnn, random_network
from benchmarks.report import QUICK, as_table, machine
from segue.drawing import contact_sheet, plot_curves
from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.memory import keep_memory
from segue.models.inference import optimise
from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings
from segue.tasks import BOXES, MASKS

SECONDS = 3.0  # repeated so long, but three times at most
LINEAR = 0.15  # how far from 1 the power of growth may be

Side = Literal["segue", "torchvision"]

PAGE = """\
# How time and memory grow

Written by `python -m benchmarks.growth --out docs/growth.md`.

Mask R-CNN R50-FPN (`benchmarks/networks.py`, random weights, 32 bits) in the form that `segue.load` gives it. Every
point is measured in a process of its own: the median of up to three predictions after one to warm up (one
prediction only where it takes long), and the most memory that they have beyond what the process had with the network
loaded. The power says how a step grows against the row before: 1 is linear, 0 is no growth, 2 is quadratic.
Regions are detections above a score of 0, as many as the network may give. With tiles each tile gives as many, and
doubles are joined.

![Time and memory](images/growth.png)
"""


@dataclass(frozen=True)
class Point:
    """What is predicted: a batch of pictures of one size, with a limit of detections; in tiles where ``tile`` is."""

    height: int
    width: int
    detections: int = 100
    batch: int = 1
    tile: int | None = None
    side: Side = "segue"

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6


@dataclass(frozen=True)
class Cost:
    """Seconds of a prediction, bytes at its peak beyond those before, and regions that it gave."""

    seconds: float
    memory: float
    regions: int


@dataclass(frozen=True)
class Sweep:
    """Points that differ in one thing.

    Attributes:
        title: what grows.
        unit: of it.
        points: the smallest first.
        value: how much of it a point has.
    """

    title: str
    unit: str
    points: Sequence[Point]
    value: Callable[[Point], float]


def sized(megapixels: float, tile: int | None = None) -> Point:
    """A picture three wide and two high."""
    height = round(math.sqrt(megapixels * 1e6 * 2 / 3))
    return Point(height, round(megapixels * 1e6 / height), tile=tile)


def sweeps(quick: bool) -> list[Sweep]:
    if quick:
        sizes = [sized(0.01), sized(0.02), sized(0.04, 128)]
        regions, batches = (2, 5), (1, 2)
        frame, small = (96, 128), (64, 64)
    else:
        sizes = [sized(0.25), sized(1), sized(4), sized(4, 1024), sized(16, 1024), sized(50, 1024)]
        regions, batches = (10, 50, 200, 1000, 2000), (1, 2, 4, 8, 16)
        frame, small = (800, 1216), (256, 256)
    return [
        Sweep("Picture", "megapixels", [p for p in sizes if p.tile is None], lambda p: p.megapixels),
        Sweep("Picture, in tiles of 1024", "megapixels", [p for p in sizes if p.tile], lambda p: p.megapixels),
        Sweep("Regions", "regions", [Point(*frame, detections=n) for n in regions], lambda p: p.detections),
        Sweep("Batch", "pictures", [Point(*small, batch=n) for n in batches], lambda p: p.batch),
    ]


def main() -> None:
    """Measure every point, then write the page and its chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    parser.add_argument("--quick", action="store_true", help="tiny inputs: see that it runs")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--network", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        if options.kept:
            keep_memory()
        print(json.dumps(asdict(measure(Point(**json.loads(options.point)), options.network, options.quick))))
        return
    others, plan = OtherWork(), sweeps(options.quick)
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.pt"
        torch.save(fresh_network(options.quick).state_dict(), network)
        costs = [
            [child(point, network, options.quick) for point in tqdm(sweep.points, desc=sweep.title)] for sweep in plan
        ]
        memory = [beside_torchvision(network, options.quick), kept_memory(network, options.quick)]
    parts = [QUICK] if options.quick else []
    parts += [machine(others.share()), *map(section, plan, costs), *memory]
    text = "\n".join([PAGE, *parts])
    print(text, end="")
    if options.out:
        atomic_write(options.out, text.encode())
        chart = options.out.parent / "images" / "growth.png"
        chart.parent.mkdir(parents=True, exist_ok=True)
        draw(plan, costs).save(chart)


def child(point: Point, network: Path, quick: bool, kept: bool = False) -> Cost:
    """Measured in a process of its own, which keeps freed memory if asked."""
    command = [sys.executable, "-m", "benchmarks.growth", "--point", json.dumps(asdict(point))]
    command += ["--network", str(network), *(["--quick"] if quick else [])]
    done = subprocess.run([*command, *(["--kept"] if kept else [])], check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout))


def fresh_network(quick: bool) -> RegionNetwork:
    """With random weights that see objects; in the form for training."""
    size = (96, 128) if quick else (800, 1216)
    return random_network(mask_rcnn(quick), CLASSES, clouds(size), 50)


def measure(point: Point, network: Path, quick: bool) -> Cost:
    """One run to warm up, then up to three; of tiles, which are many runs of the network, one alone."""
    run = (ours if point.side == "segue" else theirs)(point, network, mask_rcnn(quick))
    pictures = [picture(point, number) for number in range(point.batch)]
    seconds: list[float] = []
    with peak_memory() as peak:
        if point.tile is None:
            run(pictures)
        while not seconds or (point.tile is None and len(seconds) < 3 and sum(seconds) < SECONDS):
            start = time.perf_counter()
            found = run(pictures)
            seconds.append(time.perf_counter() - start)
    return Cost(median(seconds), peak(), found)


def picture(point: Point, seed: int) -> Tensor:
    """(3, H, W) uint8 that looks the same at every size: one texture, as often as it takes."""
    texture = clouds((800, 1216), seed)
    times = (1, -(-point.height // texture.shape[1]), -(-point.width // texture.shape[2]))
    return texture.repeat(times)[:, : point.height, : point.width].contiguous()


def ours(point: Point, network: Path, settings: NetworkSettings) -> Callable[[list[Tensor]], int]:
    """What predicts, and says how many regions there were."""
    made = RegionNetwork(settings, CLASSES, (BOXES, MASKS)).eval()
    made.load_state_dict(torch.load(network, weights_only=True, mmap=True))
    head: Any = made.heads["boxes"]
    head.settings = replace(head.settings, score=0.0, detections=point.detections)
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimise(made, torch.float32)
    predictor = RegionPredictor("", made, CLASSES, [BOXES, MASKS])

    def run(pictures: list[Tensor]) -> int:
        if point.tile is not None:
            return len(predictor.tiled(pictures[0], point.tile, 0.0).regions)
        return sum(len(scene.regions) for scene in predictor.predict(pictures, 0.0, len(pictures)))

    return run


def theirs(point: Point, network: Path, settings: NetworkSettings) -> Callable[[list[Tensor]], int]:
    """The same with torchvision's network."""
    state = torch.load(network, weights_only=True, mmap=True)
    limit = limits(settings) | {"box_detections_per_img": point.detections}
    size = (point.height, point.width)
    model = vision.network(state, len(CLASSES), size, box_score_thresh=0.0, **limit).eval()

    def run(pictures: list[Tensor]) -> int:
        with torch.inference_mode():
            return sum(len(found["boxes"]) for found in model([p.float() / 255 for p in pictures]))

    return run


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Watches this process inside the block; then says the bytes that it had at most beyond those at the start."""
    start = highest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: float(highest - start)
    finally:
        done.set()
        watcher.join()


def resident() -> int:
    """Bytes of this process in memory, as Linux counts them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def section(sweep: Sweep, costs: Sequence[Cost]) -> str:
    """A table of a sweep, and where it is linear."""
    amounts = [round(sweep.value(point), 2) for point in sweep.points]
    columns = [[cost.seconds for cost in costs], [cost.memory for cost in costs]]
    powers = [["", *(f"{p:.2f}" for p in steps(amounts, values))] for values in columns]
    rows = [
        (
            f"{amount:g}",
            f"{cost.seconds:.2f}",
            time_power,
            f"{cost.memory / 1e6:,.0f}",
            memory_power,
            f"{cost.regions:,}",
        )
        for amount, cost, time_power, memory_power in zip(amounts, costs, *powers, strict=True)
    ]
    head = (sweep.unit, "seconds", "power", "MB", "power", "regions")
    said = [sentence(name, amounts, values) for name, values in zip(("Time", "Memory"), columns, strict=True)]
    return f"## {sweep.title}\n\n{as_table([head, *rows])}\n{' '.join(said)}\n"


def steps(amounts: Sequence[float], values: Sequence[float]) -> list[float]:
    """The power with which each value grows against the one before."""
    pairs = list(zip(amounts, values, strict=True))
    return [math.log(v / u) / math.log(b / a) if u > 0 < v else math.nan for (a, u), (b, v) in pairwise(pairs)]


def sentence(name: str, amounts: Sequence[float], values: Sequence[float]) -> str:
    """Where it is linear and where not."""
    kinds = [
        "linear" if abs(p - 1) <= LINEAR else "less than linear" if p < 1 else "more than linear"
        for p in steps(amounts, values)
    ]
    parts, first = [], 0
    for kind, group in groupby(kinds):
        last = first + len(list(group))
        parts.append(f"{kind} from {amounts[first]:g} to {amounts[last]:g}")
        first = last
    return f"{name} is {', '.join(parts)}."


def beside_torchvision(network: Path, quick: bool) -> str:
    """What a prediction takes of memory beside torchvision's."""
    head = "## Memory beside torchvision\n\n"
    if vision.MISSING:
        return f"{head}Not measured: torchvision's compiled operators do not load here ({vision.MISSING}).\n"
    height, width = (96, 128) if quick else (800, 1216)
    mine, other = (child(Point(height, width, side=side), network, quick) for side in ("segue", "torchvision"))
    rows = [
        ("what", "segue", "torchvision", "ratio"),
        (
            "peak memory, MB",
            f"{mine.memory / 1e6:,.0f}",
            f"{other.memory / 1e6:,.0f}",
            f"{mine.memory / other.memory:.2f}",
        ),
        ("seconds", f"{mine.seconds:.2f}", f"{other.seconds:.2f}", f"{mine.seconds / other.seconds:.2f}"),
    ]
    return f"{head}One picture of {height} × {width}, {mine.regions} and {other.regions} regions.\n\n{as_table(rows)}"


def kept_memory(network: Path, quick: bool) -> str:
    """The same prediction as the command line has it, which keeps freed memory, in turns with one that does not."""
    point = Point(96, 128) if quick else Point(800, 1216)
    pairs = [tuple(child(point, network, quick, kept) for kept in (False, True)) for _ in range(1 if quick else 3)]
    given, kept = zip(*pairs, strict=True)
    columns = [(median(c.seconds for c in side), median(c.memory for c in side)) for side in (given, kept)]
    rows = [
        ("freed memory is", "seconds", "MB"),
        *((name, f"{s:.2f}", f"{m / 1e6:,.0f}") for name, (s, m) in zip(("given back", "kept"), columns, strict=True)),
    ]
    text = f"The command line keeps it (`segue/memory.py`). One picture of {point.height} × {point.width}."
    return f"## Memory that is kept\n\n{text}\n\n{as_table(rows)}"


def draw(plan: Sequence[Sweep], costs: Sequence[Sequence[Cost]]) -> Image.Image:
    """Time and memory of every sweep, both axes in powers of ten."""
    charts = []
    for name, read in (("seconds", lambda c: c.seconds), ("megabytes", lambda c: c.memory / 1e6)):
        lines = {
            f"{sweep.title} ({sweep.unit})": [
                (math.log10(sweep.value(point)), math.log10(max(read(cost), 1e-3)))
                for point, cost in zip(sweep.points, found, strict=True)
            ]
            for sweep, found in zip(plan, costs, strict=True)
        }
        charts.append(plot_curves(lines, x_label="power of ten of how much", y_label=f"power of ten of {name}"))
    return contact_sheet(charts, columns=1)


if __name__ == "__main__":
    main()
