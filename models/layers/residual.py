"""The residual block of time-conditioned U-Nets, with options for the blocks of DDPM, BigGAN, ADM and EDM."""

from __future__ import annotations

from torch import Tensor, nn

from .initial import zero_init
from .style import Style, scaled_sum

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Module):
    """factor (skip(r(x)) + conv(dropout(act(norm(conv(r(act(norm(x)))), emb))))); r halves, doubles or keeps the size.

    (B, incoming, *space) and an embedding (B, width), already activated, to (B, outgoing, *space).
    At the start of training the second convolution is 0, and the block is its skip.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Brock, Donahue, Simonyan, 2019, arXiv 1809.11096, appendix B
    (resampling inside); Dhariwal and Nichol, 2021, arXiv 2105.05233, section 3 (scale and shift); Song et al., 2021, arXiv
    2011.13456, appendix H (factor).

    >>> import torch
    >>> ResidualBlock(4, 8, Style(width=16))(torch.zeros(1, 4, 5, 7), torch.zeros(1, 16)).shape
    torch.Size([1, 8, 5, 7])
    """

    def __init__(self, incoming: int, outgoing: int, style: Style, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.act, self.factor = style.act(), style.factor
        self.resample = nn.Identity() if resample is None else resample
        self.norm1 = style.norm(incoming)
        self.conv1 = style.conv(incoming, outgoing)
        self.modulated = MODULATIONS[style.modulation](outgoing, style) if style.width else _Unmodulated(outgoing, style)
        self.dropout = nn.Dropout(style.dropout)
        self.conv2 = zero_init(style.conv(outgoing, outgoing))
        keep = incoming == outgoing and not (style.project and resample is not None)
        self.skip = nn.Identity() if keep else style.conv(incoming, outgoing, 1)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """Transform x under the embedding."""
        h = self.conv1(self.resample(self.act(self.norm1(x))))
        h = self.conv2(self.dropout(self.act(self.modulated(h, embedding))))
        return scaled_sum(self.skip(self.resample(x)), h, self.factor)


class _Unmodulated(nn.Module):
    """norm(h)."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.norm = style.norm(channels)

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        return self.norm(h)


class _Shifted(nn.Module):
    """norm(h + linear(embedding))."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.linear = nn.Linear(style.width, channels)
        self.norm = style.norm(channels)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return self.norm(h + _spread(self.linear(embedding), h))


class _Scaled(nn.Module):
    """norm(h) (1 + scale) + shift, with (scale, shift) = linear(embedding)."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.linear = nn.Linear(style.width, 2 * channels)
        self.norm = style.norm(channels)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = _spread(self.linear(embedding), h).chunk(2, dim=1)
        return self.norm(h) * (1 + scale) + shift


MODULATIONS = {"add": _Shifted, "scale_shift": _Scaled}


def _spread(vector: Tensor, h: Tensor) -> Tensor:
    """A vector (B, C) as (B, C, 1, ...), to broadcast over the spatial axes of h."""
    return vector.reshape(*vector.shape, *[1] * (h.ndim - 2))
