"""Oracle: a law of data with a known density and score at every time, under every linear process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.tensors import Time, as_time

__all__ = ["ExactScore", "Oracle"]


class Oracle(ABC):
    """A law of data whose noised versions x_t = alpha x0 + sigma eps have a known log-density and score.

    A subclass writes log_density, score_density and sample. Their alpha and sigma, (B,), and states are float64. The base class
    makes the exact score function and log p_t under every linear process of them.
    """

    @abstractmethod
    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log of the density of alpha x0 + sigma eps at x, (B,), nats."""

    @abstractmethod
    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of log_density with respect to x, shaped like x."""

    @abstractmethod
    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, *shape), float64."""

    def score(self, sde: LinearSDE) -> ExactScore:
        """The exact score function under a process."""
        return ExactScore(self, sde)

    def log_prob(self, x: Tensor, sde: LinearSDE | None = None, t: Time = 0.0) -> Tensor:
        """log p_t(x) in nats, (B,), float64; without a process, that of the data, where alpha = 1 and sigma = 0."""
        if sde is None:
            one = torch.ones(x.shape[0], dtype=torch.float64, device=x.device)
            return self.log_density(x.double(), one, 0 * one)
        alpha, sigma, _ = sde.at(_of_rows(t, x))
        return self.log_density(x.double(), alpha, sigma)


@dataclass(frozen=True, eq=False)
class ExactScore:
    """The true score of an oracle under a process: a score function, computed in float64 and given in the dtype of x.

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> ExactScore(GaussianOracle(torch.zeros(2), 1.0), VPSDE())(torch.ones(1, 2), 0.5)
    tensor([[-1., -1.]])
    """

    oracle: Oracle
    sde: LinearSDE

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """grad log p_t(x), (B, *shape); t is () or (B,)."""
        alpha, sigma, _ = self.sde.at(_of_rows(t, x))
        return self.oracle.score_density(x.double(), alpha, sigma).to(x.dtype)

    def log_prob(self, x: Tensor, t: Time) -> Tensor:
        """log p_t(x) in nats, (B,), float64."""
        return self.oracle.log_prob(x, self.sde, t)

    def take(self, rows: Tensor) -> ExactScore:
        """The score function itself, since nothing in it belongs to a row."""
        return self


def _of_rows(t: Time, x: Tensor) -> Tensor:
    """A time for each row of x, (B,), float64, where x is."""
    return as_time(t).to(x.device).expand(x.shape[0])
