"""The networks of EDM, with a class and the parameters of an augmentation as optional inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from sde_lib.fields import check_choice

from .backbone import Backbone, Plan, space_of
from .layers import Condition, Embedding, Fourier, LabelFeatures, Sinusoid, Style, conditions, fan_average
from .registry import network

__all__ = ["DhariwalUNet", "SongUNet"]


@network("song_unet")
class SongUNet(nn.Module):
    """EDM's DDPM++ and NCSN++: states (B, C, *space) and labels (B,) to (B, C, *space).

    shape is (C, *space) of the data; only C and the number of axes matter.
    Level i has channels * multipliers[i] channels and blocks residual blocks. attention lists the levels with self-attention.
    embedding: "positional" or "fourier" features of the label itself. taps: the filter of resampling.
    progressive_input: "none", "input_skip" or "residual". progressive_output: "none", "output_skip" or "residual".
    condition is the size of y, classes (B,) or a vector (B, condition). Training drops y with probability condition_dropout.
    augment is the size of the vector augment (B, augment), which is 0 for images that were not augmented.
    pad: the network pads sizes that cannot be halved with zeros, and crops its output.

    Raises:
        ValueError: when the arguments do not fit together.

    Published: the defaults are DDPM++; NCSN++ has embedding="fourier", taps=(1, 3, 3, 1) and progressive_input="residual".

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, appendix F and table 7.

    >>> import torch
    >>> SongUNet((3, 16, 16), channels=8, condition=10)(torch.zeros(2, 3, 16, 16), torch.zeros(2), y=torch.tensor([3, -1])).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (1,),
        dropout: float = 0.10,
        embedding: LabelFeatures = "positional",
        taps: Sequence[int] = (1, 1),
        progressive_input: Literal["none", "input_skip", "residual"] = "none",
        progressive_output: Literal["none", "output_skip", "residual"] = "none",
        condition: int = 0,
        condition_dropout: float = 0.0,
        augment: int = 0,
        outputs: int = 1,
        pad: bool = False,
    ) -> None:
        super().__init__()
        check_choice("SongUNet", "embedding", embedding, LabelFeatures)
        width, size = 4 * channels, 2 * channels if embedding == "fourier" else channels
        style = Style(width, space_of(shape), dropout, eps=1e-6, rescale=True, taps=tuple(taps), project=True)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), attend_last=True, resample="block")
        early = conditions(condition, size, condition_dropout, bias=True)
        early |= {"augment": Condition(augment, size)} if augment else {}
        waves = Fourier(size, log=False) if embedding == "fourier" else Sinusoid(size)
        self.embedding = Embedding(waves, size, width, style.act(), early)
        self.body = Backbone(shape[0], outputs * shape[0], plan, style, progressive_input, progressive_output, pad=pad)
        fan_average(self)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions; None, or class -1 in a row, is no condition."""
        return self.body(x, self.embedding(noise_label, y=y, augment=augment))


@network("dhariwal_unet")
class DhariwalUNet(nn.Module):
    """EDM's ADM: states (B, C, *space) and labels (B,) to (B, C, *space).

    The arguments are those of SongUNet and ADM.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, appendix F and table 7.

    >>> import torch
    >>> network = DhariwalUNet((3, 16, 16), channels=64, multipliers=(1, 2), attention=(1,))
    >>> network(torch.zeros(2, 3, 16, 16), torch.zeros(2)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 3,
        attention: Sequence[int] = (1, 2, 3),
        head_channels: int = 64,
        dropout: float = 0.10,
        condition: int = 0,
        condition_dropout: float = 0.0,
        augment: int = 0,
        outputs: int = 1,
        pad: bool = False,
    ) -> None:
        super().__init__()
        width = 4 * channels
        style = Style(width, space_of(shape), dropout, modulation="scale_shift", taps=(1, 1), head_channels=head_channels)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), resample="block")
        early = {"augment": Condition(augment, channels)} if augment else {}
        late = conditions(condition, width, condition_dropout)
        waves = Sinusoid(channels, inclusive=False, cosine_first=True)
        self.embedding = Embedding(waves, channels, width, style.act(), early, late)
        self.body = Backbone(shape[0], outputs * shape[0], plan, style, pad=pad)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None, augment: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions; None, or class -1 in a row, is no condition."""
        return self.body(x, self.embedding(noise_label, y=y, augment=augment))
