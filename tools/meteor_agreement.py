"""How far our METEOR is from the authors' Java program, sentence by sentence: writes results/meteor_agreement.json.

    python tools/meteor_agreement.py --jar meteor-1.5.jar --toybox visual_genome_val.json --coco captions_val.json

The jar is in the package pycocoevalcap. Java runs with ``-m "exact stem" -w "1.0 0.6"``, our side without tables. With
``--tables``, a folder with the jar's contents and paraphrase-en.gz beside the jar (``data/``), it also runs with all
four matchers on both sides. ``--fixture`` writes pairs with Java's scores for the tests instead.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.files import atomic_write
from segue.metrics.meteor import Meteor

Pair = tuple[str, list[str]]

CLOSE = 0.005
EXACT_AND_STEM = ("-m", "exact stem", "-w", "1.0 0.6")
OWN_SENTENCES = (
    "A dog's bowl, and three cats; isn't it \"small\"?",
    "The dogs bowl and a cat: it is small!",
    "Dr. Miller drinks 1,500 cups of tea a day... at 7.30",
    "dr miller drank 1500 cups of tea today",
    "the U.S. flag on a red-and-white pole",
    "us flags on red and white poles",
    "running runners run in the rain. a runner ran",
    "a runner runs while it rains on the runners",
    "the the the cat cat sat on on the mat",
    "on the mat sat the cat and the cat sat",
    "two men stand next to a man standing on two chairs next to the two standing men",
    "a man stands on a chair next to two men next to chairs, standing",
    "👍 ein Hündchen läuft – שלום, мир",
    "hündchen läuft 👍 мир",
    "1990's cars, (old) & 'rusty' ones",
    "old rusty cars of the 1990s",
)


def main() -> None:
    """Parse, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jar", type=Path, required=True)
    parser.add_argument("--toybox", type=Path, required=True, help="Toybox in Visual Genome's layout")
    parser.add_argument("--coco", type=Path, help="captions of COCO")
    parser.add_argument("--tables", type=Path, help="METEOR's tables, for a comparison with all matchers")
    parser.add_argument("--pairs", type=int, default=2000, help="of each set (2000)")
    parser.add_argument("--fixture", type=Path, help="write a few pairs with Java's scores here, and nothing else")
    arguments = parser.parse_args()
    toybox = toybox_pairs(arguments.toybox, 170 if arguments.fixture else arguments.pairs)
    if arguments.fixture:
        pairs = toybox + [(ours, [theirs]) for ours in OWN_SENTENCES for theirs in OWN_SENTENCES[:4]][:64]
        scores = java_scores(arguments.jar, pairs, EXACT_AND_STEM)
        rows = [[ours, theirs, score] for (ours, theirs), score in zip(pairs, scores, strict=True)]
        atomic_write(arguments.fixture, ("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n").encode())
        return
    sets = {"toybox": toybox}
    if arguments.coco:
        sets["coco"] = coco_pairs(arguments.coco, arguments.pairs)
    report = {name: compare(arguments.jar, pairs, arguments.tables) for name, pairs in sets.items()}
    text = json.dumps({"close": CLOSE, "sets": report}, indent=1) + "\n"
    print(text, end="")
    atomic_write(Path("results/meteor_agreement.json"), text.encode())


def toybox_pairs(path: Path, count: int) -> list[Pair]:
    """A sentence, and up to three about a region of the same picture, its own now and then."""
    dice = random.Random(1)
    pictures = [entry["regions"] for entry in json.loads(path.read_text()) if entry["regions"]]
    pairs = []
    for _ in range(count):
        regions = dice.choice(pictures)
        ours, other = dice.choice(regions), dice.choice(regions)
        theirs = [r["phrase"] for r in regions if box(r) == box(other) and r is not ours]
        pairs.append((ours["phrase"], theirs[:3] or [other["phrase"]]))
    return pairs


def box(region: dict[str, Any]) -> tuple[float, ...]:
    """Left, top, width and height."""
    return tuple(region[key] for key in ("x", "y", "width", "height"))


def coco_pairs(path: Path, count: int) -> list[Pair]:
    """A caption; half the time the others of its picture, else those of another."""
    dice = random.Random(2)
    captions: dict[int, list[str]] = {}
    for annotation in json.loads(path.read_text())["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(" ".join(annotation["caption"].split()))
    groups = [group for group in captions.values() if len(group) > 1]
    pairs = []
    for number in range(count):
        ours, *rest = dice.sample(group := dice.choice(groups), len(group))
        pairs.append((ours, rest if number % 2 else dice.choice(groups)[: 1 + number % 5]))
    return pairs


def compare(jar: Path, pairs: list[Pair], tables: Path | None) -> dict[str, Any]:
    """Counts for both sides without tables; for METEOR's function words; and for all matchers."""
    java = java_scores(jar, pairs, EXACT_AND_STEM)
    report = {"exact, stem": agreement(Meteor().scores(pairs), java)}
    if tables:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "english.words").write_bytes(next(tables.rglob("english.words")).read_bytes())
            ours = Meteor(Path(folder)).scores(pairs)
        report["exact, stem, METEOR's function words"] = agreement(ours, java)
        full = Meteor(tables)
        report[", ".join(full.matchers)] = agreement(full.scores(pairs), java_scores(jar, pairs, ()))
    return report


def agreement(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """How many pairs are close, how many are equal, and the largest difference."""
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return {
        "pairs": len(apart),
        "close": sum(d <= CLOSE for d in apart),
        "equal": sum(d < 1e-9 for d in apart),
        "largest_difference": round(max(apart), 4),
        "mean": round(sum(ours) / len(apart), 5),
        "mean_java": round(sum(theirs) / len(apart), 5),
    }


def java_scores(jar: Path, pairs: list[Pair], options: Sequence[str]) -> list[float]:
    """Of Java's METEOR; every hypothesis gets as many references as the one with the most, its last one repeated."""
    most = max(len(references) for _, references in pairs)
    padded = [reference for _, own in pairs for reference in own + own[-1:] * (most - len(own))]
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.txt", Path(folder) / "theirs.txt"
        ours.write_text("".join(f"{hypothesis}\n" for hypothesis, _ in pairs), encoding="utf-8")
        theirs.write_text("".join(f"{reference}\n" for reference in padded), encoding="utf-8")
        command = ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", jar, ours, theirs, "-l", "en", "-norm"]
        run = subprocess.run([*command, "-r", str(most), *options], capture_output=True, text=True, check=True)
    return [float(score) for score in re.findall(r"^Segment \d+ score:\s*(\S+)$", run.stdout, re.MULTILINE)]


if __name__ == "__main__":
    main()
