"""The U-Net of improved- and guided-diffusion, and its noisy classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .backbone import Backbone, Encoder, Plan, space_of
from .layers import AttentionPool, Embedding, Sinusoid, Style, conditions
from .registry import network

__all__ = ["ADM", "ADMClassifier"]

SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


@network("adm")
class ADM(nn.Module):
    """States (B, C, *space) and labels (B,), 0 to about 1000, to (B, C, *space), or twice the channels with a learned variance.

    shape is (C, *space) of the data; only C and the number of axes matter.
    Level i has channels * multipliers[i] channels and blocks residual blocks.
    attention lists the levels with self-attention. It has heads heads, or heads of head_channels channels each.
    modulation: the embedding scales and shifts a block's map ("scale_shift"), or is added to it ("add").
    resample: levels change size by residual blocks ("block", ADM), convolutions ("conv", improved-diffusion) or means ("pool").
    condition is the size of y, classes (B,) or a vector (B, condition). Training drops y with probability condition_dropout.
    super_resolution: the network takes smaller images low_res, interpolates them to the size of x, and concatenates both.
    outputs is 2 with a learned variance.
    pad: the network pads sizes that cannot be halved with zeros, and crops its output.

    Raises:
        ValueError: when the arguments do not fit together.

    Published: the defaults are ADM on ImageNet 64; improved-diffusion's have modulation="add" or "scale_shift", resample="conv",
    heads=4 and head_channels=None.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, appendix A; Dhariwal and Nichol, 2021, arXiv 2105.05233, section 3.

    >>> ADM((3, 32, 32), channels=64, multipliers=(1, 2), attention=(1,), condition=10, outputs=2)(
    ...     torch.zeros(2, 3, 32, 32), torch.tensor([0, 999]), y=torch.tensor([3, -1])
    ... ).shape
    torch.Size([2, 6, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 3,
        attention: Sequence[int] = (1, 2, 3),
        heads: int = 1,
        head_channels: int | None = 64,
        dropout: float = 0.1,
        modulation: Literal["add", "scale_shift"] = "scale_shift",
        resample: Literal["block", "conv", "pool"] = "block",
        condition: int = 0,
        condition_dropout: float = 0.0,
        super_resolution: bool = False,
        outputs: int = 1,
        pad: bool = False,
    ) -> None:
        super().__init__()
        dims = space_of(shape)
        style = _style(channels, dims, dropout, modulation, heads, head_channels)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), resample=resample)
        self.stretch = SMOOTH[dims] if super_resolution else None
        self.embedding = _embedding(channels, style, condition, condition_dropout)
        inputs = shape[0] * 2 if super_resolution else shape[0]
        self.body = Backbone(inputs, outputs * shape[0], plan, style, pad=pad)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None, low_res: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions y; None, or class -1 in a row, is no condition."""
        if (low_res is None) != (self.stretch is None):
            raise ValueError("low_res goes with super_resolution=True: give it to such a network, and to no other")
        if low_res is not None and self.stretch is not None:
            x = torch.cat([x, interpolate(low_res, x.shape[2:], mode=self.stretch)], dim=1)
        return self.body(x, self.embedding(noise_label, y=y))


@network()
class ADMClassifier(nn.Module):
    """States (B, C, *space) and labels (B,) to logits (B, classes): ADM's encoder, and a pool by attention.

    shape is (C, *space) of the data; the sizes matter, since the pool has a weight for each position. The rest is as for ADM.

    Raises:
        ValueError: when sizes cannot be halved often enough.

    Reference: Dhariwal and Nichol, 2021, arXiv 2105.05233, section 4 and appendix H.

    >>> classifier = ADMClassifier((3, 16, 16), classes=10, channels=64, multipliers=(1, 2), attention=(1,))
    >>> classifier(torch.zeros(2, 3, 16, 16), torch.zeros(2)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 4,
        attention: Sequence[int] = (1, 2, 3),
        heads: int = 1,
        head_channels: int | None = 64,
        dropout: float = 0.0,
        modulation: Literal["add", "scale_shift"] = "scale_shift",
        resample: Literal["block", "conv", "pool"] = "block",
    ) -> None:
        super().__init__()
        style = _style(channels, space_of(shape), dropout, modulation, heads, head_channels)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), resample=resample)
        multiple, positions = 2 ** (len(multipliers) - 1), 1
        for n in shape[1:]:
            if n % multiple:
                raise ValueError(
                    f"maps of size {tuple(shape[1:])} cannot be halved {len(multipliers) - 1} times: {multiple} must divide them"
                )
            positions *= n // multiple
        self.embedding = _embedding(channels, style)
        self.encoder = Encoder(shape[0], plan, style)
        self.norm, self.act = style.norm(plan.sizes[-1]), style.act()
        self.pool = AttentionPool(plan.sizes[-1], positions, classes, style)

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """The logits at states x, (B, C, *space), and labels (B,)."""
        h, _ = self.encoder(x, self.embedding(noise_label))
        return self.pool(self.act(self.norm(h)))


def _style(
    channels: int, dims: int, dropout: float, modulation: Literal["add", "scale_shift"], heads: int, head_channels: int | None
) -> Style:
    return Style(4 * channels, dims, dropout, modulation=modulation, least=1, heads=heads, head_channels=head_channels)


def _embedding(channels: int, style: Style, condition: int = 0, dropout: float = 0.0) -> Embedding:
    waves = Sinusoid(channels, inclusive=False, cosine_first=True)
    return Embedding(waves, channels, style.width, style.act(), late=conditions(condition, style.width, dropout))
