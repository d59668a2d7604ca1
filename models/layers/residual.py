"""The residual block of a time-conditioned U-Net."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResidualBlock", "group_norm", "zero_init"]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with the most groups, up to 32, that leave each at least four channels and divide them evenly."""
    groups = max(g for g in range(1, min(32, max(channels // 4, 1)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def zero_init(layer: nn.Module) -> nn.Module:
    """Begin with a layer that answers 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResidualBlock(nn.Module):
    """skip(x) + conv(dropout(SiLU(scale(emb) norm(conv(SiLU(norm(x)))) + shift(emb)))); only the skip at the start of training.

    (B, in_channels, H, W) and an embedding (B, width) to (B, out_channels, H, W).

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Dhariwal and Nichol, 2021, arXiv 2105.05233, section 3
    (scale and shift by the embedding).

    >>> import torch
    >>> ResidualBlock(4, 8, width=16)(torch.zeros(1, 4, 5, 7), torch.zeros(1, 16)).shape
    torch.Size([1, 8, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.activation = nn.SiLU()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * out_channels)
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Transform x under the embedding."""
        h = self.conv1(self.activation(self.norm1(x)))
        scale, shift = self.modulation(self.activation(embedding))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(self.dropout(self.activation(self.norm2(h) * (1 + scale) + shift)))
        return self.skip(x) + h
