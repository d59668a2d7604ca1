"""Geometric VP: variance preserving, with a variance that grows geometrically."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.fields import check_numbers
from sde_lib.linear import LinearSDE, Rates
from sde_lib.tensors import Time, as_time

__all__ = ["GeometricVPSDE"]


@dataclass(frozen=True)
class GeometricVPSDE(LinearSDE):
    """Variance preserving, with a variance that grows geometrically: sigma^2 = variance_min (r^t - 1), alpha^2 = 1 - sigma^2.

    r = variance_max / variance_min, and f = -g^2/2.

    Raises:
        ValueError: when 0 < variance_min < variance_max <= 1 does not hold.

    Reference: Vahdat, Kreis, Kautz, 2021, arXiv 2106.05931, appendix B (geometric VPSDE).

    >>> GeometricVPSDE().at(1.0).sigma
    tensor(0.9995, dtype=torch.float64)
    """

    variance_min: float = 3e-5
    variance_max: float = 0.999
    clock_power = 2.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 < self.variance_min < self.variance_max <= 1:
            raise ValueError(f"{self!r}: 0 < variance_min < variance_max <= 1 is needed")
        super().__post_init__()

    @property
    def _log_ratio(self) -> float:
        return math.log(self.variance_max / self.variance_min)

    def _variance(self, t: Tensor) -> Tensor:
        return self.variance_min * torch.expm1(t * self._log_ratio)

    def log_alpha(self, t: Tensor) -> Tensor:
        """log(1 - sigma^2) / 2."""
        return 0.5 * torch.log1p(-self._variance(t))

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(1 - sigma^2)."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(variance_min (r^t - 1))."""
        return self._variance(t).sqrt()

    def rates(self, t: Time) -> Rates:
        """f = -g^2/2, g^2 = variance_min r^t log r / (1 - sigma^2)."""
        t = as_time(t)
        g2 = self.variance_min * torch.exp(t * self._log_ratio) * self._log_ratio / (1 - self._variance(t))
        return Rates(-0.5 * g2, g2)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """sigma^2 = 1 / (1 + exp(log_snr)), then t = log(1 + sigma^2 / variance_min) / log r."""
        t = torch.log1p(torch.sigmoid(-as_time(log_snr)) / self.variance_min) / self._log_ratio
        return t.clamp(self.t_min, self.T)
