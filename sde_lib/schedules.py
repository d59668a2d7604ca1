"""Noise schedules beta(t) of variance-preserving processes, and their integrals B(t)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sde_lib.fields import check_numbers

__all__ = ["CosineBeta", "LinearBeta", "integral_of", "time_of_integral"]

_NODES, _WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(64))


@dataclass(frozen=True)
class LinearBeta:
    """beta(t) = beta_min + t (beta_max - beta_min), t in [0, 1].

    Reference: Song et al., 2021, arXiv 2011.13456, equation 32.

    >>> LinearBeta().integral(torch.tensor(1.0, dtype=torch.float64))
    tensor(10.0500, dtype=torch.float64)
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    T = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def __call__(self, t: Tensor) -> Tensor:
        """beta(t), shaped like t."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor) -> Tensor:
        """B(t), the integral of beta from 0 to t."""
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def inverse_integral(self, B: Tensor) -> Tensor:
        """The time at which the integral is B >= 0."""
        squared = self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * B  # beta^2 at that time
        return 2 * B / (self.beta_min + torch.sqrt(squared.clamp_min(0)))


@dataclass(frozen=True)
class CosineBeta:
    """The schedule whose signal falls as a cosine: exp(-B(t)/2) = cos(theta_t) / cos(theta_0), theta_t = (t + s) / (1 + s) pi / 2.

    The signal is zero at t = 1, so that processes with this schedule end at T = 0.999.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, equation 17 (without its clipping, which is of the discrete table).

    >>> VPSDE = __import__("sde_lib").VPSDE
    >>> VPSDE(beta=CosineBeta()).T
    0.999
    """

    s: float = 0.008
    T = 0.999

    def __post_init__(self) -> None:
        check_numbers(self)

    def _angle(self, t: Tensor) -> Tensor:
        return (t + self.s) / (1 + self.s) * (math.pi / 2)

    @property
    def _start(self) -> float:
        return self.s / (1 + self.s) * (math.pi / 2)

    def __call__(self, t: Tensor) -> Tensor:
        """beta(t), shaped like t."""
        return math.pi / (1 + self.s) * torch.tan(self._angle(t))

    def integral(self, t: Tensor) -> Tensor:
        """B(t) = -2 log(cos(theta_t) / cos(theta_0)), without the cancellation at small t."""
        turn = t / (1 + self.s) * (math.pi / 2)
        return -2 * torch.log1p(-2 * torch.sin(turn / 2) ** 2 - math.tan(self._start) * torch.sin(turn))

    def inverse_integral(self, B: Tensor) -> Tensor:
        """The time at which the integral is B >= 0."""
        return torch.acos(math.cos(self._start) * torch.exp(-B / 2)) * (2 / math.pi) * (1 + self.s) - self.s


def integral_of(beta: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """B(t): the schedule's own integral, else Gauss-Legendre quadrature with 64 nodes (exact to round-off for a smooth beta)."""
    if hasattr(beta, "integral"):
        return beta.integral(t)
    nodes = 0.5 * t[..., None] * (1 + _NODES.to(t.device))
    return 0.5 * t * (beta(nodes) * _WEIGHTS.to(t.device)).sum(-1)


def time_of_integral(beta: Callable[[Tensor], Tensor], B: Tensor) -> Tensor | None:
    """The time at which B(t) is the given one, by the schedule's own inverse, or None where the schedule has none."""
    return beta.inverse_integral(B) if hasattr(beta, "inverse_integral") else None
