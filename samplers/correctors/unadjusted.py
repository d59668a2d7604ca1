"""Plain Langevin dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.algorithm import Corrector, Step
from samplers.correctors.langevin import walk
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["Unadjusted"]


@dataclass(frozen=True)
class Unadjusted(Corrector):
    """steps times x <- x + epsilon / 2 score + sqrt(epsilon) z, the same epsilon at every time; serves every process.

    On N(0, v) its law has the variance v / (1 - epsilon / 4v), and none where epsilon is 4v or more: it diverges. Raises
    ValueError for numbers that are not positive.

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

    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """steps moves; a network call each."""
        return walk(rsde, x, t, torch.tensor(0.5 * self.epsilon, dtype=torch.float64), self.steps, noise)
