"""VE: variance exploding, with a geometric sigma."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.fields import check_numbers
from sde_lib.linear import LinearSDE, Rates
from sde_lib.tensors import Time, as_time

__all__ = ["VESDE"]


@dataclass(frozen=True)
class VESDE(LinearSDE):
    """Variance exploding: dx = g dw with sigma(t) = sigma_min (sigma_max / sigma_min)^t, alpha = 1.

    sigma(0) is sigma_min, not 0: what the process calls x_0 is the data plus noise of standard deviation sigma_min. sigma_max
    should be about the largest distance between two data (arXiv 2006.09011, technique 1).

    Raises:
        ValueError: when 0 < sigma_min < sigma_max does not hold.
        TypeError: when one of them is no number.

    Reference: Song et al., 2021, arXiv 2011.13456, equations 9 and 30 (the limit of NCSN, arXiv 1907.05600).

    >>> VESDE(sigma_max=100.0).at(1.0).sigma
    tensor(100.0000, dtype=torch.float64)
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if not (self.sigma_min > 0 and self.sigma_max > 0):
            raise ValueError(f"{self!r}: a positive sigma_min and sigma_max are needed")
        super().__post_init__()

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_min (sigma_max / sigma_min)^t."""
        return self.sigma_min * torch.exp(t * self._log_ratio)

    def rates(self, t: Time) -> Rates:
        """f = 0, g^2 = 2 sigma^2 log(sigma_max / sigma_min)."""
        t = as_time(t)
        return Rates(torch.zeros_like(t), 2 * self._log_ratio * self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = (-log_snr/2 - log sigma_min) / log(sigma_max / sigma_min)."""
        t = (-0.5 * as_time(log_snr) - math.log(self.sigma_min)) / self._log_ratio
        return t.clamp(self.t_min, self.T)
