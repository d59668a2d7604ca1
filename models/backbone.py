"""The U-Net that the papers' networks share: an encoder and a decoder of blocks, with the options in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sde_lib.fields import check_choices
from sde_lib.tensors import as_shape

from .layers import COMBINE, EMITTERS, JOINS, ResidualBlock, SelfAttention, Style, Untold

__all__ = ["Backbone", "Encoder", "Plan"]


@dataclass(frozen=True)
class Plan:
    """The levels of a U-Net.

    Level i has channels * multipliers[i] channels and blocks residual blocks; the decoder has one block more.
    attention lists the levels with self-attention after each block. attend_last: in the decoder, after the last block only.
    resample: levels change size by residual blocks ("block"), convolutions ("conv") or means and repetitions ("pool").
    middle: the middle has attention.

    Raises:
        ValueError: when there is less than one channel, block or level.
        ValueError: when resample is not known, or attention names a level that does not exist.

    >>> Plan(channels=8, multipliers=(1, 2)).sizes
    (8, 16)
    """

    channels: int
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (1,)
    attend_last: bool = False
    resample: Literal["block", "conv", "pool"] = "conv"
    middle: bool = True

    def __post_init__(self) -> None:
        if min(self.channels, self.blocks, len(self.multipliers)) < 1:
            got = f"channels={self.channels}, multipliers={self.multipliers} and blocks={self.blocks}"
            raise ValueError(f"the network got {got}: at least one of each is needed")
        check_choices(self)
        if any(not 0 <= level < len(self.multipliers) for level in self.attention):
            raise ValueError(f"attention at levels {self.attention}: levels go from 0 to {len(self.multipliers) - 1}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The channels of each level."""
        return tuple(self.channels * m for m in self.multipliers)

    def down(self, channels: int, style: Style) -> nn.Module:
        """The layer from a level to the next lower resolution."""
        if self.resample == "block":
            return ResidualBlock(channels, channels, style, style.halve())
        return style.conv_down(channels, channels) if self.resample == "conv" else Untold(style.halve())

    def up(self, channels: int, style: Style) -> nn.Module:
        """The layer from a level to the next higher resolution."""
        if self.resample == "block":
            return ResidualBlock(channels, channels, style, style.double())
        return style.conv_up(channels, channels) if self.resample == "conv" else Untold(style.double())


class Attended(nn.Module):
    """A residual block, with attention after it if attend."""

    def __init__(self, incoming: int, outgoing: int, style: Style, attend: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(incoming, outgoing, style)
        self.attention: nn.Module = SelfAttention(outgoing, style) if attend else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        """Transform h."""
        return self.attention(self.block(h, embedding))


class _Down(nn.Module):
    """A level of the encoder: blocks and, except in the last level, a layer of downsampling, after which the image may join."""

    def __init__(self, incoming: int, level: int, plan: Plan, style: Style, join: tuple[str, str], image: int) -> None:
        super().__init__()
        size, attend = plan.sizes[level], level in plan.attention
        self.blocks = nn.ModuleList(Attended(size if i else incoming, size, style, attend) for i in range(plan.blocks))
        self.shrink: nn.Module | None = None
        self.join: nn.Module | None = None
        self.channels, self.image = size, image
        if level < len(plan.sizes) - 1:
            self.shrink = plan.down(size, style)
            if join[0] != "none":
                self.join = joining = JOINS[join[0]](image, size, style, join[1])
                self.channels, self.image = joining.channels, joining.image

    def forward(self, h: Tensor, image: Tensor, embedding: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """The maps for the decoder, and the image. The last map is the input of the next level."""
        kept = []
        for block in self.blocks:
            kept.append(h := block(h, embedding))
        if self.shrink is not None:
            h = self.shrink(h, embedding)
            if self.join is not None:
                h, image = self.join(h, image)
            kept.append(h)
        return kept, image


class Encoder(nn.Module):
    """(B, inputs, *space) and an embedding to the map of the middle, and the maps that the decoder reads.

    progressive: how the image joins at each level, "none", "input_skip" or "residual".
    combine: the image and the map are added ("sum") or concatenated ("cat").

    Raises:
        ValueError: when progressive or combine is not known.
    """

    def __init__(self, inputs: int, plan: Plan, style: Style, progressive: str = "none", combine: str = "sum") -> None:
        super().__init__()
        _known("progressive_input", progressive, ("none", *JOINS))
        _known("combine", combine, tuple(COMBINE))
        self.first = style.conv(inputs, plan.channels)
        self.levels = nn.ModuleList()
        self.kept = [plan.channels]  # channels of the maps that are kept
        image = inputs
        for level, size in enumerate(plan.sizes):
            down = _Down(self.kept[-1], level, plan, style, (progressive, combine), image)
            self.levels.append(down)
            image = down.image
            self.kept += [size] * plan.blocks + ([down.channels] if down.shrink is not None else [])
        current = plan.sizes[-1]
        self.middle = nn.ModuleList([Attended(current, current, style, plan.middle), ResidualBlock(current, current, style)])

    def forward(self, x: Tensor, embedding: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Encode."""
        kept, image = [self.first(x)], x
        for level in self.levels:
            more, image = level(kept[-1], image, embedding)
            kept += more
        h = kept[-1]
        for block in self.middle:
            h = block(h, embedding)
        return h, kept


class _Up(nn.Module):
    """A level of the decoder: blocks that each read a map of the encoder, perhaps an image, and a layer of upsampling."""

    def __init__(self, incoming: int, kept: list[int], level: int, plan: Plan, style: Style, emitter: nn.Module | None) -> None:
        super().__init__()
        size, attend = plan.sizes[level], level in plan.attention
        self.blocks = nn.ModuleList(
            Attended((size if i else incoming) + kept.pop(), size, style, attend and (i == plan.blocks or not plan.attend_last))
            for i in range(plan.blocks + 1)
        )
        self.emitter = emitter
        self.widen = plan.up(size, style) if level else None

    def forward(
        self, h: Tensor, kept: list[Tensor], image: Tensor | None, embedding: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        for block in self.blocks:
            h = block(torch.cat([h, kept.pop()], dim=1), embedding)
        if self.emitter is not None:
            h, image = self.emitter(h, image)
        return h if self.widen is None else self.widen(h, embedding), image


class Backbone(nn.Module):
    """(B, inputs, *space) and an embedding (B, width), or None, to (B, outputs, *space); 0 at the start of training.

    progressive_output: how the decoder makes images, "none", "output_skip" (the output is their sum) or "residual".
    pad: sizes that are no multiples of 2^(levels - 1) are padded with zeros at the end, and the output is cropped.
    Without pad, such sizes are refused.

    Raises:
        ValueError: when progressive_input, progressive_output or combine is not known.

    Reference: Ronneberger, Fischer, Brox, 2015, arXiv 1505.04597; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        plan: Plan,
        style: Style,
        progressive_input: str = "none",
        progressive_output: str = "none",
        combine: str = "sum",
        pad: bool = False,
    ) -> None:
        super().__init__()
        _known("progressive_output", progressive_output, ("none", *EMITTERS))
        self.multiple, self.pad, self.dims = 2 ** (len(plan.sizes) - 1), pad, style.dims
        self.encoder = Encoder(inputs, plan, style, progressive_input, combine)
        self.levels = nn.ModuleList()
        kept, current, image = list(self.encoder.kept), plan.sizes[-1], 0
        for level, size in reversed(list(enumerate(plan.sizes))):
            emitter = None
            if progressive_output != "none":
                emitter = EMITTERS[progressive_output](image, size, outputs, style)
                image = emitter.image
            self.levels.append(_Up(current, kept, level, plan, style, emitter))
            current = size
        self.last = style.out(current, outputs) if progressive_output != "output_skip" else None

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """The output at states x.

        Raises:
            ValueError: when 2^(levels - 1) does not divide a size, and pad is off.
        """
        space = x.shape[2:]
        if any(n % self.multiple for n in space):
            if not self.pad:
                raise ValueError(
                    f"maps of size {tuple(space)} cannot be halved {self.multiple.bit_length() - 1} times: give sizes that "
                    f"{self.multiple} divides, or build the network with pad=True"
                )
            x = pad(x, [side for n in reversed(space) for side in (0, -n % self.multiple)])
        h, kept = self.encoder(x, embedding)
        image: Any = None
        for level in self.levels:
            h, image = level(h, kept, image, embedding)
        out = image if self.last is None else self.last(h)
        for axis, n in enumerate(space, start=2):
            out = out.narrow(axis, 0, n)
        return out


def space_of(shape: Sequence[int]) -> int:
    """The number of spatial axes of data of shape (C, *space).

    Raises:
        ValueError: when there is none, or more than three.
    """
    if not 2 <= len(as_shape(shape, "(channels, *space)")) <= 4:
        raise ValueError(
            f"a network of convolutions got data of shape {tuple(shape)}, and (channels, *1 to 3 axes) was needed: use MLP, "
            "--config.network=mlp"
        )
    return len(shape) - 1


def _known(name: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        raise ValueError(f"{name}={value!r} is not known: use one of {', '.join(map(repr, words))}")
