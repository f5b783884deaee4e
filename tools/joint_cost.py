"""What joint training costs each task: every task alone and all together, with equal steps, on a fifth of the schedule.

    SEGUE_DATA=... python tools/joint_cost.py --out runs/joint_cost [NAME ...]
    python tools/joint_cost.py --table results/joint_cost.json

A run that was cut off goes on. Results go to results/joint_cost.json as they come; --table prints them.
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

RECIPE, RESULTS = Path("recipes/toybox.yaml"), Path("results/joint_cost.json")
PART = 5
ALONE = {
    "boxes": ("boxes",),
    "masks": ("boxes", "masks"),
    "keypoints": ("boxes", "keypoints"),
    "panoptic": ("boxes", "masks", "semantic", "panoptic"),
    "joint": ("boxes", "masks", "keypoints", "semantic", "panoptic"),
}
"""The tasks of each run: none works without boxes, and panoptic maps are made of masks and classes of pixels."""

SCORES = {"boxes": "boxes/AP", "masks": "masks/AP", "keypoints": "keypoints/AP", "panoptic": "panoptic/PQ"}


def main() -> None:
    """Train what is asked for, or print the table."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("names", nargs="*", help=f"of {', '.join(ALONE)} (default: all)")
    parse.add_argument("--out", type=Path, default=Path("runs/joint_cost"), help="folder of the runs")
    parse.add_argument("--table", type=Path, metavar="FILE.json", help="only print the table of these results")
    options = parse.parse_args()
    unknown = [name for name in options.names if name not in ALONE]
    if unknown:
        parse.error(f"no run {unknown[0]!r}; there are {', '.join(ALONE)}")
    if options.table:
        print("\n".join(table(json.loads(options.table.read_text()))))
        return
    for name in options.names or ALONE:
        measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        measured[name] = train(name, options.out / name)
        atomic_write(RESULTS, (json.dumps(measured, indent=1) + "\n").encode())


def train(name: str, run: Path) -> dict[str, float]:
    """Train one run to its end; its last scores."""
    recipe = yaml.safe_load(RECIPE.read_text())
    tasks = {task: recipe["network"]["tasks"][task] for task in ALONE[name]}
    steps = recipe["training"]["steps"] // PART
    settings = [f"network.tasks={json.dumps(tasks)}", f"training.steps={steps}", f"training.evaluate_every={steps}"]
    best = SCORES[name] if name in SCORES else recipe["training"]["best"]
    command = [sys.executable, "-m", "segue", "train", str(RECIPE), "--out", str(run)]
    command += [part for value in [*settings, f"training.best={best}"] for part in ("--set", value)]
    if (run / "checkpoint.safetensors").exists():
        command.append("--resume")
    subprocess.run(command, check=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last: dict[str, float] = next(row for row in reversed(rows) if "boxes/AP" in row)
    return {key: last[key] for key in ("step", *SCORES.values()) if key in last}


def table(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown rows: each task alone, together with the others, and the difference in points."""
    rows = ["| task | alone | joint | difference |", "| --- | --- | --- | --- |"]
    for name, score in SCORES.items():
        if name in measured and "joint" in measured:
            alone, joint = 100 * measured[name][score], 100 * measured["joint"][score]
            rows.append(f"| `{score}` | {alone:.1f} | {joint:.1f} | {joint - alone:+.1f} |")
    return rows


if __name__ == "__main__":
    main()
