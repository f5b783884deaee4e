"""Whether a converted model computes what the original does: stage by stage, each stage fed with the original's inputs.

A chain of stages cannot be compared end to end where weights are random: they amplify rounding.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from segue.models.checkpoints.foreign import Foreign
from segue.models.checkpoints.seeded import seeded_picture
from segue.models.checkpoints.stages import Found, OurStages, Stages
from segue.models.weights import ModelFile, content_hash
from segue.nn.conventions import Conventions

SIZES = ((120, 160), (161, 97), (64, 211))
"""Of the pictures that a file is compared on."""

MOST = 200
"""Proposals that the box head is compared on, the best ones."""

FEW = 12
"""Detections that the heads of masks and keypoints are compared on, which take a hundred times as long for each."""


ORIGINALS = {"torchvision": "torchvision.models.detection", "detectron2": "detectron2.modeling"}
"""By source, the module that must be importable to compare with it."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        stage: of the network.
        measure: what was measured, with its unit.
        worst: the worst value of all pictures.
        limit: that it must not exceed.
    """

    stage: str
    measure: str
    worst: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within the limit."""
        return self.worst <= self.limit


@dataclass(frozen=True)
class Certificate:
    """What was compared.

    Attributes:
        model: name of the converted model.
        source: the original framework.
        against: its version, or None where it is not installed and nothing could be computed.
        pictures: how many were compared.
        sha256: of the original file.
        content: hash of the converted tensors.
        checks: the comparisons.
        notes: in sentences.
    """

    model: str
    source: str
    against: str | None
    pictures: int
    sha256: str
    content: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def table(self) -> str:
        """As Markdown."""
        head = [
            f"# {self.model}",
            "",
            f"Converted from {self.source}, file sha256 `{self.sha256}`, tensors `{self.content}`.",
            *self.notes,
            "",
        ]
        rows = [
            f"| {c.stage} | {c.measure} | {c.worst:.2e} | {c.limit:.0e} | {'yes' if c.passed else 'NO'} |"
            for c in self.checks
        ]
        if rows:
            head += [f"Against {self.against} on {self.pictures} pictures:", ""]
            head += ["| stage | measure | worst | limit | within |", "|---|---|---|---|---|"]
        return "\n".join([*head, *rows, ""])


def verify(foreign: Foreign, model: ModelFile) -> Certificate:
    """Compare a converted model with the original framework where that can be imported; else say that it could not.

    That names and shapes fit was checked by the conversion; a checksum in the file's name is checked here.
    """
    source = str(model.notes["source"])
    blank = Certificate(
        model=model.name,
        source=source,
        against=None,
        pictures=0,
        sha256=foreign.sha256,
        content=content_hash(model.state, ""),
        checks=_named_hash(foreign),
        notes=(f"All {len(model.state)} names and shapes fit.",),
    )
    why = _cannot_compare(source, model)
    if why:
        return replace(blank, notes=(*blank.notes, f"{why}: no outputs were compared, only names, shapes and hashes."))
    pictures = [seeded_picture(f"picture {i}", size) for i, size in enumerate(SIZES)]
    against, checks = _compare_with(source, foreign, model, pictures)
    return replace(blank, against=against, pictures=len(pictures), checks=(*blank.checks, *checks))


def _compare_with(
    source: str, foreign: Foreign, model: ModelFile, pictures: Sequence[Tensor]
) -> tuple[str, list[Check]]:
    """The original's version, and the comparison with it."""
    if source == "torchvision":
        from segue.models.checkpoints.torchvision_original import compare_torchvision, torchvision_version

        return torchvision_version(), compare_torchvision(foreign, model, pictures)
    from segue.models.checkpoints.detectron2_original import compare_detectron2, detectron2_version

    return detectron2_version(), compare_detectron2(foreign, model, pictures)


def _cannot_compare(source: str, model: ModelFile) -> str | None:
    """Why the original cannot be asked; None where it can."""
    if source not in ORIGINALS:
        return f"Comparing with {source} is not built in"
    if importlib.util.find_spec(source) is None:
        return f"{source} is not installed here"
    try:
        importlib.import_module(ORIGINALS[source])
    except ImportError as error:  # such as detectron2 whose compiled part is missing, or of another PyTorch
        return f"{source} cannot be imported here ({' '.join(str(error).split())})"
    if source == "detectron2":
        from segue.models.checkpoints.detectron2_original import published_configuration

        known = published_configuration(model) is not None
        return None if known else "detectron2 publishes no network with such a trunk"
    if model.network.get("backbone", {}).get("depth", 50) != 50:
        return "torchvision publishes detectors on ResNet-50 only"
    return None


def _named_hash(foreign: Foreign) -> tuple[Check, ...]:
    """The first eight digits of its hash are in the name of every file that torchvision publishes."""
    match = re.search(r"-([0-9a-f]{8})\.pth$", foreign.path.name)
    if not match:
        return ()
    return (Check("file", "first digits of its hash differ from its name's", float(match[1] != foreign.sha256[:8]), 0),)


@torch.no_grad()
def compare_detectors(ours: OurStages, theirs: Stages, pictures: Sequence[Tensor], tasks: Sequence[str]) -> list[Check]:
    """Two detectors on pictures (3, H, W) uint8; each stage gets what ``theirs`` found in the one before."""
    return worst_of([c for picture in pictures for c in _compare(ours, theirs, picture, tasks)])


def _compare(ours: OurStages, theirs: Stages, picture: Tensor, tasks: Sequence[str]) -> list[Check]:
    size = (picture.shape[1], picture.shape[2])
    seen, mine = theirs.shown(picture), ours.shown(picture)
    levels = theirs.pyramid(seen.pixels)
    scores = theirs.proposal_scores(levels)
    padded = (seen.pixels.shape[2], seen.pixels.shape[3])
    proposals = theirs.proposals(scores, levels, padded, seen.size)
    found_proposals, proposals = proposals, proposals[:MOST]
    rois = theirs.regions(levels, proposals, 7)
    raw = theirs.box_scores(rois)
    found = theirs.detections(raw, proposals, seen.size)
    checks = [
        Check("preprocessing", "grey levels", grey_levels(mine.pixels, seen.pixels, ours.network.conventions), 1.0),
        Check("pyramid", "relative", max(map(relative, ours.pyramid(seen.pixels), levels)), 1e-5),
        Check("proposal scores", "relative", max(map(relative, ours.proposal_scores(levels), scores)), 1e-5),
        Check("proposals", "px", apart(ours.proposals(scores, levels, padded, seen.size), found_proposals), 1e-2),
        Check("regions of boxes", "relative", relative(ours.regions(levels, proposals, 7), rois), 1e-5),
        Check("box scores", "relative", max(map(relative, ours.box_scores(rois), raw)), 1e-5),
        *compare_found(ours.detections(raw, proposals, seen.size), found),
    ]
    boxes, labels = found.boxes[:FEW], found.labels[:FEW]
    if not len(boxes):
        return checks
    scale = boxes.new_tensor([size[1] / seen.size[1], size[0] / seen.size[0]] * 2)
    fine = theirs.regions(levels, boxes, 14) if len(tasks) > 1 else None
    if "masks" in tasks and fine is not None:
        logits = theirs.mask_logits(fine)
        pasted = [s.masks(logits, labels, boxes * scale, size) for s in (ours, theirs)]
        checks += [
            Check("regions of masks", "relative", relative(ours.regions(levels, boxes, 14), fine), 1e-5),
            Check("mask logits", "relative", relative(ours.mask_logits(fine), logits), 1e-5),
            Check("masks", "1 - IoU", mask_difference(*pasted), 1e-3),
        ]
    if "keypoints" in tasks and fine is not None:
        logits = theirs.keypoint_logits(fine)
        points, wanted = (s.keypoints(logits, boxes, seen.size, size) for s in (ours, theirs))
        checks += [
            Check("regions of keypoints", "relative", relative(ours.regions(levels, boxes, 14), fine), 1e-5),
            Check("keypoint logits", "relative", relative(ours.keypoint_logits(fine), logits), 1e-5),
            Check("keypoints", "px", largest(points[..., :2], wanted[..., :2]), 1e-2),
            Check("keypoint scores", "relative", relative(points[..., 2], wanted[..., 2]), 1e-4),
        ]
    return checks


def compare_found(ours: Found, theirs: Found) -> list[Check]:
    """Detections by falling score; the other may have left out some at the end, of rows that are no class."""
    n = len(theirs.scores)
    if len(ours.scores) < n:
        return [Check("detections", "of theirs that are missing", float(n - len(ours.scores)), 0)]
    return [
        Check("detected boxes", "px", apart(_marked(ours, n), _marked(theirs, n)), 1e-2),
        Check("detection scores", "score", largest(ours.scores[:n], theirs.scores), 1e-4),
    ]


def _marked(found: Found, n: int) -> Tensor:
    """Boxes of different labels far apart, so that none is taken for one of another label."""
    return found.boxes[:n] + 1e4 * found.labels[:n, None]


def worst_of(checks: Sequence[Check]) -> list[Check]:
    """Of every kind of check the worst, in the order of their first appearance."""
    worst: dict[tuple[str, str], Check] = {}
    for check in checks:
        key = (check.stage, check.measure)
        if key not in worst or not check.worst <= worst[key].worst:  # a NaN is worst
            worst[key] = check
    return list(worst.values())


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, in units of the largest value of ``b``; infinite where shapes differ."""
    if a.shape != b.shape:
        return torch.inf
    return largest(a, b) / max(float(b.abs().max()), 1e-12) if b.numel() else 0.0


def largest(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite where shapes differ."""
    if a.shape != b.shape:
        return torch.inf
    return float((a - b).abs().max()) if a.numel() else 0.0


def apart(a: Tensor, b: Tensor) -> float:
    """How far the most lonely box of two sets (N, 4), in no order, is from the nearest of the other set."""
    if len(a) != len(b):
        return torch.inf
    if not len(a):
        return 0.0
    distance = (a.double()[:, None] - b.double()[None]).abs().amax(2)
    return float(torch.maximum(distance.amin(0).max(), distance.amin(1).max()))


def grey_levels(a: Tensor, b: Tensor, conventions: Conventions) -> float:
    """The largest difference of pictures (1, 3, H, W) normalised by the conventions, in steps of a byte."""
    if a.shape != b.shape:
        return torch.inf
    std = a.new_tensor(conventions.std)[:, None, None]
    return round(largest(a * std, b * std), 3)  # a step is a step, whatever floats make of it


def mask_difference(a: Tensor, b: Tensor) -> float:
    """One less the smallest IoU of masks (N, H, W); two empty ones are equal."""
    shared, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return float((1 - shared / either.clamp(min=1)).where(either > 0, torch.zeros(())).max()) if len(a) else 0.0


def compare_maps(ours: Any, theirs: Any, pixels: Tensor) -> list[Check]:
    """Two networks that score every pixel, as functions (1, 3, H, W) -> (1, K, H, W)."""
    a, b = ours(pixels), theirs(pixels)
    same = (a.argmax(1) == b.argmax(1)).double().mean()
    return [
        Check("scores of pixels", "relative", relative(a, b), 1e-5),
        Check("classes of pixels", "share that differs", 1 - float(same), 1e-3),
    ]
