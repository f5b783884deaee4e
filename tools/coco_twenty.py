"""Twenty real photos to learn by heart: they prove readers, targets, losses and decoding on real annotation.

    SEGUE_DATA=... python tools/coco_twenty.py --out data/coco_twenty

Takes them from the val split of coco_mini: the nine photos that have a panoptic map and keypoints, six more with a map
and five more with keypoints. DIR:scenes then has the objects and panoptic maps of fifteen photos, DIR:people the people
with their keypoints of fourteen. Nothing of it may be shipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segue.data.check import load_json
from segue.data.layout import resolve
from segue.files import atomic_write

BOTH, MAPS, POSES = 9, 6, 5
Content = Mapping[str, Any]


def main() -> None:
    """Choose and copy."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", default="coco_mini", help="the set to take them from (default: coco_mini)")
    parse.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parse.parse_args()
    root, out = resolve(options.data)[0], options.out
    objects, maps, people = (
        read(root, kind) for kind in ("instances_from_panoptic_val", "panoptic_val", "person_keypoints_val")
    )
    scenes, persons = chosen(maps, people)
    write(out, "instances_scenes", only(objects, scenes))
    write(out, "panoptic_scenes", only(maps, scenes))
    write(out, "instances_people", only(people, persons))
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "annotations/panoptic_scenes").mkdir(parents=True, exist_ok=True)
    for row in maps["annotations"]:
        if row["image_id"] in scenes:
            shutil.copy(root / "panoptic_val" / row["file_name"], out / "annotations/panoptic_scenes")
    for row in [*maps["images"], *people["images"]]:
        if row["id"] in {*scenes, *persons}:
            shutil.copy(root / "images/val" / row["file_name"], out / "images")
    print(f"{len({*scenes, *persons})} photos in {out}; {len(scenes)} in scenes, {len(persons)} in people")


def read(root: Path, name: str) -> Content:
    """One of the set's annotation files."""
    content: Content = load_json(root / "annotations" / f"{name}.json")
    return content


def chosen(maps: Content, people: Content) -> tuple[list[int], list[int]]:
    """Ids of the photos with a map, and of those with keypoints; the smallest ids of each kind."""
    mapped = {row["id"] for row in maps["images"]}
    posed = {row["image_id"] for row in people["annotations"] if row["num_keypoints"] > 0}
    both = sorted(mapped & posed)[:BOTH]
    return both + sorted(mapped - posed)[:MAPS], both + sorted(posed - mapped)[:POSES]


def only(content: Content, ids: Sequence[int]) -> dict[str, Any]:
    """The part of an annotation file that speaks of some images."""
    kept = {
        "images": [row for row in content["images"] if row["id"] in ids],
        "annotations": [row for row in content["annotations"] if row["image_id"] in ids],
    }
    return {**kept, "categories": content["categories"]}


def write(out: Path, name: str, content: Content) -> None:
    """One annotation file of the new set."""
    atomic_write(out / "annotations" / f"{name}.json", json.dumps(content).encode())


if __name__ == "__main__":
    main()
