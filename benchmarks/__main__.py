"""``python -m benchmarks``: time everything, print the table, and write it where asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from benchmarks import (
    caption_cost,
    captions,
    evaluation,
    heads_cost,
    mesh_metrics,
    meshes,
    networks,
    ops,
    overlap,
    panoptic,
    turntables,
)
from benchmarks.load import OtherWork
from benchmarks.report import page, row
from benchmarks.timing import Result, compare
from segue.files import atomic_write

MODULES = (
    networks, ops, overlap, panoptic, evaluation, captions, caption_cost, heads_cost, meshes, mesh_metrics, turntables
)  # fmt: skip
CASES = {name: case for module in MODULES for name, case in module.CASES.items()}
SECONDS, SECONDS_QUICK = 20.0, 0.1  # per case; at least five pairs are run, or what the case says


def main() -> None:
    """Parse, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the page here, too")
    parser.add_argument("--quick", action="store_true", help="tiny inputs: see that it runs")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(CASES)}")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(CASES)}")
    others, results, text = OtherWork(), list[Result](), ""
    for result in measure(names, arguments.quick):
        results.append(result)
        text = page(results, others.share(), arguments.quick)
        if arguments.out:  # after each, so that nothing is lost where one fails
            atomic_write(arguments.out, text.encode())
    print(text, end="")


def measure(names: list[str], quick: bool) -> Iterator[Result]:
    """The cases one after the other; inputs of one are gone before the next."""
    bar = tqdm(names, unit="case")
    for name in bar:
        bar.set_description(name)
        result = compare(name, CASES[name](quick), SECONDS_QUICK if quick else SECONDS)
        bar.write(" | ".join(row(result)), file=sys.stderr)
        yield result


if __name__ == "__main__":
    main()
