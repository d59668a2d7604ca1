"""Self-attention over the positions of a feature map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .residual import group_norm, zero_init

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
    """x + projection of attention over all positions, of x normalised; zero at the start of training: (B, C, *space), same.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B.

    >>> import torch
    >>> SelfAttention(8, heads=2)(torch.zeros(1, 8, 3, 5)).shape
    torch.Size([1, 8, 3, 5])
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"attention over {channels} channels cannot have {heads} heads: heads must divide channels")
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        B, C = x.shape[:2]
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(B, -1, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(x.shape)
