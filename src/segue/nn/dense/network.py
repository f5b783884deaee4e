"""What every network that scores pixels has in common."""

from __future__ import annotations

from torch import Tensor, nn


class DenseNetwork(nn.Module):
    """A network from pictures to scores of every pixel. Subclasses write ``forward``.

    Attributes:
        stride: the sides of its input must be multiples of this; whoever calls it pads.
        period: a picture shifted by multiples of this gives the same scores, shifted: the stride of the coarsest map,
            which is more than ``stride`` where the network pads by itself.
    """

    stride: int = 1

    @property
    def period(self) -> int:
        """As above; ``stride`` unless a subclass says otherwise."""
        return self.stride

    def training_logits(self, images: Tensor) -> list[tuple[Tensor, float]]:
        """What the loss looks at: logits (B, K, h, w), each with its weight, from (B, 3, H, W) normalised pictures.

        Maps coarser than the picture are compared with labels sampled at their cells' centres. A network with
        auxiliary outputs overrides this; the default is the one output of ``forward``.
        """
        return [(self(images), 1.0)]
