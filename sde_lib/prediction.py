"""Prediction: x0, eps, score and v from the output of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sde_lib.linear import Level
from sde_lib.tensors import expand

__all__ = ["Coefficient", "Prediction", "Readings", "solve"]

Coefficient = Tensor | float


class Readings(NamedTuple):
    """x0, eps and score of a network's output: each is c x + d output, kept as the pair (c, d)."""

    x0: tuple[Tensor, Tensor]
    eps: tuple[Tensor, Tensor]
    score: tuple[Tensor, Tensor]


def solve(level: Level, a: Coefficient, b: Coefficient) -> Readings:
    """Solve x = alpha x0 + sigma eps, output = a x0 + b eps."""
    alpha, sigma, _ = level
    determinant = alpha * b - sigma * a
    of_x, of_output = -a / determinant, alpha / determinant
    return Readings((b / determinant, -sigma / determinant), (of_x, of_output), (-of_x / sigma, -of_output / sigma))


@dataclass(frozen=True)
class Prediction:
    """What a network predicts at a state x: x0, eps, score and v. Each is computed when it is asked for.

    x = alpha x0 + sigma eps and output = a x0 + b eps are two equations for x0 and eps. x and output are (B, *shape), the
    coefficients 0-d or (B,). A learned variance of a step back is log_variance itself, or variance_fraction, its place between
    the logarithms of the smaller (0) and the larger (1) fixed variance. Both are shaped like x, and None where nothing was
    learned.

    >>> import torch
    >>> x, level = torch.tensor([[3.0]]), Level(torch.tensor(0.6), torch.tensor(0.8), torch.tensor(-0.5754))
    >>> Prediction(x, torch.tensor([[1.5]]), level, 0.0, 1.0).x0
    tensor([[3.]])
    """

    x: Tensor
    output: Tensor
    level: Level
    a: Coefficient
    b: Coefficient
    log_variance: Tensor | None = None
    variance_fraction: Tensor | None = None
    readings: Readings | None = None  # solve(level, a, b), where it was computed for a whole grid

    @property
    def determinant(self) -> Tensor:
        """alpha b - sigma a."""
        return self.level.alpha * self.b - self.level.sigma * self.a

    def _read(self, name: str) -> Tensor:
        return self._mix(*getattr(self.readings or solve(self.level, self.a, self.b), name))

    def _mix(self, of_x: Tensor, of_output: Tensor) -> Tensor:
        return expand(of_x, self.x) * self.x + expand(of_output, self.x) * self.output

    @property
    def x0(self) -> Tensor:
        """The data, (b x - sigma output) / (alpha b - sigma a): the posterior mean E[x0 | x]."""
        return self._read("x0")

    @property
    def eps(self) -> Tensor:
        """The noise, (alpha output - a x) / (alpha b - sigma a)."""
        return self._read("eps")

    @property
    def score(self) -> Tensor:
        """-eps / sigma."""
        return self._read("score")

    @property
    def v(self) -> Tensor:
        """alpha eps - sigma x0 (Salimans and Ho, 2022, arXiv 2202.00512, section 4)."""
        alpha, sigma, _ = self.level
        return self._mix(-(alpha * self.a + sigma * self.b) / self.determinant, (alpha**2 + sigma**2) / self.determinant)
