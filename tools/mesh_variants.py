"""The variants that Mesh R-CNN's paper compares: fresh mesh heads, trained with equal steps on one frozen network.

    SEGUE_DATA=... python -m tools.mesh_variants toybox --train toybox:train --val toybox:val [NAME ...]
    python -m tools.mesh_variants --table

Results go to results/mesh_variants.json as they come; --table prints them. What a network sees of the objects is
computed once for all variants (`tools/train_heads.py`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from segue.data.dataset import open_dataset
from segue.engine.evaluate import evaluate
from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.models.weights import read_model
from segue.models.zoo import find_model
from segue.tasks import BOXES, MESHES, RegionHead, parsers_of
from tools.train_heads import frozen, look, train

RESULTS = Path("results/mesh_variants.json")
STEPS, BATCH, RATE = 600, 16, 0.001
VARIANTS: dict[str, dict[str, object]] = {
    "Mesh R-CNN": {},
    "voxels only": {"stages": 0},
    "from a sphere": {"start": "sphere"},
    "Pixel2Mesh": {"start": "sphere", "level": 2, "divide": True},
}
"""What each variant changes in the model's mesh head. The first reads all that the others do."""

SCORES = ("meshes/AP", "meshes/chamfer", "meshes/normals", "meshes/F1_0.3")


def main() -> None:
    """Train what is asked for, or print the table."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("model", nargs="?", help="a network with a mesh head, whose settings count")
    parse.add_argument("names", nargs="*", help=f"of {', '.join(VARIANTS)} (default: all)")
    parse.add_argument("--train", default="toybox:train")
    parse.add_argument("--val", default="toybox:val")
    parse.add_argument("--table", action="store_true", help="only print the results so far")
    options = parse.parse_args()
    unknown = [name for name in options.names if name not in VARIANTS]
    if unknown:
        parse.error(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    if not options.table and options.model is None:
        parse.error("name a model")
    if not options.table:
        compare(find_model(options.model), options.names or list(VARIANTS), options.train, options.val)
    print("\n".join(table(json.loads(RESULTS.read_text()))))


def compare(path: Path, names: list[str], training: str, validation: str) -> None:
    """Train and score variants, and note each when it is done."""
    parsers = parsers_of([BOXES, MESHES])
    looked = look(variant(path, "Mesh R-CNN"), MESHES, open_dataset(training, parsers), 1)
    val = open_dataset(validation, parsers)
    for name in names:
        predictor = variant(path, name)
        head = predictor.network.heads["meshes"].requires_grad_(True).train()
        for _ in train(name, cast(RegionHead, head), looked, STEPS, BATCH, RATE):
            pass
        predictor.network.eval()
        scores = evaluate(predictor, val).numbers
        measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        measured[name] = {"steps": STEPS, "batch": BATCH, **{key: scores[key] for key in SCORES}}
        atomic_write(RESULTS, (json.dumps(measured, indent=1) + "\n").encode())


def variant(path: Path, name: str) -> RegionPredictor:
    """The frozen network with a fresh mesh head of this variant, all of whose objects are compared."""
    torch.manual_seed(0)
    file = read_model(path)
    tasks = file.network["tasks"]
    meshes = tasks["meshes"] | {"objects": 0} | VARIANTS[name]
    network = file.network | {"tasks": {"boxes": tasks["boxes"], "meshes": meshes}}
    state = {key: value for key, value in file.state.items() if not key.startswith("heads.meshes.")}
    return frozen(replace(file, network=network, state=state), path)


def table(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown rows, one per variant."""
    rows = ["| variant | mesh AP | chamfer | normal consistency | F1 at 0.3 |", "| --- | --- | --- | --- | --- |"]
    for name in VARIANTS:
        if name in measured:
            own = measured[name]
            numbers = [f"{100 * own['meshes/AP']:.1f}", *(f"{own[key]:.3f}" for key in SCORES[1:3])]
            rows.append(f"| {name} | {' | '.join(numbers)} | {100 * own['meshes/F1_0.3']:.1f} |")
    return rows


if __name__ == "__main__":
    main()
