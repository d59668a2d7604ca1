"""Langevin dynamics with one step size for all times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.algorithm import Corrector, Step
from samplers.correctors.langevin import walk, walk_bias
from sde_lib.base import SDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["Unadjusted"]


@dataclass(frozen=True)
class Unadjusted(Corrector):
    """steps times x <- x + epsilon / 2 score + sqrt(epsilon) z, the same epsilon at every time; serves every process.

    On N(0, v) its law has the variance v / (1 - epsilon / 4v). It diverges where epsilon is 4v or more.

    Raises:
        ValueError: when epsilon or steps is not positive.

    Reference: Welling and Teh, 2011, "Bayesian learning via stochastic gradient Langevin dynamics", equation 3; Song and Ermon,
    2019, arXiv 1907.05600, equation 4.

    >>> Unadjusted(epsilon=0.01, steps=10)
    Unadjusted(epsilon=0.01, steps=10)
    """

    epsilon: float = 1e-4
    steps: int = 1

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.steps < 1:
            raise ValueError(f"{self!r}: epsilon > 0 and steps >= 1 are needed")

    def bias(self, sde: SDE, t: Tensor, std: Tensor) -> float:
        """walk_bias with r = epsilon / (2 std^2); infinite where r is 2 or more."""
        return walk_bias(self._length() / std**2, self.steps)

    def _length(self) -> Tensor:
        """h = epsilon / 2."""
        return torch.tensor(0.5 * self.epsilon, dtype=torch.float64)

    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """steps moves; a network call each."""
        return walk(rsde, x, t, self._length(), self.steps, noise)
