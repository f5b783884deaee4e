"""Trained weights under torchvision's names: the detections that torchvision itself made with them, which are stored.

They come from ``tools/trained_torchvision.py --fixture``.
"""

from pathlib import Path

import numpy as np
import torch

from segue.structures import Masks, Regions
from tools.moved_networks import FIXTURE_RESIZE, agreement, converted, torchvision_state, toybox

FIXTURE = Path(__file__).parent / "fixtures" / "torchvision_toybox.npz"


def test_trained_weights_find_what_they_found_in_torchvision() -> None:
    file = toybox()
    with np.load(FIXTURE, allow_pickle=False) as stored:
        names = [str(name) for name in stored["names"]]
        picture, boxes, labels, scores, masks = (
            torch.from_numpy(stored[key]) for key in ("picture", "boxes", "labels", "scores", "masks")
        )
    dense = torch.from_numpy(np.unpackbits(masks.numpy(), axis=2, count=picture.shape[2])).bool()
    theirs = Regions(boxes, labels, scores, masks=Masks.from_dense(dense))
    predictor = converted(torchvision_state(file, names), FIXTURE_RESIZE, file.network["proposals"]["sizes"])
    ours = predictor.scenes([(picture, None)], 0.05)[0].regions
    found = agreement(ours, theirs)
    assert found["detections"] > 5
    assert float(scores.max()) > 0.9
    assert found["boxes unmatched"] == 0
    assert found["boxes"] < 1e-2
    assert found["scores"] < 1e-4
    assert found["masks below 0.999"] == 0
