"""Bundle the model of a training run and put its numbers and curve on its card.

    SEGUE_DATA=... python tools/model_card.py runs/nuclei --name nuclei --data dsb2018:val --by kind
    SEGUE_DATA=... python tools/model_card.py runs/toybox --name toybox --data toybox:val

Writes src/segue/models/bundled/NAME.safetensors (16-bit), docs/images/NAME_curve.png, and
the part of docs/models/NAME.md between its two markers. The numbers are those of the bundled file, not of the run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segue.data.dataset import Dataset, open_dataset
from segue.data.images import to_pil
from segue.drawing import contact_sheet, plot_curves, side_by_side
from segue.engine.evaluate import evaluate, pairs, part_of
from segue.engine.load import load
from segue.engine.picture import draw
from segue.engine.predictor import Predictor
from segue.metrics.coco_ap import CocoAP
from segue.metrics.matching import SCORE_THRESHOLDS, Matching, best_threshold
from segue.models.weights import read_model, write_model
from segue.models.zoo import BUNDLED, zoo_model
from segue.structures import Scene
from segue.tasks import ImageTask, PixelTask, parsers_of

BEGIN, END = "<!-- measured: written by tools/model_card.py -->", "<!-- end of measured -->"
DOCS = Path("docs")
Pair = tuple[Scene, Scene]
MAIN = (
    *("label/top1", "boxes/AP", "boxes/AP50", "boxes/AP75", "masks/AP", "masks/AP50", "masks/AP75"),
    *("keypoints/AP", "keypoints/AP50", "keypoints/AP75", "keypoints/PCK_0.2"),
    *("panoptic/PQ", "panoptic/SQ", "panoptic/RQ", "panoptic/PQ_things", "panoptic/PQ_stuff"),
    *("semantic/mIoU", "semantic/accuracy"),
    *("captions/mAP", "captions/METEOR", "search/recall@1", "search/median_rank"),
    *("descriptions/recall@1", "descriptions/median_rank"),
    *("meshes/AP", "meshes/F1_0.3", "meshes/chamfer", "meshes/normals"),
)
PLAIN = ("rank", "chamfer")
"""Ends of the names of numbers that are no percentages."""
MATCHING = ("AP50", "AP75", "AP90", "AP", "precision50", "recall50")


def main() -> None:
    """Bundle, measure, draw, write."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("run", type=Path)
    parse.add_argument("--name", required=True)
    parse.add_argument("--data", required=True)
    parse.add_argument("--by", help="objects of each kind apart, and the worst pictures in docs/images/NAME_worst.png")
    options = parse.parse_args()
    target = BUNDLED / f"{options.name}.safetensors"
    model = read_model(options.run / "best.safetensors")
    notes = {key: model.notes[key] for key in ("step", "recipe") if key in model.notes}
    notes["licence"] = zoo_model(options.name).licence
    write_model(target, replace(model, name=options.name, notes=notes), half=True)
    predictor = load(target)
    maps = any(isinstance(task, PixelTask) for task in predictor.tasks)
    labels = any(isinstance(task, ImageTask) for task in predictor.tasks)
    dataset = open_dataset(options.data, parsers_of(predictor.tasks), panoptic=maps, labels=labels)
    if (options.run / "metrics.jsonl").exists():  # not of heads that were trained apart
        draw_curve(options.run / "metrics.jsonl", DOCS / "images" / f"{options.name}_curve.png")
    rows = scores(predictor, dataset) if options.by is None else by_kind(predictor, dataset, options)
    write_between(DOCS / "models" / f"{options.name}.md", "\n".join([facts(target, predictor), "", *rows]))


def scores(predictor: Predictor, dataset: Dataset) -> list[str]:
    """Markdown rows: the main numbers of every task."""
    found = evaluate(predictor, dataset).numbers
    scale = {name: 1 if name.endswith(PLAIN) else 100 for name in MAIN}
    rows = [f"| `{name}` | {scale[name] * found[name]:.1f} |" for name in MAIN if name in found]
    return [f"| {len(dataset)} images | |", "|---|---|", *rows]


def by_kind(predictor: Predictor, dataset: Dataset, options: argparse.Namespace) -> list[str]:
    """Markdown rows: numbers of each kind of picture, and the worst pictures, which are drawn, too."""
    scored = list(pairs(predictor, dataset))
    parts = [part_of(dataset, index, options.by) for index in range(len(dataset))]
    worst = draw_worst(scored, dataset, DOCS / "images" / f"{options.name}_worst.png")
    return [*table(scored, parts, dataset), "", *worst]


def facts(target: Path, predictor: Predictor) -> str:
    """Size of the file and of the network."""
    parameters = sum(p.numel() for p in predictor.network.parameters())
    size = target.stat().st_size / 1e6
    steps = predictor.notes["step"]
    return f"{parameters / 1e6:.2f} million parameters, {size:.1f} MB in 16 bits, {steps} steps of all heads together."


def table(scored: list[Pair], parts: list[str], dataset: Dataset) -> list[str]:
    """Markdown rows: everything together, then each part."""
    names = ["all", *sorted(set(parts))]
    heads = [
        "",
        "images",
        "objects",
        *(f"matching/{n}" for n in MATCHING),
        "boxes/AP",
        "masks/AP",
        "masks/AP, 600 dets",
    ]
    rows = ["|".join(["", *heads, ""]), "|---" * len(heads) + "|"]
    for name in names:
        chosen = [pair for pair, part in zip(scored, parts, strict=True) if name in ("all", part)]
        objects = sum(len(truth.regions) for _, truth in chosen)
        rows.append(f"| {name} | {len(chosen)} | {objects} | {numbers(chosen, dataset)} |")
    threshold, value = best_threshold(scored, SCORE_THRESHOLDS)
    rows += ["", "Detections with a score below 0.5 do not count in `matching/*`."]
    rows += [f"The best threshold on these images would be {threshold:.2f}, with `matching/AP50` {value:.4f}."]
    return rows


def numbers(chosen: list[Pair], dataset: Dataset) -> str:
    """The cells of one row."""
    matching = Matching(dataset.categories)
    boxes, masks, many = (
        CocoAP(dataset.categories, group, limits)  # type: ignore[arg-type]
        for group, limits in (("boxes", (1, 10, 100)), ("masks", (1, 10, 100)), ("masks", (1, 10, 600)))
    )
    for predicted, truth in chosen:
        for metric in (matching, boxes, masks, many):
            metric.update(predicted, truth)
    found = matching.compute()
    cells = [found[f"matching/{key}"] for key in MATCHING]
    cells += [boxes.compute()["boxes/AP"], masks.compute()["masks/AP"], many.compute()["masks/AP"]]
    return " | ".join(f"{cell:.4f}" for cell in cells)


def draw_curve(log: Path, target: Path) -> None:
    """Losses, averaged over ten lines of the log, against steps."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line for line in lines if "lr" in line]
    names = [name for name in losses[0] if name.startswith("loss/")]
    series = {name.removeprefix("loss/"): smooth([(row["step"], row[name]) for row in losses]) for name in names}
    target.parent.mkdir(parents=True, exist_ok=True)
    plot_curves(series, "training losses", "step", "loss").save(target)


def smooth(points: Sequence[tuple[float, float]], width: int = 10) -> list[tuple[float, float]]:
    """Each point's mean with those before it."""
    means = []
    for i, (x, _) in enumerate(points):
        window = [y for _, y in points[max(0, i - width + 1) : i + 1]]
        means.append((x, sum(window) / len(window)))
    return means


def draw_worst(scored: list[Pair], dataset: Dataset, target: Path, count: int = 10) -> list[str]:
    """A sheet of the pictures with the lowest score, and Markdown rows that say what was counted there."""
    matching = Matching(dataset.categories)
    for predicted, truth in scored:
        matching.update(predicted, truth)
    places = {truth.file: index for index, (_, truth) in enumerate(scored)}
    rows, sheets = ["| worst | image | found | in vain | missed |", "|---|---|---|---|---|"], []
    for number, entry in enumerate(matching.worst(count), start=1):
        index = places[entry.file]
        predicted, truth = scored[index]
        image = to_pil(dataset.image(index))
        kept = replace(predicted, regions=predicted.regions.select(predicted.regions.scores >= 0.5))  # type: ignore[operator]
        both = [draw(scene, image) for scene in (truth, kept)]
        for picture in both:
            picture.thumbnail((320, 260))
        sheets.append(side_by_side(both[0], both[1], ("target", "prediction")))
        rows.append(f"| {number} | `{Path(str(entry.file)).stem[:12]}` | {entry.tp} | {entry.fp} | {entry.fn} |")
    sheet = contact_sheet(sheets, columns=2, titles=[str(n) for n in range(1, len(sheets) + 1)])
    sheet.quantize(256).save(target)  # a third of the size
    return rows


def write_between(card: Path, text: str) -> None:
    """Replace what stands between the markers."""
    before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    card.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
