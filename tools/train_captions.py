"""Train the caption head of a network, quickly: the rest is frozen, so what it sees of a region is computed once.

    SEGUE_DATA=... python tools/train_captions.py runs/toybox_all --data toybox:train --out runs/toybox_captions

Each picture is looked at twice, as it is and in a looking glass, and its objects each time in boxes that are a little
off, as found ones are. Then only the head is trained, on pooled features in memory (6 KB for each box and 64 channels).
The result has the other heads as they were; `segue evaluate --model` takes it.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segue.data.dataset import Dataset, open_dataset
from segue.data.geometry import Geometry
from segue.engine.load import load
from segue.engine.region_predictor import RegionPredictor
from segue.errors import UsageError
from segue.models.weights import read_model, write_model
from segue.structures import Regions
from segue.tasks import BOXES, CAPTIONS, Sampled, parsers_of
from segue.tasks.captions import CaptionHead

JITTER = 0.04
"""Standard deviation of a box's edges, of its sides."""

CLIP, DECAY, WARMUP = 5.0, 0.02, 100


def main() -> None:
    """Look, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="of a region network with the task captions")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=200, help="boxes of a step")
    parser.add_argument("--lr", type=float, default=0.001)
    options = parser.parse_args()
    torch.manual_seed(0)
    predictor = load(options.run)
    head = predictor.network.heads["captions"] if isinstance(predictor, RegionPredictor) else None
    if not isinstance(predictor, RegionPredictor) or not isinstance(head, CaptionHead):
        raise UsageError("tells no captions", where=options.run, cure="name a run of recipes/toybox_all.yaml")
    dataset = open_dataset(options.data, parsers_of([BOXES, CAPTIONS]))
    features, captions = look(predictor, head.pooled, dataset)
    train(head.requires_grad_(True).train(), features, captions, options.steps, options.batch, options.lr)
    model = read_model(options.run / "best.safetensors")
    own = {f"heads.captions.{name}": value.detach() for name, value in head.state_dict().items()}
    options.out.mkdir(parents=True, exist_ok=True)
    write_model(options.out / "best.safetensors", replace(model, state={**model.state, **own}))


@torch.no_grad()
def look(predictor: RegionPredictor, side: int, dataset: Dataset) -> tuple[Tensor, list[str]]:
    """(N, C, side, side) float16 features of all objects in two views, and what is said of them."""
    features: list[Tensor] = []
    captions: list[str] = []
    for index in tqdm(range(len(dataset)), desc="look", unit="image"):
        image, regions = dataset.image(index), dataset.regions(index)
        h, w = image.shape[1:]
        for mirrored in (False, True):
            geometry = Geometry((h, w), False, mirrored, False, (h, w), (0, 0, w, h))
            told = CAPTIONS.mirror(regions, dataset.categories) if mirrored and CAPTIONS.mirror else regions.captions
            boxes = jittered(geometry.boxes(regions.boxes))
            x, _ = predictor.inputs([geometry.image(image)])
            with torch.autocast(predictor.device.type, torch.bfloat16):
                levels = predictor.network.trunk(x)
            owners = torch.zeros(len(boxes), dtype=torch.int64, device=x.device)
            pooled = predictor.network.pool([level.float() for level in levels], boxes.to(x.device), owners, side)
            features.append(pooled.half().cpu())
            captions += [text for text in told or [] if isinstance(text, str)]
    return torch.cat(features), captions


def jittered(boxes: Tensor) -> Tensor:
    """Boxes (N, 4) with their edges moved by chance."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + torch.randn_like(boxes).clamp(-2, 2) * sides * JITTER


def train(head: CaptionHead, features: Tensor, captions: list[str], steps: int, batch: int, lr: float) -> None:
    """AdamW with a short warm-up and a cosine to zero, on boxes drawn at random."""
    device = next(head.parameters()).device
    optimizer = torch.optim.AdamW(head.parameters(), lr, weight_decay=DECAY)
    count, yes = min(batch, len(features)), torch.ones(min(batch, len(features)), dtype=torch.bool, device=device)
    boxes, labels = torch.zeros(count, 4, device=device), torch.zeros(count, dtype=torch.int64, device=device)
    regions = Sampled(boxes, labels, torch.arange(count, device=device), yes, yes)
    bar = tqdm(range(steps), desc="train", unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        rows = torch.randint(len(features), (count,))
        truth = Regions(boxes, labels, captions=[captions[i] for i in rows.tolist()])
        loss = head.losses(head(features[rows].to(device).float()), regions, truth)["captions"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), CLIP)
        optimizer.step()
        if step % 50 == 0:
            bar.set_postfix_str(f"loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
