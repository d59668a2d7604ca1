"""Layers that networks share."""

from .attention import SelfAttention
from .embedding import NoiseEmbedding
from .residual import ResidualBlock, group_norm, zero_init

__all__ = ["NoiseEmbedding", "ResidualBlock", "SelfAttention", "group_norm", "zero_init"]
