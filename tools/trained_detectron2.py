"""Move a network that Segue trained into detectron2, back by way of a file in its layout, and compare detections.

    python tools/trained_detectron2.py --pictures FOLDER --out results/trained_detectron2.json

The weights are those of the bundled model `toybox`: boxes and masks. Both run end to end under detectron2's
conventions; the stem takes up what its pixels are scaled by. The first comparison is on the same resized pixels. In the
second each resizes for itself, which differs by up to one grey level, and only detections with a score of one half or
more count. Needs detectron2, as `tools/parity_detectron2.py` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.files import atomic_write
from segue.models.checkpoints.detectron2 import RULES
from segue.models.checkpoints.renaming import rename
from segue.models.weights import ModelFile, read_model
from segue.models.zoo import find_model
from segue.nn.conventions import DETECTRON2, SEGUE
from tools.detectron2_stages import unordered
from tools.parity_detectron2 import config, converted, pictures, prepare, resized

RESIZE = (256, 448)
STEM = "trunk.backbone.stem."


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of real pictures")
    parser.add_argument("--real", type=int, default=20, help="number of them")
    parser.add_argument("--out", type=Path, help="JSON file of the differences")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    prepare()
    file = read_model(find_model("toybox"))
    cfg, model = moved(file)
    predictor = converted(model, "toybox", cfg)
    rpn = predictor.network.rpn
    rpn.settings = replace(rpn.settings, sizes=tuple(file.network["proposals"]["sizes"]))  # a file does not tell them
    results = {
        "same pixels": [compare(model, predictor, picture, own=False, score=0.05) for picture in shown(args)],
        "own pixels": [compare(model, predictor, picture, own=True, score=0.5) for picture in shown(args)],
    }
    text = json.dumps({name: summary(rows) for name, rows in results.items()}, indent=1)
    print(text)
    if args.out:
        atomic_write(args.out, f"{text}\n".encode())


def shown(args: argparse.Namespace) -> Iterator[Tensor]:
    """The pictures to compare on."""
    return pictures(args.pictures, args.real, 0)


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """The largest differences, and sums of the counts."""
    counts = ("detections", "boxes unmatched")
    return {k: (sum if k in counts else max)(row[k] for row in rows) for k in rows[0]} | {"pictures": len(rows)}


def moved(file: ModelFile) -> tuple[Any, Any]:
    """detectron2's configuration and network with the weights of a model of boxes and masks on a ResNet-18."""
    from detectron2.modeling import FPN, build_model
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

    ours = {**file.state, **stem(file.state)}
    width, channels = len(ours[f"{STEM}0.weight"]), len(ours["trunk.pyramid.lateral.0.weight"])
    masks = file.network["tasks"]["masks"] or {}
    cfg = config(
        "mask_rcnn_R_50_FPN",
        RESIZE,
        [
            *("MODEL.FPN.OUT_CHANNELS", channels, "MODEL.ROI_BOX_HEAD.FC_DIM", len(ours["heads.boxes.fc1.bias"])),
            *("MODEL.ROI_HEADS.NUM_CLASSES", len(ours["heads.masks.logits.bias"])),
            *("MODEL.ROI_MASK_HEAD.CONV_DIM", len(ours["heads.masks.upsample.bias"])),
            *("MODEL.ROI_MASK_HEAD.NUM_CONV", masks.get("convolutions", 4)),
            *("MODEL.ANCHOR_GENERATOR.SIZES", [[size] for size in file.network["proposals"]["sizes"]]),
        ],
    )
    model = build_model(cfg)
    stages = [
        ResNet.make_stage(
            BasicBlock,
            2,
            stride_per_block=[1 if i == 0 else 2, 1],
            in_channels=width * 2 ** max(i - 1, 0),
            out_channels=width * 2**i,
            norm="FrozenBN",
        )
        for i in range(4)
    ]
    names = ["res2", "res3", "res4", "res5"]
    trunk = ResNet(BasicStem(3, width, "FrozenBN"), stages, out_features=names)
    model.backbone = FPN(trunk, names, channels, top_block=LastLevelMaxPool())
    model.load_state_dict({name: ours[str(rename(name, RULES))] for name in model.state_dict()})
    return cfg, model.eval()


def stem(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The stem for pixels as detectron2 takes them: blue first, not divided, with another mean.

    Where the picture is padded with zeros, that is the mean, the network sees something else than it was trained on.
    """
    weight = state[f"{STEM}0.weight"].float()
    apart = [(a - b) / s for a, b, s in zip(DETECTRON2.mean[::-1], SEGUE.mean, SEGUE.std, strict=True)]
    shift = weight.sum((2, 3)) @ weight.new_tensor(apart)  # of the convolution's output
    return {
        f"{STEM}0.weight": (weight / weight.new_tensor(SEGUE.std).view(3, 1, 1)).flip(1),
        f"{STEM}1.running_mean": state[f"{STEM}1.running_mean"].float() - shift,
    }


def compare(model: Any, predictor: Any, picture: Tensor, own: bool, score: float) -> dict[str, float]:
    """How far the two are apart in the final detections of one picture that have this score or more."""
    small = resized(picture, RESIZE)
    seen = picture if own else small
    predictor.resize = RESIZE if own else None
    given = {"image": small.flip(0).float(), "height": seen.shape[1], "width": seen.shape[2]}
    theirs = model([given])[0]["instances"]
    theirs = theirs[theirs.scores >= score]
    ours = predictor.scenes([(seen, None)], score)[0].regions
    a = torch.cat([ours.boxes, 1e4 * ours.labels[:, None]], 1)
    b = torch.cat([theirs.pred_boxes.tensor, 1e4 * theirs.pred_classes[:, None]], 1)
    distance, unmatched = unordered(a, b)
    row = {"boxes": distance, "boxes unmatched": unmatched, "scores": 0.0, "masks": 0.0, "detections": len(b)}
    if len(a) and len(b):
        apart = torch.cdist(b.double(), a.double(), p=torch.inf)
        mine = apart.argmin(1)[apart.amin(1) < 1]
        other = theirs[apart.amin(1) < 1]
        dense = ours.masks.dense()[mine]
        shared, union = (dense & other.pred_masks).sum((1, 2)), (dense | other.pred_masks).sum((1, 2))
        row["scores"] = float((ours.scores[mine] - other.scores).abs().max()) if len(mine) else 0.0
        row["masks"] = float((1 - shared / union.clamp(min=1)).where(union > 0, 0).max()) if len(mine) else 0.0
    return row


if __name__ == "__main__":
    main()
