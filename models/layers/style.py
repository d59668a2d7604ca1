"""How the layers of one network are made: the options that all of its blocks share, read in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from .initial import zero_init
from .resampling import CONVOLUTIONS, FIRDown, FIRUp, Untold, conv_down, conv_up

__all__ = ["ACTIVATIONS", "Style", "group_norm", "scaled_sum"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "swish": nn.SiLU,
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(0.2),
}


def group_norm(channels: int, least: int = 4, eps: float = 1e-5) -> nn.GroupNorm:
    """Group normalisation with the most groups, up to 32, that leave each at least so many channels and divide them evenly."""
    groups = max(g for g in range(1, min(32, max(channels // least, 1)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps)


def scaled_sum(a: Tensor, b: Tensor, factor: float) -> Tensor:
    """factor (a + b), in one map's memory: the sum is nobody else's, and is not there twice."""
    both = a + b
    return both if factor == 1 else both.mul_(factor)


@dataclass(frozen=True)
class Style:
    """The options of a network's blocks.

    width is that of the embedding, or 0 where blocks are not told the noise level; dims counts the axes of space. The embedding
    is added to a block's map (modulation "add") or scales and shifts it ("scale_shift"). Groups of the normalisation have at
    least least channels. rescale divides sums of two branches by sqrt(2). taps are the filter of halving and doubling; without,
    maps are averaged and repeated, and a strided convolution looks ahead of its entry, or to both sides.
    project: a block that resamples has a convolution on its shortcut even where the channels stay. Attention has heads, or as
    many as there are times head_channels in the channels. Raises ValueError for an activation or a modulation that is not known.

    >>> Style(width=16, activation="elu").act()
    ELU(alpha=1.0)
    """

    width: int
    dims: int = 2
    dropout: float = 0.0
    activation: str = "swish"
    modulation: Literal["add", "scale_shift"] = "add"
    least: int = 4
    eps: float = 1e-5
    rescale: bool = False
    taps: tuple[int, ...] = ()
    ahead: bool = False
    project: bool = False
    heads: int = 1
    head_channels: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is not known: use one of {', '.join(map(repr, ACTIVATIONS))}")
        if self.modulation not in ("add", "scale_shift"):
            raise ValueError(f"modulation={self.modulation!r} is not known: use 'add' or 'scale_shift'")
        if self.dims not in CONVOLUTIONS:
            raise ValueError(f"the data have {self.dims} axes of space, and networks of convolutions are for 1, 2 or 3: use MLP")

    @property
    def factor(self) -> float:
        """What a sum of two branches is multiplied by."""
        return 0.5**0.5 if self.rescale else 1.0

    def act(self) -> nn.Module:
        """The activation."""
        return ACTIVATIONS[self.activation]()

    def norm(self, channels: int) -> nn.GroupNorm:
        """The normalisation of a map."""
        return group_norm(channels, self.least, self.eps)

    def conv(self, incoming: int, outgoing: int, size: int = 3) -> nn.Module:
        """A convolution that keeps the size of the map."""
        return CONVOLUTIONS[self.dims](incoming, outgoing, size, padding=size // 2)

    def halve(self) -> FIRDown:
        """Half the size, without weights."""
        return FIRDown(self.taps or (1, 1), self.dims)

    def double(self) -> FIRUp:
        """Twice the size, without weights."""
        return FIRUp(self.taps or (1, 1), self.dims)

    def conv_down(self, incoming: int, outgoing: int) -> Untold:
        """Half the size, by a convolution."""
        return conv_down(incoming, outgoing, self.taps, self.dims, self.ahead)

    def conv_up(self, incoming: int, outgoing: int) -> Untold:
        """Twice the size, by a convolution."""
        return conv_up(incoming, outgoing, self.taps, self.dims)

    def out(self, channels: int, outputs: int) -> nn.Sequential:
        """From a map to numbers: normalise, activate, convolve; 0 at the start of training."""
        return nn.Sequential(self.norm(channels), self.act(), zero_init(self.conv(channels, outputs)))

    def heads_of(self, channels: int) -> int:
        """How many heads attention over so many channels has. Raises ValueError for a number that does not divide them."""
        part = self.heads if self.head_channels is None else self.head_channels
        if channels % part:
            what = "heads" if self.head_channels is None else "channels in each head"
            raise ValueError(f"attention over {channels} channels cannot have {part} {what}: {part} must divide {channels}")
        return part if self.head_channels is None else channels // part
