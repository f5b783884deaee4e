"""The tables of docs/semantic.md, and the numbers in them.

    SEGUE_DATA=... python tools/semantic_table.py baseline --data camvid
    SEGUE_DATA=... python tools/semantic_table.py measure runs/ladder/segnet --data camvid:val
    python tools/semantic_table.py speed runs/ladder/*
    python tools/semantic_table.py table

The first two write results/semantic/NAME.json; `speed` times finished runs again, one after the other on an otherwise
idle machine. `table` writes what stands between the markers in docs/semantic.md: one table of networks, in the order of
the lecture, and one of the upsamplers in one encoder-decoder (runs named upsample_KIND), and draws the curves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset, open_dataset
from segue.drawing import plot_curves, side_by_side
from segue.engine.evaluate import evaluate
from segue.engine.load import load
from segue.engine.predictor import Predictor
from segue.errors import DataError, UsageError
from segue.files import atomic_write
from segue.metrics.semantic import SemanticScores
from segue.models.analysis import cost
from segue.models.semantic_network import SemanticNetwork
from segue.nn.upsamplers import UpsamplerKind
from segue.structures import Regions, Scene

BEGIN, END = "<!-- measured: written by tools/semantic_table.py -->", "<!-- end of measured -->"
PAGE, IMAGES = Path("docs/semantic.md"), Path("docs/images")
RESULTS = Path("results/semantic")
RECIPES = Path("recipes/camvid")
SIZE = (360, 480)
LADDER = (
    *("baseline", "farabet", "recurrent", "plain", "encoder_decoder", "fcn32s", "fcn16s", "fcn8s", "fcn8s_resnet18"),
    *("deconvnet", "segnet", "unet", "fc_densenet56", "fc_densenet67", "fc_densenet103", "fcn_dilated", "deeplabv3"),
    *("resunet", "camvid"),
)
DRAWN = ("farabet", "plain", "encoder_decoder", "fcn32s", "fcn8s", "segnet", "unet", "deeplabv3")
"""As many lines as there are colours that can be told apart."""

UPSAMPLE = "upsample_"
SCORES = ("mIoU", "class_accuracy", "accuracy", "boundary_F1")
COSTS = ("M parameters", "G multiply-adds", "images/s", "training steps", "minutes")

Result = dict[str, Any]


def main() -> None:
    """Do what the command line says."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parse.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="score and time a finished run")
    measuring.add_argument("run", type=Path)
    measuring.add_argument("--data", default="camvid:val")
    guessing = commands.add_parser("baseline", help="score the class that is most frequent at each place")
    guessing.add_argument("--data", default="camvid", help="with splits train and val")
    timing = commands.add_parser("speed", help="time finished runs again")
    timing.add_argument("runs", type=Path, nargs="+")
    commands.add_parser("table", help="write the page")
    options = parse.parse_args()
    if options.command == "measure":
        write_result(measure(options.run, open_dataset(options.data, {})))
    elif options.command == "baseline":
        train, val = (open_dataset(f"{options.data}:{split}", {}) for split in ("train", "val"))
        write_result(baseline(train, val))
    elif options.command == "speed":
        for run in tqdm(options.runs, unit="network"):
            write_result(read_results(RESULTS)[run.name] | {"images_per_second": speed(load(run))})
    else:
        results = read_results(RESULTS)
        write_between(PAGE, tables(results))
        draw_curves(results)


def measure(run: Path, dataset: Dataset) -> Result:
    """What a finished run is worth: scores, cost and speed of its best weights."""
    predictor = load(run)
    network = predictor.network
    if not isinstance(network, SemanticNetwork):
        raise UsageError("not a run of a semantic model", where=run, cure="name another folder")
    price = cost(predictor, SIZE)
    places = (folder / f"{predictor.name}.yaml" for folder in (RECIPES, RECIPES.parent))
    recipe = next((place for place in places if place.is_file()), None)
    return {
        "name": predictor.name,
        "recipe": recipe.as_posix() if recipe else None,
        "architecture": network.settings.architecture.name,
        "parameters": price.parameters,
        "multiply_adds": price.multiply_adds,
        "images_per_second": speed(predictor),
        "steps": predictor.notes["step"],
        "seconds": training_seconds(run),
        "losses": logged(run, "loss/semantic"),
        "validation": logged(run, "semantic/mIoU"),
        "metrics": evaluate(predictor, dataset).numbers,
    }


def logged(run: Path, name: str, points: int = 60) -> list[tuple[int, float]]:
    """Steps and values of a number in a run's log, averaged where there are more than ``points``."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [(line["step"], line[name]) for line in lines if name in line]
    width = -(-len(found) // points)
    parts = [found[i : i + width] for i in range(0, len(found), width)] if found else []
    return [(part[-1][0], round(statistics.fmean(value for _, value in part), 4)) for part in parts]


def speed(predictor: Predictor, times: int = 9) -> float:
    """Pictures of `SIZE` per second, one at a time and not made smaller: the median after two to warm up."""
    predictor = copy(predictor)
    predictor.resize = None
    picture = torch.randint(256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(times + 2):
        start = time.perf_counter()
        predictor.scenes([(picture, None)], threshold=0.0)  # ends with the labels on the CPU
        seconds.append(time.perf_counter() - start)
    return round(1 / statistics.median(seconds[2:]), 3)


def training_seconds(run: Path) -> int:
    """How long the training ran: of each TensorBoard file, from the time in its name to its last change."""
    files = run.glob("tensorboard/events.out.tfevents.*")
    return round(sum(file.stat().st_mtime - int(file.name.split(".")[3]) for file in files))


def baseline(train: Dataset, val: Dataset) -> Result:
    """The score of a predictor that does not look: the class that was most frequent at each place in training."""
    guess = most_frequent([train.scene(index) for index in range(len(train))])
    scores = SemanticScores(val.categories)
    for index in range(len(val)):
        truth = val.scene(index)
        scores.update(Scene(truth.size, val.categories, Regions.empty(), semantic=guess, file=truth.file), truth)
    nothing = dict.fromkeys(("recipe", "architecture", "parameters", "multiply_adds", "images_per_second", "seconds"))
    return {"name": "baseline", **nothing, "steps": None, "metrics": scores.compute() | {"images": len(val)}}


def most_frequent(scenes: Sequence[Scene]) -> Tensor:
    """(H, W) int16: the class most scenes have at each pixel, and where none has a label the most frequent of all.

    Raises:
        DataError: the scenes are of different sizes.
    """
    (h, w), classes = scenes[0].size, len(scenes[0].categories)
    counts = torch.zeros(classes + 1, h * w, dtype=torch.int64)  # the last row: unlabelled
    for scene in scenes:
        if scene.size != (h, w):
            raise DataError(f"{scene.size} and {(h, w)} pixels in one set", where=scene.file, cure="use equal pictures")
        if scene.semantic is not None:
            labels = scene.semantic.long().view(1, -1)
            counts.scatter_add_(0, labels.where(labels >= 0, classes), torch.ones_like(labels))
    known = counts[:-1]
    usual = known.sum(1).argmax()
    return known.argmax(0).where(known.any(0), usual).view(h, w).short()


def read_results(folder: Path) -> dict[str, Result]:
    """Every result by its name."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    return {result["name"]: result for result in results}


def write_result(result: Result) -> None:
    """results/semantic/NAME.json."""
    text = json.dumps(result, indent=1) + "\n"
    atomic_write(RESULTS / f"{result['name']}.json", text.encode())
    print(text, end="")


def tables(results: dict[str, Result]) -> str:
    """Both tables as Markdown."""
    order = {name: place for place, name in enumerate(LADDER)}
    networks = sorted((n for n in results if not n.startswith(UPSAMPLE)), key=lambda n: (order.get(n, len(order)), n))
    runs = {kind: "encoder_decoder" if kind == "bilinear" else UPSAMPLE + kind for kind in get_args(UpsamplerKind)}
    kinds = [kind for kind, run in runs.items() if run in results]
    first = [[linked(results[name]), *numbers(results[name])] for name in networks]
    second = [[kind, *numbers(results[runs[kind]])] for kind in kinds]
    heads = [*(name.replace("_", " ") for name in SCORES), *COSTS]
    return "\n".join([*rows(["network", *heads], first), "", *rows(["upsampler", *heads], second)])


def linked(result: Result) -> str:
    """The name, with a link to the recipe."""
    return f"[{result['name']}](../{result['recipe']})" if result["recipe"] else str(result["name"])


def numbers(result: Result) -> list[str]:
    """The cells of one row: scores in percent, then the costs."""
    metrics = result["metrics"]
    scores = [f"{100 * metrics[f'semantic/{name}']:.1f}" for name in SCORES]
    costs = [
        cell(result["parameters"], 1e6, 2),
        cell(result["multiply_adds"], 1e9, 2),
        cell(result["images_per_second"], 1, 1),
        cell(result["steps"], 1, 0),
        cell(result["seconds"], 60, 0),
    ]
    return scores + costs


def cell(value: float | None, unit: float, digits: int) -> str:
    """A number in a unit; a dash where there is none."""
    return "–" if value is None else f"{value / unit:.{digits}f}"


def draw_curves(results: dict[str, Result]) -> None:
    """The losses of some networks, and loss and score of the best recipe."""
    ladder = {name: results[name]["losses"] for name in DRAWN if name in results}
    IMAGES.mkdir(parents=True, exist_ok=True)
    plot_curves(ladder, "training loss, equal budget", "step", "loss", (900, 520)).save(IMAGES / "ladder_losses.png")
    best = results.get(LADDER[-1])
    if best:
        loss = plot_curves({"loss": best["losses"]}, "camvid: training loss", "step", "loss", (500, 320))
        score = plot_curves({"mIoU": best["validation"]}, "camvid: val mIoU", "step", "mIoU", (500, 320))
        side_by_side(loss, score, ("", "")).save(IMAGES / "camvid_curve.png")


def rows(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines)]


def write_between(page: Path, text: str) -> None:
    """Replace what stands between the markers, or add it at the end of a page without them."""
    old = page.read_text(encoding="utf-8") if page.exists() else "# Semantic segmentation\n\n"
    before, _, rest = old.partition(BEGIN)
    atomic_write(page, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}".encode())


if __name__ == "__main__":
    main()
