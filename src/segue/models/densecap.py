"""DenseCap: regions and a sentence about each, whatever is in them (Johnson et al., CVPR 2016).

A fully convolutional localisation layer on VGG16, bilinear pooling of its boxes, and a recognition network that scores
each box once more, moves it once more, and tells its sentence. All is trained together. Constants are those of the
published code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.records import Dataset
from segue.models.batch import Batch
from segue.models.region_network import pad_truth
from segue.nn.conventions import CONVENTIONS, ConventionName
from segue.nn.localisation import CODER, Drawn, Localisation, LocalisationSettings, box_distance, mean_of, strongest
from segue.nn.matching import gather_rows
from segue.nn.vgg import VGG
from segue.ops import clip_boxes, decode_boxes
from segue.ops.bilinear_roi import bilinear_roi
from segue.structures import Categories
from segue.tasks import BOXES, CAPTIONS, Detections, Sampled, Task
from segue.tasks.captions import CaptionHead, CaptionSettings, prepare

STRIDE = 16  # of the last convolution of VGG16

DENSECAP_TASKS: list[Task] = [BOXES, CAPTIONS]
"""What DenseCap fills in."""


@dataclass(frozen=True)
class LossWeights:
    """What each loss counts.

    Attributes:
        proposals: distance of the localisation layer's boxes.
        proposal_objectness: of the same.
        boxes: distance of the final boxes.
        objectness: of the same.
        captions: cross-entropy of the sentences.
        box_decay: half the sum of squares of all that moves anchors.
    """

    proposals: float = 0.05
    proposal_objectness: float = 0.1
    boxes: float = 0.1
    objectness: float = 0.1
    captions: float = 1.0
    box_decay: float = 5e-5


@dataclass(frozen=True)
class DenseCapSettings:
    """Recipe values of DenseCap.

    Attributes:
        conventions: whose mean and standard deviation normalise the pictures.
        width: channels of the first stage of VGG16; 64 is the published network.
        norm: batch norm after every convolution, or none as published.
        localisation: the localisation layer.
        captions: fully connected layers, language model and vocabulary; left out altogether, as published.
        losses: their weights.
        nms: IoU above which the lesser of two final boxes goes.
        detections: most of them per image.
    """

    conventions: ConventionName = "segue"
    width: int = 64
    norm: Literal["none", "batch"] = "none"
    localisation: LocalisationSettings = field(default_factory=LocalisationSettings)
    captions: CaptionSettings = field(default_factory=lambda: CaptionSettings(channels=4096, dropout=0.5))
    losses: LossWeights = field(default_factory=LossWeights)
    nms: float = 0.3
    detections: int = 1000

    def __post_init__(self) -> None:
        for key in ("width", "detections"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1")


class DenseCap(nn.Module):
    """VGG16 to its last convolution, the localisation layer, and the recognition network.

    It knows no classes: all regions are of category 0.

    Attributes:
        multiple: what the sides of a batch must be multiples of.
    """

    multiple = STRIDE

    def __init__(self, settings: DenseCapSettings, categories: Categories) -> None:
        super().__init__()
        self.settings, self.conventions = settings, CONVENTIONS[settings.conventions]
        self.vgg = VGG(settings.width, settings.norm)
        for layer in self.vgg.modules():
            if isinstance(layer, nn.Conv2d):  # without batch norm the signal would fade on its way
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        channels, width = self.vgg.channels[-1], settings.captions.channels
        self.localisation = Localisation(channels, STRIDE, settings.localisation)
        self.captions = CaptionHead(channels, categories, self.conventions, settings.captions)
        self.objectness, self.deltas = nn.Linear(width, 1), nn.Linear(width, 4)
        for head, std in ((self.objectness, 0.01), (self.deltas, 0.0)):
            nn.init.normal_(head.weight, std=std)
            nn.init.zeros_(head.bias)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted losses of a batch, to be added up."""
        features = self.features(batch.images)
        candidates = self.localisation(features)
        truth, valid, first = pad_truth(batch)
        drawn = self.localisation.draw(candidates, truth, valid, batch.sizes, batch.searched)
        codes = self.recognise(features, drawn.boxes, batch.images)
        losses = {
            **self.localisation.losses(candidates, drawn),
            **self._final_losses(codes, drawn),
            **self.captions.losses(codes.flatten(0, 1), packed(drawn, first), batch.truth),
        }
        weights = asdict(self.settings.losses)
        return {name: weights[name] * loss for name, loss in losses.items()}

    def find(self, images: Tensor, sizes: Tensor) -> tuple[Detections, Tensor]:
        """Detections of normalised, padded images (B, 3, H, W), and their codes (B, D, C) for ``captions``.

        ``sizes`` (B, 2) are heights and widths before padding. A code is of the proposal; the box is the refined one.
        """
        s, features = self.settings, self.features(images)
        proposals = self.localisation.propose(self.localisation(features), sizes)
        codes = self.recognise(features, proposals.boxes, images)
        scores = self.objectness(codes)[..., 0].float().sigmoid()  # (B, P)
        boxes = decode_boxes(self.deltas(codes).float(), proposals.boxes, CODER)
        boxes = clip_boxes(boxes, sizes[:, None, :])
        valid = proposals.valid & ((boxes[..., 2:] - boxes[..., :2]) > 1e-2).all(2)
        index, kept = strongest(boxes, scores, valid, s.nms, s.detections)
        scores = scores.gather(1, index).where(kept, 0)
        return Detections(gather_rows(boxes, index), scores, torch.zeros_like(index), kept), gather_rows(codes, index)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, H / 16, W / 16)."""
        x = images
        for i, stage in enumerate(self.vgg.stages):
            x = stage(F.max_pool2d(x, 2) if i else x)
        return x

    def recognise(self, features: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
        """Codes (B, S, C) of boxes (B, S, 4) in pictures (B, 3, H, W) with these features."""
        size = (images.shape[2], images.shape[3])
        rois = bilinear_roi(features, boxes, size, self.captions.pooled)
        codes: Tensor = self.captions(rois.flatten(0, 1))
        return codes.view(*boxes.shape[:2], codes.shape[1])

    def _final_losses(self, codes: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        logits = self.objectness(codes)[..., 0].float()
        surprise = F.binary_cross_entropy_with_logits(logits, drawn.positive.float(), reduction="none")
        distance = box_distance(self.deltas(codes).float(), drawn.boxes, drawn.goals, drawn.positive)
        return {"boxes": distance, "objectness": mean_of(surprise, drawn.filled)}


def with_vocabulary(settings: DenseCapSettings, dataset: Dataset) -> DenseCapSettings:
    """The settings with the words of the training captions; raises `RecipeError` as `segue.tasks.captions.prepare`."""
    return replace(settings, captions=prepare(settings.captions, dataset))


def packed(drawn: Drawn, first: Tensor) -> Sampled:
    """All that was drawn in one row; each image's objects begin at ``first`` (B,) in the packed truth."""
    owners = (drawn.owners + first[:, None]).flatten()
    boxes = drawn.boxes.detach().flatten(0, 1)
    return Sampled(boxes, torch.zeros_like(owners), owners, drawn.positive.flatten(), drawn.filled.flatten())
