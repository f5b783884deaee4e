"""Trained networks in torchvision and here, end to end: one that torchvision trained, and one that Segue did.

    SEGUE_DATA=... python tools/trained_torchvision.py --train 300 --weights nuclei.pth
    SEGUE_DATA=... python tools/trained_torchvision.py --weights nuclei.pth
    python tools/trained_torchvision.py --pictures FOLDER
    python tools/trained_torchvision.py --fixture tests/models/fixtures/torchvision_toybox.npz

The first trains torchvision's Mask R-CNN on a ResNet-18, from scratch, on nuclei, and saves its state dict. The second
converts that file and compares final detections in pictures of the validation set. The third moves the boxes and masks
of `toybox` into torchvision, back by way of a file, and compares detections in a folder's pictures. Each resizes for
itself; both write into results/trained_torchvision.json. The last stores detections for the tests. Needs torchvision.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, ResNet

from segue.data.dataset import open_dataset
from segue.data.images import read_image
from segue.data.toybox.render import render
from segue.data.transforms import Augmentation, apply_geometry, random_geometry
from segue.engine.region_predictor import RegionPredictor
from segue.files import atomic_write
from segue.models.weights import ModelFile
from segue.nn.rpn import ProposalSettings
from segue.structures import Masks, Regions
from segue.tasks import parsers_of, tasks_named
from tools.moved_networks import FIXTURE_RESIZE, agreement, converted, summary, torchvision_state
from tools.moved_networks import toybox as toybox_file

RESULT = Path("results/trained_torchvision.json")
TASKS = tasks_named(["boxes", "masks"])
NUCLEI, CROP, TRAIN_RESIZE = "dsb2018", 128, (192, 320)
NUCLEI_RESIZE = (384, 640)
"""As much larger as in training, for most pictures of nuclei, which have sides of 256."""

PHOTOS_RESIZE = (256, 448)
SCORE = 0.05


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="what torchvision trained")
    parser.add_argument("--train", type=int, help="steps to train it for")
    parser.add_argument("--pictures", type=Path, help="folder of real pictures")
    parser.add_argument("--count", type=int, default=20, help="pictures of each kind")
    parser.add_argument("--fixture", type=Path, help="file for what the moved network finds in one scene")
    args = parser.parse_args()
    if args.train:
        torch.save(train(args.train).state_dict(), args.weights)
        return
    torch.set_grad_enabled(False)
    if args.fixture:
        write_fixture(args.fixture)
        return
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if args.weights:
        results["trained by torchvision: nuclei"] = nuclei(args.weights, args.count)
    if args.pictures:
        results["trained here: toybox"] = toybox(args.pictures, args.count)
    text = json.dumps(results, indent=1)
    print(text)
    atomic_write(RESULT, f"{text}\n".encode())


def nuclei_network(resize: tuple[int, int]) -> MaskRCNN:
    """torchvision's Mask R-CNN on a ResNet-18, for one class."""
    trunk = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    return MaskRCNN(trunk, 2, min_size=resize[0], max_size=resize[1], box_batch_size_per_image=32)


def train(steps: int) -> MaskRCNN:
    """torchvision's network, trained by its own losses on random squares of two pictures a step."""
    torch.manual_seed(0)
    model = nuclei_network(TRAIN_RESIZE).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-4, steps)
    for step, (images, truths) in enumerate(islice(batches(2), steps), 1):
        losses = model(images, truths)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            print(step, {name: round(float(loss), 3) for name, loss in losses.items()}, flush=True)
    return model.eval()


def batches(size: int) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Training pictures and their objects as torchvision takes them."""
    data = open_dataset(f"{NUCLEI}:train", parsers_of(TASKS))
    rng, change = np.random.default_rng(0), Augmentation(crop=CROP, mirror_vertical=True)
    transforms = {task.name: task.transform for task in TASKS}
    while True:
        images, truths = [], []
        while len(images) < size:
            index = int(rng.integers(len(data)))
            picture = data.image(index)
            geometry = random_geometry((picture.shape[1], picture.shape[2]), change, rng)
            picture, regions = apply_geometry(picture, data.regions(index), geometry, transforms)
            if len(regions):
                images.append(picture.float() / 255)
                masks = regions.masks.dense().to(torch.uint8)
                truths.append({"boxes": regions.boxes, "labels": regions.labels + 1, "masks": masks})
        yield images, truths


def nuclei(weights: Path, count: int) -> dict[str, float]:
    """The network that torchvision trained, on pictures that it was not trained on."""
    original = nuclei_network(NUCLEI_RESIZE).eval()
    state = torch.load(weights, weights_only=True)
    original.load_state_dict(state)
    predictor = converted(state, NUCLEI_RESIZE, ProposalSettings().sizes)
    data = open_dataset(f"{NUCLEI}:val", parsers_of(TASKS))
    return compare(original, predictor, (data.image(i) for i in range(min(count, len(data)))))


def toybox(folder: Path, count: int) -> dict[str, float]:
    """The boxes and masks of the bundled model, moved to torchvision and back."""
    file = toybox_file()
    original = moved(file, PHOTOS_RESIZE)
    predictor = converted(original.state_dict(), PHOTOS_RESIZE, file.network["proposals"]["sizes"])
    return compare(original, predictor, map(read_image, sorted(folder.glob("*.jpg"))[:count]))


def moved(file: ModelFile, resize: tuple[int, int]) -> MaskRCNN:
    """torchvision's network with the weights of a model of boxes and masks on a ResNet-18."""
    shape = {name: tensor.shape for name, tensor in file.state.items()}
    width, channels = shape["trunk.backbone.stem.0.weight"][0], shape["trunk.pyramid.lateral.0.weight"][0]
    rows, hidden = shape["heads.boxes.logits.weight"]
    masks = file.network["tasks"]["masks"]
    levels = {f"layer{i + 1}": str(i) for i in range(4)}
    sizes = tuple((int(size),) for size in file.network["proposals"]["sizes"])
    model = MaskRCNN(
        BackboneWithFPN(narrow_resnet(width), levels, [width * 2**i for i in range(4)], channels),
        min_size=resize[0],
        max_size=resize[1],
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_head=TwoMLPHead(channels * 49, hidden),
        box_predictor=FastRCNNPredictor(hidden, rows),
        mask_head=MaskRCNNHeads(channels, (masks["channels"],) * masks["convolutions"], 1),
        mask_predictor=MaskRCNNPredictor(masks["channels"], masks["channels"], rows),
    )
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    model.load_state_dict(torchvision_state(file, names), strict=False)
    return model.eval()


def narrow_resnet(width: int) -> ResNet:
    """A ResNet-18 with so many channels in its first stage."""
    body = ResNet(BasicBlock, [2, 2, 2, 2])
    body.inplanes = width
    body.conv1, body.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
    for i in range(4):
        setattr(body, f"layer{i + 1}", body._make_layer(BasicBlock, width * 2**i, 2, 2 if i else 1))
    del body.avgpool, body.fc
    return body


def compare(original: Any, predictor: RegionPredictor, pictures: Iterable[Tensor]) -> dict[str, float]:
    """How far the two are apart in the final detections of pictures (3, H, W) uint8."""
    rows = []
    for picture in pictures:
        found = predictor.scenes([(picture, None)], SCORE)[0].regions
        rows.append(agreement(found, detections(original, picture)))
    return summary(rows)


def detections(original: Any, picture: Tensor) -> Regions:
    """What torchvision finds in a picture, labels as ours."""
    found = original([picture.float() / 255])[0]
    masks = Masks.from_dense(found["masks"][:, 0] >= 0.5)
    return Regions(found["boxes"], found["labels"] - 1, found["scores"], masks=masks)


def write_fixture(path: Path) -> None:
    """Store what the moved network finds in a Toybox scene, for the tests."""
    model = moved(toybox_file(), FIXTURE_RESIZE)
    picture = torch.from_numpy(render(7, (128, 160)).image).permute(2, 0, 1)
    found = detections(model, picture)
    assert found.scores is not None
    assert found.masks is not None
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    np.savez_compressed(
        path,
        picture=picture.numpy(),
        names=np.array(names),
        boxes=found.boxes.numpy(),
        labels=found.labels.numpy(),
        scores=found.scores.numpy(),
        masks=np.packbits(found.masks.dense().numpy(), axis=2),
    )


if __name__ == "__main__":
    main()
