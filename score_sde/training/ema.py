"""Moving averages of a network's weights, by a rate or by a width relative to the length of the training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from score_sde.training.sharding import local_shard

__all__ = ["Average", "averages_of", "exponent_of", "power_decay", "warm_decay"]

WIDEST = 1 / math.sqrt(12)  # the width of the mean of all steps


def warm_decay(updates: int, rate: float) -> float:
    """min(rate, n / (n + 10)) after n updates, so that the initial weights are forgotten fast."""
    return min(rate, updates / (updates + 10))


def power_decay(updates: int, width: float) -> float:
    """(1 - 1 / (n + 1))^(gamma + 1) after n updates: the average weighs step s by s^gamma, at any length of the training.

    width is the standard deviation of that weight, relative to the length of the training.

    Reference: Karras et al., 2024, arXiv 2312.02696, section 3.1.
    """
    return (updates / (updates + 1)) ** (exponent_of(width) + 1)


def exponent_of(width: float) -> float:
    """The gamma of width = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)). The mean of all steps has width 1 / sqrt(12).

    Raises:
        ValueError: when width is not in (0, 1 / sqrt(12)].

    Reference: Karras et al., 2024, arXiv 2312.02696, section 3.1.

    >>> round(exponent_of(0.1), 2)
    6.94
    """
    if not 0 < width <= WIDEST:
        raise ValueError(f"the width of an average is {width}, and a number above 0 and up to {WIDEST:.4f} was needed")
    inverse = width**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())


class Average(nn.Module):
    """A copy of a network, module, whose weights are averages of the network's weights.

    decay(n) is the factor of the old average in the update that follows n updates.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> average = Average(layer, lambda updates: updates / (updates + 1))
    >>> for n in range(3):
    ...     _ = nn.init.constant_(layer.weight, float(n))
    ...     average.update(n)
    >>> average.module.weight.item()
    1.0
    """

    def __init__(self, network: nn.Module, decay: Callable[[int], float]) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._source = (network,)  # in a tuple, so that the network is not registered as a submodule

    @cached_property
    def _both(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """The weights of the average and of the network, which may be in shards by now, and the pairs of their buffers."""
        (network,) = self._source
        own, current = ([local_shard(p) for p in module.parameters()] for module in (self.module, network))
        return own, current, list(zip(self.module.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move the average towards the network's current weights. updates is the number of updates before."""
        own, current, buffers = self._both
        torch._foreach_lerp_(own, current, 1 - self._decay(updates))
        for buffer, now in buffers:
            buffer.copy_(now)


def averages_of(
    network: nn.Module, rate: float, rates: tuple[float, ...], widths: tuple[float, ...], warmup: bool = True
) -> dict[str, Average]:
    """The averages by name: "ema", which is used, and others such as "ema_0.9999" and "power_0.1".

    With warmup, `warm_decay` gives the rates. Without, they are constant: after n steps rate^n of the initial weights is left.

    Raises:
        ValueError: when a width is out of range.
    """
    decay: Callable[[int, float], float] = warm_decay if warmup else lambda _, rate: rate
    decays: dict[str, Callable[[int], float]] = {"ema": lambda n: decay(n, rate)}
    decays |= {f"ema_{other:g}": lambda n, other=other: decay(n, other) for other in rates}  # type: ignore[misc]
    for width in widths:
        exponent_of(width)
        decays[f"power_{width:g}"] = lambda n, width=width: power_decay(n, width)  # type: ignore[misc]
    return {name: Average(network, decay) for name, decay in decays.items()}
