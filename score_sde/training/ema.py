"""Averages of a network's weights over training, by a rate or by a width relative to the training so far."""

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

WIDEST = 1 / math.sqrt(12)  # of a power function: that of the mean of all steps


def warm_decay(updates: int, rate: float) -> float:
    """min(rate, n / (n + 10)) after n updates: the average is the weights themselves at first, and forgets the start fast."""
    return min(rate, updates / (updates + 10))


def power_decay(updates: int, width: float) -> float:
    """(1 - 1 / (n + 1))^(gamma + 1) after n updates: the average over steps s is weighted by s^gamma, however long training is.

    width is the standard deviation of that weight over the length of training. Reference: Karras et al., 2024, arXiv 2312.02696,
    section 3.1.
    """
    return (updates / (updates + 1)) ** (exponent_of(width) + 1)


def exponent_of(width: float) -> float:
    """The gamma of a width = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)), which is 1 / sqrt(12) for the mean of all steps.

    Raises ValueError outside. Reference: Karras et al., 2024, arXiv 2312.02696, section 3.1.

    >>> round(exponent_of(0.1), 2)
    6.94
    """
    if not 0 < width <= WIDEST:
        raise ValueError(f"the width of an average is {width}, and a number above 0 and up to {WIDEST:.4f} was needed")
    inverse = width**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())


class Average(nn.Module):
    """A copy of a network, in module, whose weights are averages of the network's.

    decay gives the part of the average that is kept after so many updates.

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
        self._of = (network,)  # in a tuple, so that it is no part of this

    @cached_property
    def _both(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Weights, which may be in shards by now, of average and network, and their buffers."""
        (network,) = self._of
        own, current = ([local_shard(p) for p in of.parameters()] for of in (self.module, network))
        return own, current, list(zip(self.module.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the weights that the network has now; updates is how often this was done before."""
        own, current, buffers = self._both
        torch._foreach_lerp_(own, current, 1 - self._decay(updates))
        for buffer, now in buffers:
            buffer.copy_(now)


def averages_of(
    network: nn.Module, rate: float, rates: tuple[float, ...], widths: tuple[float, ...], warmup: bool = True
) -> dict[str, Average]:
    """The average that is used, "ema", and others by the names "ema_0.9999" and "power_0.1". Raises ValueError as exponent_of.

    Without warmup rates are constant: after n steps rate^n of the initial weights is left.
    """
    decay: Callable[[int, float], float] = warm_decay if warmup else lambda _, rate: rate
    decays: dict[str, Callable[[int], float]] = {"ema": lambda n: decay(n, rate)}
    decays |= {f"ema_{other:g}": lambda n, other=other: decay(n, other) for other in rates}  # type: ignore[misc]
    for width in widths:
        exponent_of(width)
        decays[f"power_{width:g}"] = lambda n, width=width: power_decay(n, width)  # type: ignore[misc]
    return {name: Average(network, decay) for name, decay in decays.items()}
