"""Train every network of the lecture's ladder on CamVid with the same budget, and measure each.

    SEGUE_DATA=... python tools/ladder.py --out runs/ladder [NAME ...]

A run that stands complete in ``--out`` is only measured again; one that was cut off goes on. Numbers go to
results/semantic/NAME.json; `tools/semantic_table.py` makes the page from them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RECIPES = Path("recipes/camvid")
UPSAMPLERS = ("bed_of_nails", "nearest", "bicubic", "max_unpool", "transposed")  # the recipe itself has bilinear
UPSAMPLE = "upsample_"


def main() -> None:
    """Train and measure, one after the other; a failure stops only its own network."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("names", nargs="*", help="only these (default: all)")
    parse.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options = parse.parse_args()
    known = [path.stem for path in sorted(RECIPES.glob("*.yaml"))] + [UPSAMPLE + kind for kind in UPSAMPLERS]
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parse.error(f"no network {unknown[0]!r}; there are {', '.join(known)}")
    failed = [name for name in options.names or known if not train_and_measure(name, options.out / name)]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def train_and_measure(name: str, run: Path) -> bool:
    """Whether both commands succeed."""
    segue = [sys.executable, "-m", "segue", "train", *recipe_of(name), "--out", str(run)]
    resume = ["--resume"] if (run / "checkpoint.safetensors").exists() else []
    commands = [[*segue, *resume], [sys.executable, "tools/semantic_table.py", "measure", str(run)]]
    return all(subprocess.run(command, check=False).returncode == 0 for command in commands)


def recipe_of(name: str) -> list[str]:
    """The arguments of ``segue train``: one network is trained once with each upsampler."""
    if not name.startswith(UPSAMPLE):
        return [str(RECIPES / f"{name}.yaml")]
    kind = name.removeprefix(UPSAMPLE)
    changes = ("--set", f"name={name}", "--set", f"semantic.network.encoder_decoder.upsampler={kind}")
    return [str(RECIPES / "encoder_decoder.yaml"), *changes]


if __name__ == "__main__":
    main()
