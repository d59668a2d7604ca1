"""How a network is told the noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["NoiseEmbedding"]


class NoiseEmbedding(nn.Module):
    """Sines and cosines of the noise label, then two linear layers: (B,) to (B, width).

    Frequencies go geometrically from highest down to 1e-4 of it. The highest should turn a few times over the range of the
    labels: one that turns hundreds of times makes the network rough in time, and adaptive solvers slow.

    Reference: Vaswani et al., 2017, arXiv 1706.03762, section 3.5; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B.

    >>> NoiseEmbedding(width=8)(torch.tensor([0.0, 999.0])).shape
    torch.Size([2, 8])
    """

    frequencies: Tensor

    def __init__(self, width: int, highest: float = 4.0, frequencies: int = 32) -> None:
        super().__init__()
        octaves = highest * torch.exp(-math.log(1e4) * torch.arange(frequencies) / max(frequencies - 1, 1))
        self.register_buffer("frequencies", octaves, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, label: Tensor) -> Tensor:
        """Embed labels (B,)."""
        angles = label[:, None].to(self.frequencies.dtype) * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
