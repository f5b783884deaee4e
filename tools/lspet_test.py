"""Poses of people whose boxes are given, in the splits of LSP Extended.

SEGUE_DATA=... python tools/lspet_test.py runs/lspet --split val
SEGUE_DATA=... python tools/lspet_test.py runs/lspet --split test --views --out results/lspet_test.json

The first prints the percentage of correct keypoints (PCK) within 0.2 of the torso, by joint, beside that of a mean
pose that looks at no picture; the second writes COCO keypoint results for the split whose labels are kept elsewhere.
With --views the maps of all quarter turns and mirrors of a picture are averaged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.check import load_json
from segue.data.coco import categories_from_coco
from segue.data.dataset import Dataset, open_dataset
from segue.data.layout import locate
from segue.data.records import Annotation, Record
from segue.engine.given_boxes import read_boxes
from segue.engine.keypoint_views import read_keypoints
from segue.engine.load import load
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.files import atomic_write
from segue.metrics.keypoints import torso_lengths
from segue.structures import Scene
from segue.tasks.keypoints import KEYPOINTS, parse, to_json

ALPHA = 0.2


def main() -> None:
    """Predict, then score or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", choices=("val", "test"), required=True)
    parser.add_argument("--views", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if (options.split == "test") != (options.out is not None):
        parser.error("the test split is written and the val split scored: --out goes with --split test alone")
    predictor = load(options.run)
    if not isinstance(predictor, RegionPredictor) or KEYPOINTS not in predictor.tasks:
        raise UsageError("finds no keypoints", where=options.run, cure="name a run of recipes/lspet.yaml")
    val = options.split == "val"
    dataset = annotated("val") if val else given_boxes(locate("lspet:image_info_test")[0])
    scenes = poses(predictor, dataset, options.views)
    if val:
        print(report(scenes, dataset, mean_pose(annotated("train"))))
        return
    rows = [row for record, scene in zip(dataset.records, scenes, strict=True) for row in results(scene, record.id)]
    atomic_write(options.out, json.dumps(rows).encode())
    print(f"{len(rows)} poses in {options.out}")


def annotated(split: str) -> Dataset:
    """A split with its keypoints."""
    return open_dataset(f"lspet:person_keypoints_{split}", {"keypoints": parse})


def given_boxes(path: Path) -> Dataset:
    """A file with pictures, categories, and under ``bbox`` one person's x, y, width, height by image id."""
    content = load_json(path)
    rows = content["images"]
    records = [Record(path.parent / row["file_name"], (row["height"], row["width"]), row["id"], {}) for row in rows]
    person = content["categories"][0]["id"]
    boxes: list[list[Annotation]] = [[{"category_id": person, "bbox": content["bbox"][str(row["id"])]}] for row in rows]
    return Dataset(str(path), categories_from_coco(content["categories"]), records, boxes, {})


def poses(predictor: RegionPredictor, dataset: Dataset, views: bool) -> Iterator[Scene]:
    """One picture after the other, its people as the network reads them in their own boxes."""
    read = read_keypoints if views else read_boxes
    for index in tqdm(range(len(dataset)), unit="image"):
        yield read(predictor, dataset.image(index), dataset.regions(index))


def results(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    """COCO's keypoint results of a picture; a person's score is the mean of the keypoints'."""
    points = scene.regions.keypoints
    assert points is not None
    people = zip(to_json(scene.regions), scene.regions.labels.tolist(), points[..., 2].mean(1).tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": scene.categories[label].id, **row, "score": round(score, 6)}
        for row, label, score in people
    ]


def report(scenes: Iterable[Scene], dataset: Dataset, mean: Tensor) -> str:
    """PCK of a data set's predictions and of a mean pose (K, 2), by joint and in all, as a Markdown table."""
    names = dataset.categories[0].keypoints
    found, always, goals = [], [], []
    for index, scene in enumerate(scenes):
        truth = dataset.regions(index)
        assert truth.keypoints is not None
        assert scene.regions.keypoints is not None
        low, high = truth.boxes[:, None, :2], truth.boxes[:, None, 2:]
        found.append(scene.regions.keypoints)
        always.append(low + mean * (high - low))
        goals.append(truth.keypoints)
    all_goals = torch.cat(goals)
    counted, right = correct(torch.cat(found), all_goals, names)
    _, blind = correct(torch.cat(always), all_goals, names)
    return table(names, counted, right, blind)


def correct(points: Tensor, goals: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(N, K) bool: which keypoints ``goals`` (N, K, 3) count, and at which of them ``points`` (N, K, 2 or 3) are right.

    Counted are labelled keypoints of people whose torso is known; right is what lies within 0.2 of its length.
    """
    torso = torso_lengths(goals, names)[:, None]
    counted = (goals[..., 2] > 0) & (torso > 0)
    return counted, counted & ((points[..., :2] - goals[..., :2]).norm(dim=2) <= ALPHA * torso)


def mean_pose(dataset: Dataset) -> Tensor:
    """(K, 2) where keypoints are on average, in widths and heights of their person's box from its corner."""
    regions = [dataset.regions(index) for index in range(len(dataset))]
    boxes = torch.cat([r.boxes for r in regions])[:, None]  # (N, 1, 4)
    points = torch.cat([r.keypoints for r in regions if r.keypoints is not None])
    place = (points[..., :2] - boxes[..., :2]) / (boxes[..., 2:] - boxes[..., :2])
    labelled = points[..., 2:] > 0
    return place.where(labelled, torch.zeros_like(place)).sum(0) / labelled.sum(0).clamp(min=1)


def table(names: Sequence[str], counted: Tensor, right: Tensor, blind: Tensor) -> str:
    """One row for each kind of joint, left and right together, the worst first; then all of them."""
    kinds = [name.removeprefix("left_").removeprefix("right_") for name in names]
    sums = {}
    for kind in dict.fromkeys(kinds):
        own = torch.tensor([other == kind for other in kinds])
        sums[kind] = [int(flags[:, own].sum()) for flags in (counted, right, blind)]
    order = sorted(sums, key=lambda kind: sums[kind][1] / max(sums[kind][0], 1))
    sums["all"] = [int(flags.sum()) for flags in (counted, right, blind)]
    head = "| joint | labelled | PCK@0.2 | mean pose |\n| --- | --- | --- | --- |\n"
    rows = (
        (kind, sums[kind][0], [f"{n / max(sums[kind][0], 1):.3f}" for n in sums[kind][1:]]) for kind in (*order, "all")
    )
    return head + "\n".join(f"| {kind} | {number} | {' | '.join(shares)} |" for kind, number, shares in rows)


if __name__ == "__main__":
    main()
