"""Small parts that several networks share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def initialise(network: nn.Module) -> None:
    """He's normal initial weights for every convolution, zero biases (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class PointBatchNorm(nn.BatchNorm2d):
    """Batch norm for maps that may be a single pixel.

    One picture then has one value per channel, which has no variance: PyTorch's layer refuses it. This one normalises
    it by the running averages, as in evaluation, and leaves these as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if input.numel() > input.shape[1]:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
