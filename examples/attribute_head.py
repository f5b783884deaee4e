"""Colour and material of every object: a new head for Segue. docs/your_own_head.md walks through it."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from segue.ops import box_iou
from segue.tasks import RegionTask

KINDS = {
    "color": ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray", "white"],
    "material": ["matt", "shiny"],
}  # the field "attributes" of N regions: (N, 2) numbers of words, from 1 on; 0 where nobody says


@dataclass(frozen=True)
class AttributeSettings:
    channels: int = 128


class AttributeHead(nn.Module):
    pooled = 7  # bins a side that RoIAlign makes of a region

    def __init__(self, channels, categories, conventions, settings):
        super().__init__()
        n = settings.channels
        layers = nn.Conv2d(channels, n, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(n * self.pooled**2, n)
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.words = nn.ModuleList(nn.Linear(n, len(words)) for words in KINDS.values())

    def forward(self, rois):  # (R, C, 7, 7) -> for each kind (R, words)
        x = self.body(rois)
        return tuple(layer(x) for layer in self.words)

    def losses(self, raw, regions, truth):
        told = truth.field("attributes") if len(truth) else None
        goals = raw[0].new_zeros(len(raw[0]), 2).long() if told is None else told[regions.matched * regions.positive]
        goals = goals * regions.positive[:, None]  # (R, 2)
        sums = [F.cross_entropy(s, g - 1, ignore_index=-1, reduction="sum") for s, g in zip(raw, goals.T)]
        return {kind: s / n for kind, s, n in zip(KINDS, sums, (goals > 0).sum(0).clamp(min=1))}

    def decode(self, raw, regions, size):
        return torch.stack([scores.argmax(1) + 1 for scores in raw], dim=1)


class Accuracy:  # the shares of the found objects whose colour and whose material are right
    def __init__(self, categories):
        self.right, self.told, self.found, self.objects = torch.zeros(2), torch.zeros(2), 0, 0

    def update(self, predicted, truth):
        p, t = predicted.regions, truth.regions
        self.objects += len(t)
        if len(p) and len(t):
            match = (box_iou(t.boxes, p.boxes) >= 0.5) & (t.labels[:, None] == p.labels)
            score, best = (match * p.scores).max(1)  # the surest detection of each object
            told, said = t.extra["attributes"][score > 0], p.extra["attributes"][best[score > 0]]  # of the found
            self.found += len(told)
            self.told, self.right = self.told + (told > 0).sum(0), self.right + ((told > 0) & (told == said)).sum(0)

    def compute(self):
        numbers = [*(self.right / self.told.clamp(min=1)).tolist(), self.found / max(1, self.objects)]
        return {f"attributes/{name}": number for name, number in zip((*KINDS, "found"), numbers)}


def parse(annotations, size):
    told = [a.get("attributes", {}) for a in annotations]
    numbers = [[words.index(a[kind]) + 1 if a.get(kind) in words else 0 for kind, words in KINDS.items()] for a in told]
    return torch.tensor(numbers).reshape(-1, 2) if any(told) or not annotations else None


def to_json(regions):
    rows = regions.extra["attributes"].tolist()
    return [{"attributes": {kind: KINDS[kind][n - 1] for kind, n in zip(KINDS, row) if n}} for row in rows]


ATTRIBUTES = RegionTask("attributes", AttributeSettings, AttributeHead, parse, metrics=(Accuracy,), to_json=to_json)
