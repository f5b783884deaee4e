"""The variants that Mesh R-CNN's paper compares, with equal steps on one frozen network.

    SEGUE_DATA=... python tools/mesh_variants.py --weights RUN/best.safetensors --out runs/mesh_variants [NAME ...]
    python tools/mesh_variants.py --table results/mesh_variants.json

A run that was cut off goes on. Results go to results/mesh_variants.json as they come; --table prints them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from segue.files import atomic_write

RECIPE, RESULTS = Path("recipes/toybox_all.yaml"), Path("results/mesh_variants.json")
STEPS = 600
VARIANTS: dict[str, dict[str, object]] = {
    "Mesh R-CNN": {},
    "voxels only": {"stages": 0},
    "from a sphere": {"start": "sphere"},
    "Pixel2Mesh": {"start": "sphere", "level": 2, "divide": True},
}
"""What each variant changes in the recipe's mesh head."""

SCORES = ("meshes/AP", "meshes/chamfer", "meshes/normals", "meshes/F1_0.3")


def main() -> None:
    """Train what is asked for, or print the table."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("names", nargs="*", help=f"of {', '.join(VARIANTS)} (default: all)")
    parse.add_argument("--weights", type=Path, help="the trained network on which the mesh heads are put")
    parse.add_argument("--out", type=Path, default=Path("runs/mesh_variants"), help="folder of the runs")
    parse.add_argument("--table", type=Path, metavar="FILE.json", help="only print the table of these results")
    options = parse.parse_args()
    unknown = [name for name in options.names if name not in VARIANTS]
    if unknown:
        parse.error(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    if options.table:
        print("\n".join(table(json.loads(options.table.read_text()))))
        return
    if options.weights is None:
        parse.error("--weights must name the trained network")
    for name in options.names or VARIANTS:
        measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        measured[name] = train(name, options.weights, options.out / name.replace(" ", "_"))
        atomic_write(RESULTS, (json.dumps(measured, indent=1) + "\n").encode())


def train(name: str, weights: Path, run: Path) -> dict[str, float]:
    """Train one mesh head to its end; its last scores."""
    tasks = yaml.safe_load(RECIPE.read_text())["network"]["tasks"]
    tasks = {"boxes": tasks["boxes"], "meshes": tasks["meshes"] | VARIANTS[name]}
    settings = [
        f"weights={weights}",
        f"network.tasks={json.dumps(tasks)}",
        "training.freeze=[trunk, rpn, heads.boxes]",
        f"training.steps={STEPS}",
        f"training.evaluate_every={STEPS}",
        "training.best=meshes/AP",
    ]
    command = [sys.executable, "-m", "segue", "train", str(RECIPE), "--out", str(run)]
    command += [part for value in settings for part in ("--set", value)]
    if (run / "checkpoint.safetensors").exists():
        command.append("--resume")
    subprocess.run(command, check=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last: dict[str, float] = next(row for row in reversed(rows) if "meshes/AP" in row)
    return {key: last[key] for key in ("step", *SCORES) if key in last}


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
