"""Move a network that Segue trained into detectron2, back by way of a file in its layout, and compare detections.

    python tools/trained_detectron2.py --pictures FOLDER --out results/trained_detectron2.json

The weights are those of the bundled model `toybox`: boxes and masks. Both run end to end under detectron2's
conventions, from the picture on; the stem takes up what its pixels are scaled by. Needs detectron2, as
`tools/parity_detectron2.py` does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.models.checkpoints.detectron2 import RULES
from segue.models.checkpoints.detectron2_stages import Detectron2Stages
from segue.models.checkpoints.renaming import rename
from segue.models.weights import ModelFile
from segue.nn.conventions import DETECTRON2
from segue.structures import Masks, Regions
from tools.moved_networks import STEM, agreement, converted, stem, summary, toybox
from tools.parity_detectron2 import config, pictures, prepare

RESIZE = (256, 448)
SCORE = 0.05
"""detectron2's own threshold, too."""


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of real pictures")
    parser.add_argument("--real", type=int, default=20, help="number of them")
    parser.add_argument("--out", type=Path, help="JSON file of the differences")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    prepare()
    file = toybox()
    model = moved(file)
    predictor = converted(model.state_dict(), RESIZE, file.network["proposals"]["sizes"])
    shown = pictures(args.pictures, args.real, 0)
    text = json.dumps(summary([compare(model, predictor, picture) for picture in shown]), indent=1)
    print(text)
    if args.out:
        atomic_write(args.out, f"{text}\n".encode())


def moved(file: ModelFile) -> Any:
    """detectron2's network with the weights of a model of boxes and masks on a ResNet-18."""
    from detectron2.modeling import FPN, build_model
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

    ours = {**file.state, **stem(file.state, DETECTRON2)}
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
    return model.eval()


def compare(model: Any, predictor: RegionPredictor, picture: Tensor) -> dict[str, float]:
    """How far the two are apart in the final detections of one picture (3, H, W) uint8."""
    small = Detectron2Stages(model, RESIZE).resized(picture)
    given = {"image": small.flip(0).float(), "height": picture.shape[1], "width": picture.shape[2]}
    found = model([given])[0]["instances"]
    masks = Masks.from_dense(found.pred_masks)
    theirs = Regions(found.pred_boxes.tensor, found.pred_classes, found.scores, masks=masks)
    return agreement(predictor.scenes([(picture, None)], SCORE)[0].regions, theirs)


if __name__ == "__main__":
    main()
