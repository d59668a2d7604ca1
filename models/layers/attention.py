"""Attention over the positions of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .initial import zero_init
from .style import Style, scaled_sum

__all__ = ["AttentionPool", "SelfAttention"]


def _attend(qkv: Tensor, heads: int) -> Tensor:
    """Attention among tokens (B, N, 3 C) to (B, N, C). The channels are queries, keys and values, each head by head."""
    B, N, C = qkv.shape
    q, k, v = qkv.reshape(B, N, 3, heads, C // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """factor (x + out(attention(norm(x)))) over all positions: (B, C, *space) to the same shape. Its start is factor x.

    Raises:
        ValueError: when the heads do not divide the channels.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Vaswani et al., 2017, arXiv 1706.03762, section 3.2 (heads).

    >>> import torch
    >>> SelfAttention(8, Style(width=0, heads=2))(torch.zeros(1, 8, 3, 5)).shape
    torch.Size([1, 8, 3, 5])
    """

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.heads, self.factor = style.heads_of(channels), style.factor
        self.norm = style.norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Transform x."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed = self.out(_attend(self.qkv(tokens), self.heads))
        return scaled_sum(x, mixed.transpose(1, 2).reshape(x.shape), self.factor)


class AttentionPool(nn.Module):
    """A feature map (B, C, *space) with a fixed number of positions to (B, outputs): attention, whose query is the mean position.

    Reference: Radford et al., 2021, arXiv 2103.00020, section 2.4; Dhariwal and Nichol, 2021, arXiv 2105.05233, section 4.

    >>> AttentionPool(8, positions=15, outputs=3, style=Style(width=0))(torch.zeros(1, 8, 3, 5)).shape
    torch.Size([1, 3])
    """

    def __init__(self, channels: int, positions: int, outputs: int, style: Style) -> None:
        super().__init__()
        self.heads = style.heads_of(channels)
        self.places = nn.Parameter(nn.init.normal_(torch.empty(positions + 1, channels), std=channels**-0.5))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Pool a map.

        Raises:
            ValueError: when the map has another number of positions.
        """
        tokens = x.flatten(2).transpose(1, 2)
        if tokens.shape[1] + 1 != len(self.places):
            raise ValueError(
                f"a map of shape {tuple(x.shape[2:])} was pooled, and {len(self.places) - 1} positions were needed: "
                "give images of the size that the network was built for"
            )
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.places
        return self.out(_attend(self.qkv(tokens), self.heads)[:, 0])
