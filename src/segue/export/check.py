"""Whether an exported file finds what the model finds: the same pictures through both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segue.data.cells import make_cells
from segue.data.toybox.render import render
from segue.engine.predictor import Predictor
from segue.errors import UsageError
from segue.models.one_graph import RegionGraph

BOXES, SCORES = 0.05, 1e-4
"""Pixels and score by which a detection may differ."""

VALUES, SHARE = 1e-3, 0.005
"""Of other outputs at most this share of the values may differ by more than this, in parts of the value above 1."""

THRESHOLD = 0.05
"""Detections with a lower score are not compared."""

Arrays = Mapping[str, Tensor]


@dataclass
class Differences:
    """What was compared, and the worst difference of all pictures.

    Attributes:
        pictures: how many.
        detections: how many the model found.
        missing: detections of one that the other lacks.
        boxes: in pixels.
        scores: of detections.
        values: for each other output, the share of its values that differ.
    """

    pictures: int = 0
    detections: int = 0
    missing: int = 0
    boxes: float = 0.0
    scores: float = 0.0
    values: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @property
    def fault(self) -> str:
        """What is beyond its limit, in words; empty where nothing is."""
        if self.missing:
            return f"{self.missing} of {self.detections} detections differ"
        if not self.boxes <= BOXES:
            return f"boxes differ by {self.boxes:.3g} pixels"
        if not self.scores <= SCORES:
            return f"scores differ by {self.scores:.3g}"
        return next((f"{100 * v:.3g} % of {k} differ" for k, v in self.values.items() if not v <= SHARE), "")

    def __str__(self) -> str:
        parts = [f"{self.pictures} pictures"]
        if self.detections:
            parts.append(f"{self.detections} detections, boxes within {self.boxes:.2g} px, scores {self.scores:.1g}")
        return ", ".join(parts)

    def add(self, expected: Arrays, found: Arrays, threshold: float = THRESHOLD) -> None:
        """Count the outputs for pictures (B, ...), of the model and of the file."""
        self.pictures += len(next(iter(expected.values())))
        slots = {}
        if "valid" in expected:
            rows = [
                (i, *pair)
                for i in range(len(expected["valid"]))
                for pair in self._matched(expected, found, i, threshold)
            ]
            index = torch.tensor(rows, dtype=torch.int64).view(-1, 3)
            slots = {"expected": (index[:, 0], index[:, 1]), "found": (index[:, 0], index[:, 2])}
        for name in expected.keys() - {"boxes", "scores", "labels", "valid"}:
            a, b = expected[name], found[name]
            if slots and a.shape[:2] == expected["valid"].shape and name not in ("semantic", "confidence"):
                a, b = a[slots["expected"]], b[slots["found"]]
            self.values[name] = max(self.values.get(name, 0.0), differing(a, b))

    def _matched(self, expected: Arrays, found: Arrays, image: int, threshold: float) -> list[tuple[int, int]]:
        """Slots of the same detections of one picture; those at the threshold may be missing."""
        own, others = (side["valid"][image].nonzero()[:, 0].tolist() for side in (expected, found))
        self.detections += len(own)
        pairs = []
        for slot in own:
            score = expected["scores"][image, slot]
            near = [o for o in others if found["labels"][image, o] == expected["labels"][image, slot]]
            gaps = [float((found["boxes"][image, o] - expected["boxes"][image, slot]).abs().max()) for o in near]
            if not gaps or min(gaps) > 1:
                self.missing += bool(score > threshold + SCORES)
                continue
            other = near[int(np.argmin(gaps))]
            others.remove(other)
            pairs.append((slot, other))
            self.boxes = max(self.boxes, min(gaps))
            self.scores = max(self.scores, float((found["scores"][image, other] - score).abs()))
        self.missing += sum(bool(found["scores"][image, other] > threshold + SCORES) for other in others)
        return pairs


def differing(a: Tensor, b: Tensor) -> float:
    """The share of values of two tensors that differ."""
    if not a.numel():
        return 0.0
    a, b = a.double(), b.double()
    return float(((a - b).abs() > VALUES * a.abs().clamp(min=1)).double().mean())


def differences(graph: nn.Module, content: bytes, predictor: Predictor) -> Differences:
    """Compare an ONNX model with a graph; raises `UsageError` where they differ too much, or ONNX Runtime refuses."""
    try:
        session = Session(content)
        found = Differences()
        for images, threshold in pictures():
            inputs = [images, torch.tensor(threshold)] if isinstance(graph, RegionGraph) else [images]
            with torch.no_grad():
                expected = graph(*inputs)
            found.add(expected, session.run(inputs), threshold)
    except Exception as error:  # its exceptions have no common base
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"ONNX Runtime refuses it ({reason})", where=predictor.name, cure="update onnxruntime"
        ) from error
    if found.fault:
        cure = "nothing was written; weights that never learned amplify rounding"
        raise UsageError(f"the exported graph gives something else: {found.fault}", where=predictor.name, cure=cure)
    return found


class Session:
    """An ONNX model in ONNX Runtime on the CPU."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]

    def run(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Outputs by name."""
        arrays = {name: value.numpy() for name, value in zip(self.inputs, inputs, strict=True)}
        return {n: torch.from_numpy(v) for n, v in zip(self.outputs, self.session.run(None, arrays), strict=True)}


def pictures() -> list[tuple[Tensor, float]]:
    """Batches (B, 3, H, W) uint8 of different sizes with thresholds: toys, nuclei, nothing; none may exceed 1."""
    toys = [torch.from_numpy(render(seed, (192, 256)).image).permute(2, 0, 1) for seed in (1, 2)]
    cells = make_cells((0, 0), (160, 208))[0]
    plain = torch.full((1, 3, 97, 131), 128, dtype=torch.uint8)
    batches = [torch.stack(toys), cells[None], plain]
    return [(batch.contiguous(), THRESHOLD) for batch in batches] + [(toys[0][None, :, :150].contiguous(), 2.0)]
