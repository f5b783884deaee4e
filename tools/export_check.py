"""Whether exported files find what the models find in real pictures: at least fifty, of many sizes.

    SEGUE_DATA=... python tools/export_check.py --out results/export.json [--openvino]

Exports `nuclei` and `toybox`, and runs each over pictures that belong to it and some that do not, one without objects
among them, in ONNX Runtime and, if asked, in OpenVINO. What comes out is compared with `Predictor.predict`, which
shares no code with the file beyond the network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.data.images import read_image
from segue.data.layout import resolve
from segue.data.toybox.render import render
from segue.engine.load import load_trained
from segue.engine.predictor import Predictor
from segue.export.check import Differences, Session
from segue.export.onnx_file import export_onnx
from segue.files import atomic_write
from segue.ops import mask_iou, paste_masks
from segue.structures import Scene

THRESHOLD = 0.3
Run = Callable[[Sequence[Tensor]], dict[str, Tensor]]


@dataclass
class Count:
    """What one runtime did with one model's pictures."""

    sizes: set[tuple[int, int]] = field(default_factory=set)
    empty: int = 0  # pictures in which neither finds anything
    differences: Differences = field(default_factory=Differences)
    masks: list[float] = field(default_factory=list)
    sentences: list[bool] = field(default_factory=list)

    def add(self, scene: Scene, found: dict[str, Tensor], predictor: Predictor) -> None:
        """Compare one picture's scene with the outputs for it."""
        self.sizes.add(scene.size)
        regions, valid = scene.regions, found["valid"][0]
        self.empty += not len(regions) and not valid.any()
        expected = {"boxes": regions.boxes, "scores": regions.scores, "labels": regions.labels}
        expected |= {"valid": torch.ones(len(regions), dtype=torch.bool)}
        expected |= {} if regions.keypoints is None else {"keypoints": regions.keypoints}
        maps = (
            {} if scene.semantic is None else {"semantic": scene.semantic[None], "confidence": scene.confidence[None]}
        )
        self.differences.add({name: values[None] for name, values in expected.items()} | maps, found, THRESHOLD)
        if regions.masks is not None and len(regions) == int(valid.sum()):
            conventions: Any = predictor.network.conventions
            boxes = found["boxes"][0, valid]
            pasted = paste_masks(found["masks"][0, valid], boxes, scene.size, conventions.paste_at_centres)
            self.masks += mask_iou(regions.masks, pasted).diagonal().tolist()
        if regions.captions is not None and len(regions) == int(valid.sum()):
            said = predictor.captions.vocabulary.decode(found["captions"][0, valid].long())  # type: ignore[attr-defined]
            self.sentences += [a == b for a, b in zip(regions.captions, said, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        result = {**self.differences.to_json(), "sizes": len(self.sizes), "empty": self.empty}
        result |= {"worst_mask_iou": min(self.masks)} if self.masks else {}
        return result | ({"equal_captions": sum(self.sentences) / len(self.sentences)} if self.sentences else {})


def main() -> None:
    """Export, run, compare."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--out", type=Path, required=True, help="JSON file for the numbers")
    parse.add_argument("--openvino", action="store_true", help="compare OpenVINO, too, which must be installed")
    options = parse.parse_args()
    numbers = {}
    for name, pictures in (("nuclei", nuclei()), ("toybox", toys())):
        predictor = load_trained(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            print(name, *export_onnx(predictor, path))
            runs: dict[str, Run] = {"onnxruntime": Session(path.read_bytes()).run}
            runs |= {"openvino": openvino(path)} if options.openvino else {}
            counts = {runtime: Count() for runtime in runs}
            for picture in pictures:
                scene: Scene = predictor.predict(picture, threshold=THRESHOLD)
                for runtime, run in runs.items():
                    counts[runtime].add(scene, run([picture[None].contiguous(), torch.tensor(THRESHOLD)]), predictor)
        numbers[name] = {runtime: count.to_json() for runtime, count in counts.items()}
        print(json.dumps(numbers[name], indent=1))
    atomic_write(options.out, (json.dumps(numbers, indent=1) + "\n").encode())


def nuclei() -> list[Tensor]:
    """Real pictures of nuclei, cut to many sizes, and an empty one."""
    files = sorted((resolve("dsb2018")[0] / "images").rglob("*.png"))[:36]
    return [*cut([read_image(file) for file in files]), torch.zeros(3, 120, 200, dtype=torch.uint8)]


def toys() -> list[Tensor]:
    """Toybox scenes of many sizes, photos, and an empty picture."""
    scenes = [torch.from_numpy(render(9000 + i, (160 + 16 * i, 256 - 8 * i)).image).permute(2, 0, 1) for i in range(8)]
    photos = [read_image(file) for file in sorted((resolve("coco_mini")[0] / "images/val").glob("*.jpg"))[:12]]
    return [*scenes, *cut(photos), torch.full((3, 150, 111), 90, dtype=torch.uint8)]


def cut(pictures: list[Tensor]) -> list[Tensor]:
    """The top left of each, no two of the same size."""
    return [picture[:, : 180 + 5 * i, : 320 - 3 * i] for i, picture in enumerate(pictures)]


def openvino(path: Path) -> Run:
    """A file in OpenVINO, in plain float32."""
    import openvino as ov  # type: ignore[import-not-found]

    compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_any_name() for output in compiled.outputs]

    def run(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        values = compiled([value.numpy() for value in inputs]).values()
        return {name: torch.from_numpy(value.copy()) for name, value in zip(names, values, strict=True)}

    return run


if __name__ == "__main__":
    main()
