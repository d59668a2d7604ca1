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
    """States (B, C, *space), of 1 to 3 axes of space, and noise labels (B,) to (B, C, *space).

    shape is (C, *space) of the data, of which C and the number of axes matter: sizes that cannot be halved often enough are padded
    with zeros and the answer cropped, or refused where pad is off. Level i has channels * multipliers[i] channels and blocks
    residual blocks; attention lists the levels with self-attention, and the middle has it if there is one at all. outputs is how
    many numbers it answers for each entry, along axis 1: 2 with a learned variance. condition is the size of a condition y, a
    vector (B, condition) or classes (B,), which each row loses with probability condition_dropout in training.
    Raises ValueError for a shape without an axis of space or with more than three, and for less than one channel, block or level.

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
        """The output at states x, (B, C, *space), labels (B,), and conditions y: none for y = None, or -1 in a row of classes."""
        return self.body(x, self.embedding(noise_label, y=y))
