"""Compare Segue with torchvision on random weights, stage by stage, and make the fixtures that tests compare with.

    python tools/parity_torchvision.py [--pictures FOLDER] [--only NAME] [--fixtures]

Needs torchvision. Writes results/parity_torchvision.json; with --fixtures tests/models/fixtures/torchvision.* instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from segue.data.images import read_image
from segue.models.checkpoints import convert_foreign, read_foreign
from segue.models.checkpoints.seeded import seeded_picture, seeded_state
from segue.models.checkpoints.torchvision import coco_rows
from segue.models.checkpoints.torchvision_original import (
    compare_torchvision,
    original_detector,
    original_semantic,
    torchvision_version,
)
from segue.models.checkpoints.torchvision_stages import TorchvisionStages
from segue.models.checkpoints.trial import detector_trial, semantic_trial
from segue.models.checkpoints.verify import Check

DETECTORS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn")
SECOND = ("fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2")
SEMANTIC = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
FIXTURES = ("maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "deeplabv3_resnet50")
SIZES = ((97, 141), (160, 120), (61, 203), (222, 75), (128, 128), (33, 35), (301, 100), (90, 240), (187, 131), (64, 65))
RESULT = Path("results/parity_torchvision.json")
FOLDER = Path("tests/models/fixtures")


def layout(name: str) -> dict[str, list[int]]:
    """Names and shapes of the network that torchvision builds, frozen norms where the published weights have them."""
    module = segmentation if name in SEMANTIC else detection
    more = {"aux_loss": True} if name in SEMANTIC else {}
    model: nn.Module = getattr(module, name)(weights=None, weights_backbone=None, **more)
    return {k: list(v.shape) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def pictures(folder: Path | None, count: int) -> list[Tensor]:
    """Random pictures of many sizes, and as many real ones, made smaller so that a processor is done in minutes."""
    drawn = [seeded_picture(f"picture {i}", size) for i, size in enumerate(SIZES[:count])]
    files = sorted(folder.glob("**/*.jpg"))[:count] if folder else []
    small = [halved(read_image(f)) for f in files]
    return drawn + small


def halved(picture: Tensor) -> Tensor:
    """A picture (3, H, W) uint8 with sides half as long."""
    size = (picture.shape[1] // 2, picture.shape[2] // 2)
    return nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]


def compared(name: str, shown: list[Tensor], folder: Path, side: int) -> list[Check]:
    """One architecture: random weights saved as torchvision saves them, converted, compared."""
    path = folder / f"{name}.pth"
    torch.save(seeded_state(layout(name)), path)
    foreign = read_foreign(path)
    model = convert_foreign(foreign)
    longest = 1 << 16 if name in SEMANTIC else 5 * side // 3
    model = replace(model, resize=(side, longest))
    return compare_torchvision(foreign, model, shown)


def fixture(name: str, folder: Path) -> dict[str, Tensor]:
    """What the original makes of the trial's inputs."""
    path = folder / f"{name}.pth"
    torch.save(seeded_state(layout(name)), path)
    foreign = read_foreign(path)
    if name in SEMANTIC:
        original = original_semantic(foreign)
        return semantic_trial(lambda x: original(x)["out"])
    rows = coco_rows() if "keypoint" not in name else [0, 1]
    classes = 80 if "keypoint" not in name else 1
    stages = TorchvisionStages(original_detector(foreign, (800, 1333)), rows, classes)
    tasks = list(convert_foreign(foreign).network["tasks"])
    return detector_trial(stages, tasks)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder of real pictures")
    parser.add_argument("--count", type=int, default=10, help="random, and real, pictures of each")
    parser.add_argument("--side", type=int, default=160, help="shorter side in the network; published 800")
    parser.add_argument("--only", help="one architecture")
    parser.add_argument("--fixtures", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if arguments.fixtures:
            FOLDER.mkdir(parents=True, exist_ok=True)
            layouts = {name: layout(name) for name in FIXTURES}
            FOLDER.joinpath("torchvision_layouts.json").write_text(json.dumps(layouts, separators=(",", ":")))
            outputs = {f"{n}/{k}": v.contiguous() for n in FIXTURES for k, v in fixture(n, folder).items()}
            save_file(outputs, FOLDER / "torchvision_outputs.safetensors")
            return
        names = [n for n in (*DETECTORS, *SECOND, *SEMANTIC) if arguments.only in (None, n)]
        shown = pictures(arguments.pictures, arguments.count)
        results = json.loads(RESULT.read_text())["networks"] if RESULT.exists() else {}
        for name in names:
            start = time.monotonic()
            checks = compared(name, shown, folder, arguments.side)
            passed = all(c.passed for c in checks)
            print(f" {name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - start:.0f} s")
            for check in checks:
                print(f"  {check.stage:20} {check.worst:.2e} {check.measure} (limit {check.limit:g})")
            results[name] = {"pictures": len(shown), "passed": passed, "checks": [asdict(c) for c in checks]}
            RESULT.write_text(json.dumps({"against": torchvision_version(), "networks": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
