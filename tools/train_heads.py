"""Train heads of a network, quickly: the rest is frozen, so what they see of a region is computed once.

    SEGUE_DATA=... python tools/train_heads.py runs/toybox_all --heads captions --data toybox:train --out runs/captions
    ... --heads keypoints --set keypoints.channels=96
    ... toybox --heads captions --set pyramid.colours=true

Each picture is looked at some times, differently augmented, and its objects in boxes that are a little off, as found
ones are. Then only the heads are trained, one after the other, on pooled features in memory (for 64 channels, 6 KB a
region at 7x7, 25 KB at 14x14). Of heads that read whole pictures, each picture is the one region. Heads with other
settings begin with what fits, heads that the model lacks are added, and where the pyramid gets colours, no head changes
what it says until it is trained. The result has the other heads as they were;
`segue evaluate --model` takes it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset, open_dataset
from segue.data.transforms import Augmentation
from segue.engine.load import build
from segue.engine.loader import Place, TrainingPictures
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.models.region_network import CELL
from segue.models.weights import ModelFile, load_what_fits, read_model, write_model
from segue.models.zoo import find_model
from segue.structures import Regions
from segue.tasks import ImageHead, ImageTask, RegionHead, RegionTask, Sampled, parsers_of

AUGMENTATION = Augmentation(crop=256, scale=(0.85, 1.2))
"""That of recipes/toybox.yaml."""

WHOLE = Augmentation(scale=(1.0, 1.2))
"""Of pictures that are one region: none is cut, since that could change what it mainly shows."""

JITTER = 0.04
"""Standard deviation of a box's edges, of its sides."""

CLIP, DECAY, WARMUP, KEPT = 5.0, 0.02, 100, 1000


@dataclass(frozen=True)
class Looked:
    """N regions of many pictures: features (N, C, side, side) float16 by side, and what is known of each."""

    features: dict[int, Tensor]
    truth: Regions

    def __len__(self) -> int:
        return len(self.truth)

    def losses(self, head: RegionHead, rows: Tensor) -> dict[str, Tensor]:
        """Those of some regions."""
        truth = self.truth.select(rows)
        yes = torch.ones(len(rows), dtype=torch.bool)
        regions = Sampled(truth.boxes, truth.labels, torch.arange(len(rows)), yes, yes)
        rois = tuple(self.features[side][rows].float() for side in sides_of(head))
        return head.losses(head(rois if isinstance(head.pooled, tuple) else rois[0]), regions, truth)


@dataclass(frozen=True)
class Glanced:
    """N pictures as one region each: features (N, C, side, side) float16 and labels (N,)."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def losses(self, head: ImageHead, rows: Tensor) -> dict[str, Tensor]:
        """Those of some pictures."""
        return head.losses(head(self.features[rows].float()), self.labels[rows])


def main() -> None:
    """Look, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a zoo name, a model file or a run of a region network")
    parser.add_argument("--heads", required=True, help="names of tasks, with commas between")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--set", action="append", default=[], metavar="HEAD.KEY=VALUE", help="settings of a head or the pyramid"
    )
    parser.add_argument("--views", type=int, default=2, help="how often each picture is looked at")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=200, help="regions of a step")
    parser.add_argument("--lr", type=float, default=0.001)
    options = parser.parse_args()
    torch.manual_seed(0)
    path = find_model(options.model)
    heads = options.heads.split(",")
    file = changed(read_model(path), heads, options.set)
    predictor = frozen(file, path)
    selector = next(task for task in predictor.tasks if task.selects)
    chosen = [task for task in predictor.tasks if task.name in heads and isinstance(task, RegionTask | ImageTask)]
    labels = any(isinstance(task, ImageTask) for task in chosen)
    dataset = open_dataset(options.data, parsers_of([selector, *chosen]), labels=labels)
    options.out.mkdir(parents=True, exist_ok=True)
    for task in chosen:
        head, seen = prepared(predictor, task, dataset, options.views)
        head.requires_grad_(True).train()
        for _ in train(task.name, head, seen, options.steps, options.batch, options.lr):
            state = {name: value.detach() for name, value in predictor.network.state_dict().items()}
            write_model(options.out / "best.safetensors", replace(file, state=state))


def changed(file: ModelFile, heads: Sequence[str], settings: Sequence[str]) -> ModelFile:
    """With these heads, and other settings of any, each given as HEAD.KEY=VALUE, or as pyramid.KEY=VALUE."""
    tasks = {name: {} for name in heads} | {name: dict(v or {}) for name, v in file.network["tasks"].items()}
    parts = {**tasks, "pyramid": dict(file.network.get("pyramid") or {})}
    for text in settings:
        name, _, value = text.partition("=")
        part, _, key = name.partition(".")
        if part not in parts:
            raise UsageError(f"no head {part!r}", cure=f"there are {', '.join(parts)}")
        parts[part][key] = yaml.safe_load(value)
    return replace(file, network={**file.network, "pyramid": parts.pop("pyramid"), "tasks": parts})


def frozen(file: ModelFile, path: Path) -> RegionPredictor:
    """The region network of a file with what fits of its weights; none of them learns."""
    predictor = build(file, str(path))
    if not isinstance(predictor, RegionPredictor):
        raise UsageError("not a region network", where=path, cure="name one with heads")
    _, fresh = load_what_fits(predictor.network, widened(file.state, predictor.network.state_dict()))
    print(f"begin anew: {', '.join(fresh) or 'none'}")
    predictor.network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return predictor


def widened(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with zeros for the inputs that layers now have more, the last ones: they still do what they did."""
    wider = dict(state)
    for name, tensor in state.items():
        goal = wanted[name].shape if name in wanted else tensor.shape
        if tensor.ndim > 1 and len(goal) == tensor.ndim and goal[1] > tensor.shape[1]:
            padding = [0, 0] * (tensor.ndim - 2) + [0, goal[1] - tensor.shape[1]]
            wider[name] = torch.nn.functional.pad(tensor, padding)
    return wider


def prepared(
    predictor: RegionPredictor, task: RegionTask | ImageTask, dataset: Dataset, views: int
) -> tuple[Any, Looked | Glanced]:
    """The head of a task, and the features that it learns from."""
    if isinstance(task, ImageTask):
        return predictor.network.image_heads[task.name], glance(predictor, task, dataset, views)
    return predictor.network.heads[task.name], look(predictor, task, dataset, views)


@torch.no_grad()
def look(predictor: RegionPredictor, task: RegionTask, dataset: Dataset, views: int) -> Looked:
    """The features of all objects of which the task knows something."""
    sides = sides_of(cast(RegionHead, predictor.network.heads[task.name]))
    pictures = TrainingPictures(dataset, AUGMENTATION, [t for t in predictor.tasks if isinstance(t, RegionTask)], 0)
    features: dict[int, list[Tensor]] = {side: [] for side in sides}
    truth = []
    for number in tqdm(range(views * len(dataset)), desc="look", unit="image"):
        sample = pictures[Place(number, number % len(dataset))]
        regions = told(sample.regions, task.name)
        if not len(regions):
            continue
        regions = regions.with_field("boxes", jittered(regions.boxes))
        levels = pyramid(predictor, sample.image)
        owners = torch.zeros(len(regions), dtype=torch.int64)
        for side in sides:
            features[side].append(predictor.network.pool(levels, regions.boxes, owners, side).half())
        truth.append(regions)
    return Looked({side: torch.cat(parts) for side, parts in features.items()}, Regions.cat(truth))


@torch.no_grad()
def glance(predictor: RegionPredictor, task: ImageTask, dataset: Dataset, views: int) -> Glanced:
    """The features of all pictures that have a label."""
    side = cast(ImageHead, predictor.network.image_heads[task.name]).pooled
    pictures = TrainingPictures(dataset, WHOLE, [t for t in predictor.tasks if isinstance(t, RegionTask)], 0)
    told = [index for index in range(len(dataset)) if dataset.label(index) is not None]
    features, labels = [], []
    for number in tqdm(range(views * len(told)), desc="look", unit="image"):
        sample = pictures[Place(number, told[number % len(told)])]
        box = torch.tensor([[0.0, 0.0, sample.image.shape[2], sample.image.shape[1]]])
        levels = pyramid(predictor, sample.image)
        owner = torch.zeros(1, dtype=torch.int64)
        features.append(predictor.network.pool(levels, box, owner, side, CELL * side).half())
        labels.append(sample.label)
    return Glanced(torch.cat(features), torch.tensor(labels))


def pyramid(predictor: RegionPredictor, image: Tensor) -> list[Tensor]:
    """What the trunk makes of a picture (3, H, W) uint8."""
    x, _ = predictor.inputs([image])
    with torch.autocast(predictor.device.type, torch.bfloat16):
        return [level.float() for level in predictor.network.trunk(x)]


def sides_of(head: RegionHead) -> tuple[int, ...]:
    """The RoIAlign sides that a head reads."""
    return head.pooled if isinstance(head.pooled, tuple) else (head.pooled,)


def told(regions: Regions, name: str) -> Regions:
    """Those of which the field of this name says something; of a tensor's rows, zeros say nothing."""
    values = regions.field(name)
    if values is None:
        return Regions.empty()
    return regions.select(values.flatten(1).any(1)) if isinstance(values, Tensor) else regions


def jittered(boxes: Tensor) -> Tensor:
    """Boxes (N, 4) with their edges moved by chance."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + torch.randn_like(boxes).clamp(-2, 2) * sides * JITTER


def train(name: str, head: Any, seen: Looked | Glanced, steps: int, batch: int, lr: float) -> Iterator[int]:
    """AdamW with a short warm-up and a cosine to zero, on regions drawn at random; comes back now and then to save."""
    weights = list(head.parameters())
    optimizer = torch.optim.AdamW(weights, lr, weight_decay=DECAY)
    count = min(batch, len(seen))
    sums: dict[str, float] = {}
    bar = tqdm(range(1, steps + 1), desc=f"train {name}", unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(step / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        rows = torch.randint(len(seen), (count,))
        with torch.autocast("cpu", torch.bfloat16):
            losses = seen.losses(head, rows)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        sums = {key: 0.98 * sums.get(key, value.item()) + 0.02 * value.item() for key, value in losses.items()}
        if step % 50 == 0:
            bar.set_postfix_str(", ".join(f"{key} {value:.3f}" for key, value in sums.items()))
        if step % KEPT == 0 or step == steps:
            yield step


if __name__ == "__main__":
    main()
