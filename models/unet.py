"""A time-conditioned U-Net for images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .layers import NoiseEmbedding, ResidualBlock, SelfAttention, group_norm, zero_init
from .registry import arguments_of

__all__ = ["UNet"]


class UNet(nn.Module):
    """Images (B, C, H, W) and noise labels (B,) to (B, C, H, W), for any height and width.

    shape is (C, H, W) of the data, of which C alone matters: odd sizes are rounded up on the way down and restored on the way
    up. Level i has channels * multipliers[i] channels and blocks residual blocks; attention lists the levels with
    self-attention, and the middle has it if there is one at all. outputs is how many numbers it answers for each entry, along
    axis 1: 2 with a learned variance. Raises ValueError for a shape that is not an image's, and for less than one channel,
    block or level.

    Reference: Ronneberger, Fischer, Brox, 2015, arXiv 1505.04597; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B.

    >>> UNet((3, 30, 46), channels=8)(torch.zeros(2, 3, 30, 46), torch.zeros(2)).shape
    torch.Size([2, 3, 30, 46])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1,),
        heads: int = 1,
        dropout: float = 0.0,
        highest_frequency: float = 4.0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.arguments = arguments_of(locals())
        _check(shape, channels, multipliers, blocks, attention)
        width = 4 * channels
        sizes = [channels * m for m in multipliers]

        def block(incoming: int, outgoing: int, level: int | None) -> _Chain:
            layers: list[nn.Module] = [ResidualBlock(incoming, outgoing, width, dropout)]
            if level in attention:
                layers.append(SelfAttention(outgoing, heads))
            return _Chain(layers)

        self.embedding = NoiseEmbedding(width, highest_frequency)
        self.first = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.widen = nn.ModuleList(), nn.ModuleList()
        current, skips = channels, [channels]
        for level, size in enumerate(sizes):
            for _ in range(blocks):
                self.down.append(block(current, size, level))
                current = size
                skips.append(current)
            if level < len(sizes) - 1:
                self.shrink.append(nn.Conv2d(current, current, 3, stride=2, padding=1))
                skips.append(current)
        middle: list[nn.Module] = [ResidualBlock(current, current, width, dropout)]
        if attention:
            middle.append(SelfAttention(current, heads))
        middle.append(ResidualBlock(current, current, width, dropout))
        self.middle = _Chain(middle)
        for level, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks + 1):
                self.up.append(block(current + skips.pop(), size, level))
                current = size
            if level > 0:
                self.widen.append(nn.Conv2d(current, current, 3, padding=1))
        self.last = nn.Sequential(group_norm(current), nn.SiLU(), zero_init(nn.Conv2d(current, outputs * shape[0], 3, padding=1)))
        self.blocks = blocks

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """The output at states x, (B, C, H, W), and labels (B,)."""
        embedding = self.embedding(noise_label)
        h = self.first(x)
        skips = [h]
        for i, layers in enumerate(self.down):
            if i and i % self.blocks == 0:
                h = self.shrink[i // self.blocks - 1](h)
                skips.append(h)
            h = layers(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for i, layers in enumerate(self.up):
            if i and i % (self.blocks + 1) == 0:
                h = self.widen[i // (self.blocks + 1) - 1](interpolate(h, size=skips[-1].shape[2:], mode="nearest"))
            h = layers(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.last(h)


class _Chain(nn.ModuleList):
    """Residual blocks, which see the embedding, and attention, which does not."""

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
        return h


def _check(shape: Sequence[int], channels: int, multipliers: Sequence[int], blocks: int, attention: Sequence[int]) -> None:
    if len(shape) != 3:
        raise ValueError(f"UNet got data of shape {tuple(shape)}, and (channels, height, width) was needed: use MLP")
    if min(channels, blocks, len(multipliers)) < 1:
        raise ValueError(f"UNet got {channels=}, {multipliers=} and {blocks=}: at least one of each is needed")
    if any(not 0 <= level < len(multipliers) for level in attention):
        raise ValueError(f"attention at levels {tuple(attention)}: levels go from 0 to {len(multipliers) - 1}")
