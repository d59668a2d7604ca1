"""NCSN's normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

__all__ = ["InstanceNormPlus"]


class InstanceNormPlus(nn.Module):
    """gamma (x - mean) / std + gamma alpha m + beta: (B, C, H, W) to the same shape. Each class has its gamma, alpha and beta.

    mean and std are over the positions of a channel. m is the channel's mean, normalised over the channels.
    Instance normalisation loses the differences between the means of channels, and m restores them.
    With one class the normalisation is unconditional.

    Reference: Song and Ermon, 2019, arXiv 1907.05600, appendix A.1.

    >>> InstanceNormPlus(4, classes=10)(torch.zeros(2, 4, 5, 7), torch.tensor([3, 9])).shape
    torch.Size([2, 4, 5, 7])
    """

    def __init__(self, channels: int, classes: int = 1) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, 3 * channels)
        nn.init.normal_(self.embed.weight[:, : 2 * channels], 1.0, 0.02)
        nn.init.zeros_(self.embed.weight[:, 2 * channels :])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise under classes y (B,)."""
        gamma, alpha, beta = self.embed(y)[:, :, None, None].chunk(3, dim=1)
        means = x.mean((2, 3), keepdim=True)
        v, m = torch.var_mean(means, dim=1, keepdim=True)
        return gamma * (instance_norm(x) + alpha * (means - m) / torch.sqrt(v + 1e-5)) + beta
