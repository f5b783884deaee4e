"""Where the time of a prediction and of a training step goes.

    python -m benchmarks.stages --out docs/stages.md

Functions and modules are wrapped from here; the package knows nothing of it. Each stage has the time that none of the
stages inside it has, so the shares add up to 100 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image
from tqdm import tqdm

from benchmarks.load import OtherWork
from benchmarks.report import QUICK, as_table, machine
from segue.data.images import read_image, to_pil
from segue.data.toybox import render
from segue.data.toybox.write import Order, write_toybox
from segue.engine import train as training
from segue.engine.load import load
from segue.engine.loader import Collate, Stream, TrainingPictures, load_batches
from segue.engine.optimise import make_optimizer
from segue.engine.output import SceneWriter
from segue.engine.picture import overlay
from segue.engine.recipe import Recipe, read_recipe
from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.models.inference import Speed
from segue.models.region_network import RegionNetwork
from segue.tasks import RegionTask

FIRST, SIDE = 5_000_000, 256  # scenes that nothing was trained on
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "toybox.yaml"

PAGE = """\
# Where the time goes

Written by `python -m benchmarks.stages --out docs/stages.md`.

Each stage has the time that none of the stages inside it has; the rest is what no stage names. One stage runs after
the other here, while `segue predict` reads, predicts and writes side by side.
"""


class Clock:
    """Seconds by stage; a stage inside another takes its time from that."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def watched(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, as a stage."""

        def call(*given: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*given, **named)

        return call

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Make a method of this object a stage for good."""
        object.__setattr__(owner, attribute, self.watched(getattr(owner, attribute), name))

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def main() -> None:
    """Measure both, print and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    parser.add_argument("--quick", action="store_true", help="few pictures and steps: see that it runs")
    options = parser.parse_args()
    others, count = OtherWork(), 2 if options.quick else 24
    parts = [PAGE, *([QUICK] if options.quick else [])]
    for speed in ("exact", "fast"):
        seconds = prediction(count, speed)
        title = f"Prediction: bundled `toybox`, all heads, {speed}, {count} scenes of {SIDE} × {SIDE}, files written"
        parts.append(section(title, "picture", seconds, count))
    recipe = read_recipe(RECIPE)
    seconds = training_steps(recipe, count, options.quick)
    title = f"Training: `recipes/toybox.yaml`, {count} steps, loading in the same process"
    parts.append(section(title, "step", seconds, count))
    text = "\n".join([*parts, machine(others.share())])
    print(text, end="")
    if options.out:
        atomic_write(options.out, text.encode())


def section(title: str, unit: str, seconds: Counter[str], count: int) -> str:
    """A table, the stages in the order in which they first ended."""
    total = seconds.total()
    rows = [(name, f"{1000 * each / count:.1f}", f"{each / total:.1%}") for name, each in seconds.items()]
    rows.append(("all", f"{1000 * total / count:.1f}", "100.0%"))
    return f"## {title}\n\n{as_table([('stage', f'ms per {unit}', 'share'), *rows])}"


def prediction(count: int, speed: Speed) -> Counter[str]:
    """Seconds by stage of predicting and writing ``count`` pictures, after one to warm up."""
    predictor = load("toybox", "cpu", speed)
    assert isinstance(predictor, RegionPredictor)
    clock = Clock()
    watch_prediction(clock, predictor)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, stage in WRITING.items():
            stack.enter_context(patch(name, clock.watched(found(name), stage)))
        paths = [Path(folder) / f"{number}.png" for number in range(count + 1)]
        for number, path in enumerate(paths):
            Image.fromarray(render(FIRST + number, (SIDE, SIDE)).image).save(path)
        writer = stack.enter_context(SceneWriter(Path(folder) / "out", "toybox", predictor.tasks))
        for number, path in enumerate(tqdm(paths, desc=f"predict, {speed}")):
            if number == 1:
                clock.seconds.clear()
            with clock.stage("the rest"):
                pixels = clock.watched(read_image, "read")(path)
                [scene] = predictor.scenes([(pixels, str(path))], 0.5)
                image = to_pil(pixels)
                painted = clock.watched(overlay, "draw the overlay")(scene, image, predictor.tasks)
                clock.watched(writer.add, "entries and mesh files")(scene, painted, image)
        return Counter(clock.seconds)


WRITING = {
    "segue.tasks.mesh_files.turntable": "draw the turntable",
    "segue.tasks.mesh_files.gif_bytes": "turntable as GIF",
    "segue.engine.output._png": "pictures as PNG",
    "segue.engine.output.atomic_write": "write to the disk",
}
"""Functions by the place where they are looked up, and their stages."""


def found(name: str) -> Callable[..., Any]:
    """The function that stands there."""
    module, _, function = name.rpartition(".")
    return getattr(__import__(module, fromlist=[function]), function)  # type: ignore[no-any-return]


def watch_prediction(clock: Clock, predictor: RegionPredictor) -> None:
    network = predictor.network
    clock.watch(predictor, "resized", "resize, normalise")
    clock.watch(predictor, "inputs", "resize, normalise")
    watch_network(clock, network)
    selector: Any = network.heads[network.selector]
    clock.watch(selector, "select", "detections (NMS)")
    clock.watch(predictor, "_with_maps", "panoptic map")
    for heads in (network.heads, network.pixel_heads, network.image_heads):
        for name, head in heads.items():
            clock.watch(head, "decode", f"decode {name}")


def watch_network(clock: Clock, network: RegionNetwork) -> None:
    clock.watch(network.trunk, "forward", "trunk")
    clock.watch(network.rpn, "forward", "proposals")
    clock.watch(network.rpn, "propose", "proposals")
    clock.watch(network, "pool", "RoIAlign")
    for heads in (network.heads, network.pixel_heads, network.image_heads):
        for name, head in heads.items():
            clock.watch(head, "forward", f"head {name}")


def training_steps(recipe: Recipe, count: int, quick: bool) -> Counter[str]:
    """Seconds by stage of ``count`` training steps, after two to warm up, on scenes made for it."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, SEGUE_DATA=folder):
        write_toybox(Path(folder) / "toybox", Order(8 if quick else 64, 1, SIDE, 1))
        recipe = replace(recipe, training=replace(recipe.training, batch=2) if quick else recipe.training)
        fabric = training.make_fabric(recipe, "cpu")
        run = training.start(recipe, Path(folder) / "run", fabric, resume=False)
        assert isinstance(run.network, RegionNetwork)
        watch_training(clock, run.network)
        network, optimizer = fabric.setup(run.network, make_optimizer(run.network, recipe.training))
        clock.watch(fabric, "backward", "backward")
        clock.watch(fabric, "clip_gradients", "optimiser")
        clock.watch(optimizer, "step", "optimiser")
        batches = batches_of(run, count + 2)
        with patch("segue.engine.train.update_average", clock.watched(training.update_average, "moving average")):
            for number in tqdm(range(count + 2), desc="train"):
                if number == 2:
                    clock.seconds.clear()
                with clock.stage("the rest"):
                    batch = clock.watched(next, "loading")(batches)
                    training.train_step(run, network, optimizer, batch.to(fabric.device, recipe.training.channels_last))
                run.progress.step += 1
    return clock.seconds


def watch_training(clock: Clock, network: RegionNetwork) -> None:
    watch_network(clock, network)
    clock.watch(network.rpn, "losses", "losses of proposals")
    clock.watch(network, "_sample", "match and sample")
    for heads in (network.heads, network.pixel_heads):
        for name, head in heads.items():
            clock.watch(head, "losses", f"loss {name}")


def batches_of(run: training.Run, count: int) -> Iterator[Any]:
    """As the training loop has them, made in this process."""
    settings = run.recipe.training
    stream = Stream(run.train, settings.batch, 0, count, settings.seed)
    regions = [task for task in run.tasks if isinstance(task, RegionTask)]
    pictures = TrainingPictures(run.train.dataset, run.recipe.augmentation, regions, settings.seed, run.train.known)
    collate = Collate(run.network.conventions, run.network.multiple, regions)
    return iter(load_batches(pictures, stream, collate, 0))


if __name__ == "__main__":
    main()
