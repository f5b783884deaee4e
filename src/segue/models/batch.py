"""One training step's pictures with their truth."""

from __future__ import annotations

import torch
from torch import Tensor

from segue.structures import Regions


class Batch:
    """Pictures of one training step, padded at right and bottom to one size.

    No dataclass: Fabric's mixed precision takes those apart, and stumbles over the frozen ones inside.

    Attributes:
        images: (B, 3, H, W) normalised.
        sizes: (B, 2) int64 height and width before padding.
        truth: annotated regions of all pictures, packed.
        owners: (G,) int64, the picture of each annotated region, ascending.
        files: the pictures' files, for messages.
        semantic: (B, H, W) int64 class indices, -1 where unlabelled or padded; None without label maps.
        known: (B, T) bool, the thing classes whose objects are annotated in each picture; None means all.
        labels: (B,) int64 the class of each picture as a whole, -1 where it has none.
    """

    def __init__(
        self,
        images: Tensor,
        sizes: Tensor,
        truth: Regions,
        owners: Tensor,
        files: list[str],
        semantic: Tensor | None = None,
        known: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        self.images, self.sizes, self.truth, self.owners, self.files = images, sizes, truth, owners, files
        self.semantic, self.known = semantic, known
        self.labels = sizes.new_full((len(sizes),), -1) if labels is None else labels

    @property
    def searched(self) -> Tensor:
        """(B,) bool: objects of any class are annotated in the picture. Where not, nobody knows what is background."""
        return torch.ones_like(self.sizes[:, 0], dtype=torch.bool) if self.known is None else self.known.any(1)

    def to(self, device: torch.device, channels_last: bool) -> Batch:
        """The batch on a device, its images in the given memory layout."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images = self.images.to(device, memory_format=layout)
        semantic, known = (None if values is None else values.to(device) for values in (self.semantic, self.known))
        truth, owners = self.truth.to(device), self.owners.to(device)
        sizes, labels = self.sizes.to(device), self.labels.to(device)
        return Batch(images, sizes, truth, owners, self.files, semantic, known, labels)
