"""A time-conditioned U-Net for signals, images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .backbone import Backbone, Plan, space_of
from .layers import Embedding, Octaves, Style, conditions
from .registry import network

__all__ = ["UNet"]


@network("unet")
class UNet(nn.Module):
    """States (B, C, *space), with 1 to 3 spatial axes, and noise labels (B,) to (B, C, *space).

    shape is (C, *space) of the data; only C and the number of axes matter.
    pad: the network pads sizes that cannot be halved with zeros, and crops its output. Without pad, it refuses them.
    Level i has channels * multipliers[i] channels and blocks residual blocks.
    attention lists the levels with self-attention. If there are any, the middle has attention too.
    outputs is the number of outputs for each entry, along axis 1: 2 with a learned variance.
    condition is the size of y, classes (B,) or a vector (B, condition). Training drops y with probability condition_dropout.

    Raises:
        ValueError: when shape has no spatial axis, or more than three.
        ValueError: when there is less than one channel, block or level.

    Reference: Ronneberger, Fischer, Brox, 2015, arXiv 1505.04597; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B;
    Ho and Salimans, 2022, arXiv 2207.12598, algorithm 1 (condition_dropout).

    >>> import torch
    >>> UNet((3, 30, 46), channels=8, condition=10)(torch.zeros(2, 3, 30, 46), torch.zeros(2), y=torch.tensor([7, -1])).shape
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
        condition: int = 0,
        condition_dropout: float = 0.0,
        pad: bool = True,
    ) -> None:
        super().__init__()
        width = 4 * channels
        style = Style(width, dims=space_of(shape), dropout=dropout, modulation="scale_shift", heads=heads)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), middle=bool(attention))
        late = conditions(condition, width, condition_dropout)
        self.embedding = Embedding(Octaves(highest_frequency), 64, width, nn.SiLU(), late=late)
        self.body = Backbone(shape[0], outputs * shape[0], plan, style, pad=pad)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions y; None, or class -1 in a row, is no condition."""
        return self.body(x, self.embedding(noise_label, y=y))
