"""The options that all blocks of a network share, and the layers that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from sde_lib.fields import check_choices

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
    """Group normalisation with as many groups as possible: at most 32, of equal size, with at least least channels each."""
    groups = max(g for g in range(1, min(32, max(channels // least, 1)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps)


def scaled_sum(a: Tensor, b: Tensor, factor: float) -> Tensor:
    """factor (a + b), which needs the memory of one map: the sum is scaled in place."""
    both = a + b
    return both if factor == 1 else both.mul_(factor)


@dataclass(frozen=True)
class Style:
    """The options of a network's blocks.

    width: the size of the embedding, or 0 if blocks do not read the noise level. dims: the number of spatial axes.
    modulation: the embedding is added to a block's map ("add"), or scales and shifts it ("scale_shift").
    least: the least number of channels in a group of the normalisation. eps: the number added to its variances.
    rescale: sums of two branches are divided by sqrt(2).
    taps: the filter of halving and doubling. Without taps, maps are averaged and repeated.
    ahead: without taps, the window of a strided convolution starts at the entry itself, else one before it.
    project: a block that resamples has a convolution on its skip, even if the number of channels stays.
    heads: attention has this many heads, or, with head_channels, heads of head_channels channels each.

    Raises:
        ValueError: when the activation or the modulation is not known.
        ValueError: when dims is not 1, 2 or 3.

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
        check_choices(self)
        if self.dims not in CONVOLUTIONS:
            raise ValueError(f"the data have {self.dims} axes of space, and networks of convolutions are for 1, 2 or 3: use MLP")

    @property
    def factor(self) -> float:
        """The factor of a sum of two branches."""
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
        """A layer without weights that halves the size."""
        return FIRDown(self.taps or (1, 1), self.dims)

    def double(self) -> FIRUp:
        """A layer without weights that doubles the size."""
        return FIRUp(self.taps or (1, 1), self.dims)

    def conv_down(self, incoming: int, outgoing: int) -> Untold:
        """A convolution that halves the size."""
        return conv_down(incoming, outgoing, self.taps, self.dims, self.ahead)

    def conv_up(self, incoming: int, outgoing: int) -> Untold:
        """A convolution that doubles the size."""
        return conv_up(incoming, outgoing, self.taps, self.dims)

    def out(self, channels: int, outputs: int) -> nn.Sequential:
        """The last layers: normalise, activate, convolve. Their output is 0 at the start of training."""
        return nn.Sequential(self.norm(channels), self.act(), zero_init(self.conv(channels, outputs)))

    def heads_of(self, channels: int) -> int:
        """The number of heads of attention over a number of channels.

        Raises:
            ValueError: when the heads do not divide the channels.
        """
        part = self.heads if self.head_channels is None else self.head_channels
        if channels % part:
            what = "heads" if self.head_channels is None else "channels in each head"
            raise ValueError(f"attention over {channels} channels cannot have {part} {what}: {part} must divide {channels}")
        return part if self.head_channels is None else channels // part
