"""The region network: one trunk, proposals, RoIAlign, and a head per task. It loops over tasks and names none.

Faster R-CNN (Ren et al. 2015) with an FPN, generalised as Mask R-CNN (He et al. 2017) shows: what a head reads is the
features of a region, so any per-region output can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.errors import DataError, RecipeError
from segue.models.batch import Batch
from segue.models.settings import NetworkSettings
from segue.nn.matching import gather_rows, match, sample
from segue.nn.rpn import RPN, Proposals
from segue.nn.trunk import Trunk
from segue.ops import assign_levels, box_iou, multilevel_roi_align
from segue.structures import Categories
from segue.tasks import (
    Detections,
    ImageHead,
    ImageTask,
    PixelHead,
    PixelTask,
    RegionHead,
    RegionTask,
    Sampled,
    Task,
)
from segue.tasks.added import blame, checked_losses, checked_rows

CANONICAL, CELL = 224.0, 16.0
"""Side of a region that is read from level 4 (FPN, section 4.2), and of one of its 14 bins, a cell of that level."""


class RegionNetwork(nn.Module):
    """One look at the picture, then small heads that read regions, or the whole pyramid, or the picture as one region.

    Regions are of thing categories, which come first among all. Pictures need not carry every annotation: a head learns
    from those that have its own. Where a picture's data set annotates the objects of some classes only, the box head
    leaves the other classes alone, but the objects of those still count as background for the proposals.
    """

    def __init__(self, settings: NetworkSettings, categories: Categories, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.settings, self.conventions = settings, settings.constants
        self.trunk = Trunk(settings.backbone, settings.pyramid, self.conventions)
        self.multiple = self.trunk.strides[-2]
        if len(settings.proposals.sizes) != len(self.trunk.strides):
            raise RecipeError(
                f"{len(settings.proposals.sizes)} anchor sizes for {len(self.trunk.strides)} pyramid levels",
                where="network.proposals.sizes",
                cure=f"give {len(self.trunk.strides)} sizes, finest level first",
            )
        channels, strides = self.trunk.channels, self.trunk.strides
        self.rpn = RPN(channels, settings.pyramid.channels, strides, settings.proposals, self.conventions)
        check_needs(tasks)
        things = things_of(categories)
        self.heads = nn.ModuleDict(
            {
                task.name: task.head(self.trunk.channels, things, self.conventions, settings.head(task))
                for task in tasks
                if isinstance(task, RegionTask)
            }
        )
        self.packages = {task.name: task.package for task in tasks if isinstance(task, RegionTask)}
        self.pixel_heads = nn.ModuleDict(
            {
                task.name: task.head(self.trunk.channels, self.trunk.strides[:-1], categories, settings.head(task))
                for task in tasks
                if isinstance(task, PixelTask) and task.head is not None
            }
        )
        self.image_heads = nn.ModuleDict(
            {
                task.name: task.head(self.trunk.channels, things, settings.head(task))
                for task in tasks
                if isinstance(task, ImageTask)
            }
        )
        selectors = [task.name for task in tasks if task.selects]
        if len(selectors) != 1:
            raise RecipeError(
                f"{len(selectors)} of the tasks choose detections",
                where="network.tasks",
                cure="exactly one must (boxes)",
            )
        self.selector = selectors[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch, to be added up; what is frozen has none."""
        levels = self.trunk(batch.images)
        raw = self.rpn(levels, tuple(batch.images.shape[-2:]))
        proposals = self.rpn.propose(raw, batch.sizes)
        truth, valid, first = pad_truth(batch)
        losses = self.rpn.losses(raw, truth, valid, batch.searched) if learns(self.rpn) else {}
        sampled, images, positives = self._sample(proposals, batch, truth, valid, first)
        for name, module in self.heads.items():
            if not learns(module):
                continue
            head = cast(RegionHead, module)
            regions, owners = sampled, images
            if name != self.selector:  # the others learn from regions with an object only, which come first
                regions, owners = first_slots(sampled, images, len(batch.sizes), positives)
            rois = self.pool(levels, regions.boxes, owners, head.pooled)
            with blame(self.packages[name], name):
                losses.update(checked_losses(head.losses(head(rois), regions, batch.truth), losses))
        learning = [name for name, module in self.pixel_heads.items() if learns(module)]
        for name, raw_map in self.read_pixels(levels, learning).items():
            losses.update(cast(PixelHead, self.pixel_heads[name]).losses(raw_map, batch.semantic))
        learning = [name for name, module in self.image_heads.items() if learns(module)]
        for name, raw_values in self.read_images(levels, batch.sizes, learning).items():
            losses.update(cast(ImageHead, self.image_heads[name]).losses(raw_values, batch.labels))
        return losses

    def find(self, images: Tensor, sizes: Tensor) -> tuple[list[Tensor], Detections]:
        """Pyramid maps and detections of normalised, padded images (B, 3, H, W); ``sizes`` (B, 2) before padding."""
        levels = self.trunk(images)
        proposals = self.rpn.propose(self.rpn(levels, tuple(images.shape[-2:])), sizes)
        b, p = proposals.valid.shape
        owners = torch.arange(b, device=images.device)[:, None].expand(b, p).flatten()
        head = cast(Any, self.heads[self.selector])
        rois = self.pool(levels, proposals.boxes.reshape(-1, 4), owners, head.pooled)
        return levels, head.select(head(rois), proposals.boxes, proposals.valid, sizes)

    def read(self, levels: list[Tensor], boxes: Tensor, images: Tensor, tasks: Sequence[str]) -> dict[str, Any]:
        """What the other heads among ``tasks`` say of boxes (R, 4) in images (R,): raw outputs by task."""
        names = [name for name in self.heads if name in tasks and name != self.selector]
        return {name: self._raw(name, levels, boxes, images) for name in names}

    def _raw(self, name: str, levels: list[Tensor], boxes: Tensor, images: Tensor) -> Any:
        """What one head says of boxes (R, 4) in images (R,)."""
        head, package = cast(RegionHead, self.heads[name]), self.packages[name]
        with blame(package, name):
            raw = head(self.pool(levels, boxes, images, head.pooled))
            return checked_rows(raw, len(boxes)) if package else raw

    def read_pixels(self, levels: list[Tensor], tasks: Sequence[str]) -> dict[str, Tensor]:
        """What the heads among ``tasks`` that read the whole pyramid say: raw outputs (B, ...) by task."""
        return {name: module(levels[:-1]) for name, module in self.pixel_heads.items() if name in tasks}

    def read_images(self, levels: list[Tensor], sizes: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """What the heads among ``tasks`` that read a picture as one region say: raw outputs (B, ...) by task.

        A picture is read from the level whose cells are as large as the head's bins: for 14 bins the one that a region
        of its size has. ``sizes`` (B, 2) are heights and widths before padding.
        """
        boxes = F.pad(sizes.flip(1), (2, 0)).to(levels[0].dtype)  # (B, 4): 0, 0, width, height
        owners = torch.arange(sizes.shape[0], device=sizes.device)
        sides = {name: cast(ImageHead, module).pooled for name, module in self.image_heads.items() if name in tasks}
        return {
            name: self.image_heads[name](self.pool(levels, boxes, owners, side, CELL * side))
            for name, side in sides.items()
        }

    def pool(
        self,
        levels: list[Tensor],
        boxes: Tensor,
        images: Tensor,
        sides: int | tuple[int, ...],
        canonical: float = CANONICAL,
    ) -> Any:
        """RoIAlign of boxes (R, 4) in images (R,), each on the level of its size, which is 4 for the ``canonical`` one.

        Returns:
            (R, C, side, side); a tuple of such, where ``sides`` is a tuple.
        """
        if isinstance(sides, tuple):
            return tuple(self.pool(levels, boxes, images, side, canonical) for side in sides)
        c, scales, chosen = self.conventions, [1 / s for s in self.trunk.strides[:-1]], self.levels_of(boxes, canonical)
        return multilevel_roi_align(levels[:-1], scales, boxes, images, chosen, sides, c.roi_sampling, c.roi_aligned)

    def levels_of(self, boxes: Tensor, canonical: float = CANONICAL) -> Tensor:
        """The level (R,) int64 of the pyramid, counted from the finest, that each of boxes (R, 4) is read from."""
        strides = self.trunk.strides[:-1]
        finest = strides[0].bit_length() - 1  # log2
        return assign_levels(boxes, finest, finest + len(strides) - 1, self.conventions.level_eps_inside, canonical)

    @torch.no_grad()
    def _sample(
        self, proposals: Proposals, batch: Batch, truth: Tensor, valid: Tensor, first: Tensor
    ) -> tuple[Sampled, Tensor, int]:
        """Proposals and true boxes together, matched and drawn -> the drawn, their images, most positives of an image.

        Positives come first in each image; where the device is not the processor, ``most`` is as many as may be.
        """
        s = self.settings.regions
        boxes = torch.cat([proposals.boxes, truth], 1)  # the true boxes are proposals, too
        usable = torch.cat([proposals.valid, valid], 1) & batch.searched[:, None]
        matched = match(box_iou(truth, boxes), valid, s.positive, s.positive, keep_best=False, ignored=s.ignored)
        positives = int(s.samples * s.positive_share)
        index, positive, filled = sample(matched, usable, s.samples, positives)
        owner = (matched.gather(1, index).clamp(min=0) + first[:, None]).reshape(-1)
        labels = batch.truth.labels[owner.clamp(max=max(len(batch.truth) - 1, 0))] if len(batch.truth) else owner * 0
        b, slots = index.shape
        chosen = gather_rows(boxes, index).reshape(-1, 4)
        images = torch.arange(b, device=index.device).repeat_interleave(slots)
        known = None if batch.known is None else batch.known[images]
        sampled = Sampled(chosen, labels, owner, positive.reshape(-1), filled.reshape(-1), known)
        most = min(positives, slots)
        if positive.device.type == "cpu":  # elsewhere counting would wait for the device
            most = max(1, int(positive.sum(1).max()))
        return sampled, images, most


def learns(module: nn.Module) -> bool:
    """Whether any weight of a module has gradients."""
    return any(parameter.requires_grad for parameter in module.parameters())


def things_of(categories: Categories) -> Categories:
    """The thing categories; raises `DataError` where they do not come first, since labels would not fit them."""
    things = [category for category in categories if category.isthing]
    if things != list(categories)[: len(things)]:
        raise DataError("stuff categories stand before things", cure="order them by isthing")
    return Categories(tuple(things))


def check_needs(tasks: Sequence[Task], recipe: str = "") -> None:
    """Raise `RecipeError` where a task is missing that another needs; ``recipe`` begins the place that it names."""
    names = [task.name for task in tasks]
    for task in tasks:
        missing = [need for need in (task.needs if isinstance(task, PixelTask) else ()) if need not in names]
        if missing:
            what = f"{task.name} needs the task {missing[0]}"
            raise RecipeError(
                what, where=f"{recipe}network.tasks.{task.name}", cure=f"add {missing[0]}: {{}} to network.tasks"
            )


def first_slots(sampled: Sampled, images: Tensor, batch: int, count: int) -> tuple[Sampled, Tensor]:
    """The first ``count`` slots of every image."""

    def cut(values: Tensor) -> Tensor:
        return values.view(batch, -1, *values.shape[1:])[:, :count].reshape(-1, *values.shape[1:])

    s, known = sampled, None if sampled.known is None else cut(sampled.known)
    return Sampled(cut(s.boxes), cut(s.labels), cut(s.matched), cut(s.positive), cut(s.valid), known), cut(images)


def pad_truth(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Packed true boxes as (B, G, 4) with validity (B, G), and each image's first index (B,) in the packed truth."""
    counts = torch.bincount(batch.owners, minlength=len(batch.sizes))
    first = counts.cumsum(0) - counts
    widest = int(counts.max()) if len(counts) else 0
    slots = torch.arange(widest, device=counts.device)
    valid = slots < counts[:, None]
    index = (first[:, None] + slots).clamp(max=max(len(batch.truth) - 1, 0))
    return batch.truth.boxes[index], valid, first
