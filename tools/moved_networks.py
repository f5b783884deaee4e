"""Trained networks in two frameworks: weights of `toybox` for other pixels and names, and how far detections differ."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from segue.engine.load import build
from segue.engine.region_predictor import RegionPredictor
from segue.models.checkpoints import convert
from segue.models.checkpoints.torchvision import our_name
from segue.models.weights import ModelFile, load_state, read_model
from segue.models.zoo import find_model
from segue.nn.conventions import SEGUE, TORCHVISION, Conventions
from segue.structures import Regions
from tools.detectron2_stages import unordered

STEM = "trunk.backbone.stem."
FIXTURE_RESIZE = (160, 200)
"""Of the scene whose detections are stored."""


def toybox() -> ModelFile:
    """The bundled network without the colours of its cells, for boxes, masks and proposals do not look at them.

    Raises:
        ValueError: they do: a weight is not zero.
    """
    file = read_model(find_model("toybox"))
    channels = file.network["pyramid"]["channels"]
    state = dict(file.state)
    for name in ("rpn.conv", "heads.boxes.fc1", "heads.masks.convolutions.0"):
        weight = state[f"{name}.weight"]
        kept = weight.shape[1] // (channels + 3) * channels
        if weight[:, kept:].any():
            raise ValueError(f"{name} looks at colours")
        state[f"{name}.weight"] = weight[:, :kept]
    return replace(file, state=state, network={**file.network, "pyramid": {"channels": channels}})


def stem(state: Mapping[str, Tensor], taken: Conventions) -> dict[str, Tensor]:
    """Weights of the stem of a network trained here, for pixels normalised by other conventions.

    Where the picture is padded with zeros, that is the mean, the network sees something else than it was trained on.
    """
    weight = state[f"{STEM}0.weight"].float()
    order = -1 if taken.bgr else 1
    mean, std = (weight.new_tensor(values[::order]) for values in (taken.mean, taken.std))  # red first, as SEGUE's
    ours = weight.new_tensor(SEGUE.std)
    shift = weight.sum((2, 3)) @ ((mean - weight.new_tensor(SEGUE.mean)) / ours)  # of the convolution's output
    scaled = weight * (std / ours).view(3, 1, 1)
    return {
        f"{STEM}0.weight": scaled.flip(1) if taken.bgr else scaled,
        f"{STEM}1.running_mean": state[f"{STEM}1.running_mean"].float() - shift,
    }


def torchvision_state(file: ModelFile, names: Iterable[str]) -> dict[str, Tensor]:
    """Weights of boxes and masks trained here, by torchvision's names.

    The background comes first, and every classifier has rows for it.
    """
    ours = {**{name: tensor.float() for name, tensor in file.state.items()}, **stem(file.state, TORCHVISION)}
    return {name: _with_background(str(our_name(name, second=False)), ours) for name in names}


def _with_background(name: str, state: Mapping[str, Tensor]) -> Tensor:
    if name.startswith("heads.boxes.logits"):
        return state[name].roll(1, 0)  # it was the last
    empty = {"heads.boxes.deltas": 4, "heads.masks.logits": 1}.get(name.rpartition(".")[0], 0)
    return torch.cat([state[name].new_zeros(empty, *state[name].shape[1:]), state[name]]) if empty else state[name]


def converted(state: Mapping[str, Tensor], resize: tuple[int, int] | None, sizes: Sequence[float]) -> RegionPredictor:
    """What Segue makes of another framework's weights, by way of a file; anchors' sizes are not told by that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(dict(state), path)
        file = convert(path)
    predictor = build(replace(file, resize=resize), str(path))
    load_state(predictor.network, file.state, path)
    assert isinstance(predictor, RegionPredictor)
    rpn = predictor.network.rpn
    rpn.settings = replace(rpn.settings, sizes=tuple(sizes))
    return predictor


def agreement(ours: Regions, theirs: Regions) -> dict[str, float]:
    """How far two lists of detections of one picture are apart.

    Boxes in pixels, scores, masks as one less their IoU, of detections whose boxes are less than a pixel apart; how
    many have no such partner, and how many masks an IoU below 0.999.
    """
    assert ours.scores is not None
    assert theirs.scores is not None
    a, b = (torch.cat([r.boxes, 1e4 * r.labels[:, None]], 1) for r in (ours, theirs))  # another class is far away
    distance, unmatched = unordered(a, b)
    row = {"boxes": distance, "boxes unmatched": unmatched, "scores": 0.0, "masks": 0.0, "detections": len(b)}
    row["masks below 0.999"] = 0.0
    if not len(a) or not len(b):
        return row
    apart = torch.cdist(b.double(), a.double(), p=torch.inf)
    near = apart.amin(1) < 1
    mine, other = ours.select(apart.argmin(1)[near]), theirs.select(near)
    if len(other):
        row["scores"] = float((mine.scores - other.scores).abs().max())
        lost = 1 - _iou(mine, other)
        row |= {"masks": float(lost.max()), "masks below 0.999": float((lost > 1e-3).sum())}
    return row


def _iou(a: Regions, b: Regions) -> Tensor:
    """(R,) IoU of the masks of two lists, row by row; two empty masks are equal."""
    assert a.masks is not None
    assert b.masks is not None
    first, second = a.masks.dense(), b.masks.dense()
    shared, union = (first & second).sum((1, 2)), (first | second).sum((1, 2))
    return (shared / union.clamp(min=1)).where(union > 0, 1)


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The largest differences, and sums of the counts."""
    counts = ("detections", "boxes unmatched", "masks below 0.999")
    return {k: (sum if k in counts else max)(row[k] for row in rows) for k in rows[0]} | {"pictures": len(rows)}
