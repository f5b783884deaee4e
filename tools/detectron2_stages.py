"""What detectron2 computes for a picture, stage by stage, beside what a converted model makes of the same inputs.

A record holds the original's inputs and outputs of every stage. Each stage here gets the original's inputs: random
weights amplify rounding, so that a chain of stages cannot be compared end to end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from segue.engine.region_predictor import RegionPredictor
from segue.models.checkpoints.seeded import seeded
from segue.nn.normalise import normalise, pad_images
from segue.ops.cubify import cubify
from segue.ops.panoptic import MergeLimits, merge_panoptic
from segue.structures import Masks, Meshes, Regions

Record = Mapping[str, Tensor]

GAINS = {
    "conv3.norm.weight": 0.2,
    "fpn_lateral2.weight": 0.4,
    "fpn_lateral3.weight": 0.4,
    "fpn_lateral4.weight": 0.4,
    "fpn_lateral5.weight": 0.4,
    "anchor_deltas.weight": 0.1,
    "bbox_pred.weight": 0.3,
    "cls_score.weight": 1.0,
    "mask_head.predictor.weight": 4.0,
    "score_lowres.weight": 6.0,
    "voxel_head.predictor.weight": 6.0,
    "w1.weight": 0.2,
    "verts_offset.weight": 0.2,
}
"""Of weights by the end of their name: activations stay near 1, boxes in the picture, and scores differ."""

LIMITS = {
    "preprocessing": 1.0,  # grey levels
    "pyramid": 1e-5,  # relative to the largest value, as all that no unit is given for
    "rpn logits": 1e-5,
    "rpn deltas": 1e-5,
    "anchors": 1e-3,  # pixels
    "proposals": 1e-2,  # pixels
    "proposals unmatched": 0.0,
    "box features": 1e-5,
    "class logits": 1e-5,
    "box deltas": 1e-5,
    "boxes": 1e-2,  # pixels
    "boxes unmatched": 0.0,
    "scores": 1e-4,
    "mask features": 1e-5,
    "mask logits": 1e-5,
    "pasted masks": 1e-3,  # 1 - intersection over union
    "keypoint features": 1e-5,
    "keypoint logits": 1e-5,
    "keypoints": 1e-2,  # pixels
    "keypoint scores": 1e-4,
    "semantic logits": 1e-5,
    "semantic map": 1e-4,  # share of pixels
    "panoptic map": 0.0,  # share of pixels
    "panoptic classes": 0.0,
    "extent features": 1e-5,
    "extents": 1e-5,
    "vertex features": 1e-5,
    "voxel features": 1e-5,
    "voxels": 1e-5,
    "cubes": 1e-5,  # of a box that is 2 wide
    "meshes": 1e-5,
}
"""Largest difference that a stage may show."""


@torch.no_grad()
def differences(predictor: RegionPredictor, record: Record, resize: tuple[int, int]) -> dict[str, float]:
    """How far a converted model is from the original in each stage that a record has.

    Args:
        predictor: the converted model.
        record: of one picture: what `tools.parity_detectron2` writes.
        resize: shorter side and cap of the longer side.
    """
    network, shown = predictor.network, record["shown"]
    found = {"preprocessing": _preprocessing(predictor, record, resize)}
    x, sizes = pad_images([shown], network.multiple)
    x = normalise(x, sizes, network.conventions)
    levels = [record[f"level {i}"] for i in range(5)]
    found["pyramid"] = max(relative(a, b) for a, b in zip(network.trunk(x), levels, strict=True))
    raw = network.rpn(levels, tuple(x.shape[-2:]))
    found["rpn logits"] = relative(raw.logits[0], record["rpn logits"])
    found["rpn deltas"] = relative(raw.deltas[0], record["rpn deltas"])
    if "anchors" in record:
        found["anchors"] = farthest(raw.anchors, record["anchors"])
    theirs = replace(raw, logits=record["rpn logits"][None], deltas=record["rpn deltas"][None])
    proposals = network.rpn.propose(theirs, sizes)
    own = proposals.boxes[0, proposals.valid[0]]
    found["proposals"], found["proposals unmatched"] = unordered(own, record["proposals"])
    for stage in (_boxes, _masks, _keypoints, _semantic, _panoptic, _meshes):
        found |= stage(predictor, record, levels, sizes)
    return found


def _preprocessing(predictor: RegionPredictor, record: Record, resize: tuple[int, int]) -> float:
    resizing = RegionPredictor(
        predictor.name, predictor.network, predictor.categories, predictor.tasks, resize, predictor.notes
    )
    own = resizing.resized(record["picture"])
    return farthest(own, record["shown"]) if own.shape == record["shown"].shape else float("inf")


def _boxes(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    head: Any = predictor.network.heads["boxes"]
    boxes = record["proposals"]
    raw = record["class logits"], record["box deltas"].view(len(boxes), -1, 4)
    found = head.select(raw, boxes[None], torch.ones(1, len(boxes), dtype=torch.bool), sizes)
    valid = found.valid[0]
    own = torch.cat([found.boxes[0], 1e4 * found.labels[0, :, None]], 1)[valid]  # another class is far away
    theirs = torch.cat([record["boxes"], 1e4 * record["labels"][:, None]], 1)
    distance, unmatched = unordered(own, theirs)
    scores = farthest(found.scores[0, valid], record["scores"]) if int(valid.sum()) == len(theirs) else float("inf")
    differences = {"boxes": distance, "boxes unmatched": unmatched, "scores": scores}
    if "box features" in record:
        features = predictor.network.pool(levels, boxes, torch.zeros(len(boxes), dtype=torch.int64), head.pooled)
        logits, deltas = head(record["box features"])
        differences["box features"] = relative(features, record["box features"])
        differences["class logits"] = relative(logits, record["class logits"])
        differences["box deltas"] = relative(deltas.flatten(1), record["box deltas"])
    return differences


def _masks(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    if "mask logits" not in record or not len(record["boxes"]):
        return {}
    network, head = predictor.network, predictor.network.heads["masks"]
    features = network.pool(levels, record["boxes"], torch.zeros_like(record["labels"]), head.pooled)
    regions = Regions(record["shown boxes"], record["shown labels"])
    size = tuple(record["picture"].shape[1:])
    logits = record["mask logits"][record["kept"]]
    own = head.decode(logits, regions, size).dense()
    theirs = record["masks"]
    shared, union = (own & theirs).sum((1, 2)), (own | theirs).sum((1, 2))
    return {
        "mask features": relative(features, record["mask features"]),
        "mask logits": relative(head(record["mask features"]), record["mask logits"]),
        "pasted masks": float((1 - shared / union.clamp(min=1))[union > 0].max()) if bool(union.any()) else 0.0,
    }


def _keypoints(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    if "keypoint logits" not in record or not len(record["boxes"]):
        return {}
    network, head = predictor.network, predictor.network.heads["keypoints"]
    features = network.pool(levels, record["boxes"], torch.zeros_like(record["labels"]), head.pooled)
    regions = Regions(record["boxes"], record["labels"])
    own = head.decode(record["keypoint logits"], regions, tuple(sizes[0].tolist()), record["boxes"])
    return {
        "keypoint features": relative(features, record["keypoint features"]),
        "keypoint logits": relative(head(record["keypoint features"]), record["keypoint logits"]),
        "keypoints": farthest(own[..., :2], record["keypoints"][..., :2]),
        "keypoint scores": relative(own[..., 2], record["keypoints"][..., 2]),  # above 1 with random weights
    }


def _semantic(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    if "semantic logits" not in record:
        return {}
    head = predictor.network.pixel_heads["semantic"]
    size = tuple(record["picture"].shape[1:])
    own, _ = head.decode(record["semantic logits"], tuple(sizes[0].tolist()), size)
    return {
        "semantic logits": relative(head(levels[:-1])[0], record["semantic logits"]),
        "semantic map": float((own != _categories(predictor, record["semantic map"])).float().mean()),
    }


def _panoptic(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    if "panoptic map" not in record:
        return {}
    regions = Regions(
        record["shown boxes"],
        record["shown labels"],
        record["scores"][record["kept"]],
        masks=Masks.from_dense(record["masks"]),
    )
    semantic = _categories(predictor, record["semantic map"])
    own, segments = merge_panoptic(regions, semantic, predictor.categories, MergeLimits())
    theirs = record["panoptic classes"]  # things count as in the detector, stuff as in the semantic map
    stuff = _categories(predictor, theirs)
    classes = torch.where(record["panoptic things"], theirs, stuff.long())
    return {
        "panoptic map": float((own != record["panoptic map"]).float().mean()),
        "panoptic classes": 0.0 if torch.equal(segments.labels, classes) else 1.0,
    }


def _categories(predictor: RegionPredictor, outputs: Tensor) -> Tensor:
    """The categories that outputs of the semantic branch stand for."""
    table: Any = predictor.network.pixel_heads["semantic"].category
    found: Tensor = table[outputs.long().clamp(max=len(table) - 1)].short()
    return found


def _meshes(predictor: RegionPredictor, record: Record, levels: list[Tensor], sizes: Tensor) -> dict[str, float]:
    if "extents" not in record or not len(record["boxes"]):
        return {}
    network, head = predictor.network, predictor.network.heads["meshes"]
    pooled = network.pool(levels, record["boxes"], torch.zeros_like(record["labels"]), head.pooled)
    extents = head.extent(record["extent features"])[..., 0]
    found = {
        "extent features": relative(pooled[0], record["extent features"]),
        "extents": relative(extents, record["extents"]),
    }
    start = unpacked(record, "start")
    if "voxels" in record:
        found["voxel features"] = relative(pooled[2], record["voxel features"])
        found["voxels"] = relative(head.voxels(record["voxel features"]), record["voxels"])
        own = cubify(record["voxels"].sigmoid(), head.settings.threshold)
        found["cubes"] = mesh_distance(own, start)
    if "vertex features" in record:
        found["vertex features"] = relative(pooled[1], record["vertex features"])
        stages = head.refinement(record["vertex features"], start)
        found["meshes"] = max(mesh_distance(own, unpacked(record, f"mesh {i}")) for i, own in enumerate(stages))
    return found


def unpacked(record: Record, name: str) -> Meshes:
    """The meshes that a record holds under a name."""
    vertices, faces, counts, face_counts = (
        record[f"{name} {part}"] for part in ("vertices", "faces", "counts", "face counts")
    )
    return Meshes(vertices, faces, counts, face_counts)


def mesh_distance(a: Meshes, b: Meshes) -> float:
    """How far vertices are apart, whatever their order within a mesh; infinite where the faces differ."""
    if not (torch.equal(a.vertex_counts, b.vertex_counts) and torch.equal(a.face_counts, b.face_counts)):
        return float("inf")
    worst = 0.0
    for (vertices, faces), (others, other_faces) in zip(a.unpack(), b.unpack(), strict=True):
        if len(faces):
            middles, other_middles = (v[f].mean(1) for v, f in ((vertices, faces), (others, other_faces)))
            worst = max(worst, *(unordered(x, y)[0] for x, y in ((vertices, others), (middles, other_middles))))
    return worst


def seeded_detector(shapes: Mapping[str, Sequence[int]], std: float) -> dict[str, Tensor]:
    """Weights in detectron2's layout, which follow from names and shapes, for pixels divided by ``std``."""
    return {name: _weight(name, shape, std) for name, shape in shapes.items()}


def _weight(name: str, shape: Sequence[int], std: float) -> Tensor:
    values, gain = seeded(name, shape), next((g for end, g in GAINS.items() if name.endswith(end)), 1.0)
    if len(shape) > 1:
        return values * (gain * math.sqrt(6 / math.prod(shape[1:])))  # He et al. 2015, uniform
    if name.endswith("running_var"):
        return (1 + 0.5 * values) * ((140 / std) ** 2 if "stem" in name else 1.0)
    return (1 + 0.25 * values) * gain if name.endswith("norm.weight") else 0.1 * values


def limit(predictor: RegionPredictor, proposals: int, detections: int, score: float) -> None:
    """Let a model find no more than that."""
    rpn, head = predictor.network.rpn, predictor.network.heads["boxes"]
    rpn.settings = replace(rpn.settings, post_nms=proposals)
    head.settings = replace(head.settings, detections=detections, score=score)


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference, in parts of the largest value."""
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) if a.numel() else 0.0


def farthest(a: Tensor, b: Tensor) -> float:
    """Largest difference."""
    if a.shape != b.shape:
        return float("inf")
    return float((a.float() - b.float()).abs().max()) if a.numel() else 0.0


def unordered(a: Tensor, b: Tensor, near: float = 1.0) -> tuple[float, float]:
    """Rows as sets: the largest distance between nearest rows (of those nearer than ``near``), how many have none."""
    if not len(a) or not len(b):
        return 0.0, float(len(a) + len(b))
    rows, others = a.double().numpy(), b.double().numpy()  # a tree, as meshes have tens of thousands of rows
    nearest = torch.from_numpy(
        np.concatenate([cKDTree(y).query(x, p=np.inf)[0] for x, y in ((rows, others), (others, rows))])
    )
    matched = nearest < near
    return float(nearest[matched].max()) if bool(matched.any()) else 0.0, float((~matched).sum())
