"""A network as one function of tensors, pictures in and padded sets out, as exporters want it.

Everything that `segue.engine` does between a decoded picture and a Scene is inside, but for resizing, pasting masks and
building meshes. Shapes depend on the number of pictures and on their size alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.region_network import RegionNetwork
from segue.models.semantic_network import SemanticNetwork
from segue.nn.conventions import Conventions
from segue.nn.normalise import normalise


class RegionGraph(nn.Module):
    """A region network with all of its heads.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: RegionNetwork) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, images: Tensor, threshold: Tensor) -> dict[str, Tensor]:
        """What is in pictures.

        Args:
            images: (B, 3, H, W) uint8 RGB, of any size, as large as the network wants to see them.
            threshold: () float32, detections with a lower score are left out.

        Returns:
            ``boxes`` (B, D, 4) xyxy in pixels, ``scores`` (B, D) float32, ``labels`` (B, D) int32, best first, and
            ``valid`` (B, D) bool, the slot is filled; of other heads what their ``tensors`` give, in the same slots;
            zeros in slots that are not filled. D is the most detections that the network gives, or fewer for a picture
            of few pixels. Then what is said of pixels (B, H, W) and of pictures (B,).
        """
        network = self.network
        x, sizes = prepared(images, network.multiple, network.conventions)
        levels, found = network.find(x, sizes)
        valid = found.valid & (found.scores >= threshold)
        b, slots = valid.shape[0], valid.shape[1]
        # The other heads look at filled slots only, and once more at the first: so there is always a region.
        filled = valid.flatten()
        rows, place = F.pad(filled.nonzero()[:, 0], (1, 0)), filled.long().cumsum(0)
        boxes, labels = found.boxes.reshape(-1, 4)[rows], found.labels.flatten()[rows]
        result = {
            "boxes": found.boxes * valid[..., None],
            "scores": found.scores * valid,
            "labels": (found.labels * valid).int(),
            "valid": valid,
        }
        for name, head in network.heads.items():
            if name != network.selector:
                raw = head(network.pool(levels, boxes, rows // slots, head.pooled))  # type: ignore[arg-type]
                for key, values in region_tensors(head, name, raw, labels, boxes).items():
                    there = filled.view(-1, *[1] * (values.dim() - 1))
                    padded = torch.where(there, values[place], torch.zeros_like(values[:1]))
                    result[key] = padded.view(b, slots, *values.shape[1:])
        for name, raw in network.read_pixels(levels, list(network.pixel_heads)).items():
            result |= network.pixel_heads[name].tensors(raw, (images.shape[2], images.shape[3]))  # type: ignore[operator]
        for name, raw in network.read_images(levels, sizes, list(network.image_heads)).items():
            result |= network.image_heads[name].tensors(raw)  # type: ignore[operator]
        return result


class SemanticGraph(nn.Module):
    """A network that labels every pixel.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: SemanticNetwork) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``semantic`` (B, H, W) int32 classes and ``confidence`` (B, H, W) of pictures (B, 3, H, W) uint8 RGB."""
        x, _ = prepared(images, self.network.multiple, self.network.conventions)
        probabilities = self.network.probabilities(x)[:, :, : images.shape[2], : images.shape[3]]
        confidence, labels = probabilities.max(1)
        return {"semantic": labels.int(), "confidence": confidence}


def prepared(images: Tensor, multiple: int, conventions: Conventions) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) uint8 -> normalised, with sides padded to a ``multiple``, and their sizes (B, 2)."""
    b, _, h, w = images.shape
    padded = F.pad(images, (0, -w % multiple, 0, -h % multiple))
    sizes = torch.stack([torch.full((b,), side, device=images.device) for side in (h, w)], 1)
    return normalise(padded, sizes, conventions), sizes


def region_tensors(head: nn.Module, name: str, raw: Any, labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """What a head makes of its raw output for R regions, by name; of a head without ``tensors`` the raw output."""
    if hasattr(head, "tensors"):
        said: dict[str, Tensor] = head.tensors(raw, labels, boxes)  # type: ignore[operator]
        return said
    return {f"{name}_{i}": part for i, part in enumerate(raw)} if isinstance(raw, tuple) else {name: raw}
