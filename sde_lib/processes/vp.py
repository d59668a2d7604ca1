"""VP: variance preserving."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.linear import Rates
from sde_lib.processes.beta import BetaSDE
from sde_lib.schedules import integral_of
from sde_lib.tensors import Time, as_time

__all__ = ["VPSDE"]


@dataclass(frozen=True, init=False)
class VPSDE(BetaSDE):
    """Variance preserving: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, alpha^2 + sigma^2 = 1.

    VPSDE(beta_min=0.1, beta_max=20.0) has a linear beta; VPSDE(beta=CosineBeta()), or any callable beta(t), another.

    Raises:
        ValueError: when a schedule is given together with beta_min or beta_max.
        TypeError: when beta is not a function.

    Reference: Song et al., 2021, arXiv 2011.13456, equations 11 and 29 (the limit of DDPM, arXiv 2006.11239).

    >>> VPSDE().at(0.5).alpha
    tensor(0.2812, dtype=torch.float64)
    """

    clock_power = 2.0

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - exp(-B(t)))."""
        return torch.sqrt(-torch.expm1(-integral_of(self.beta, t)))

    def rates(self, t: Time) -> Rates:
        """f = -beta/2, g^2 = beta."""
        beta = self.beta(as_time(t))
        return Rates(-0.5 * beta, beta)

    def integral_at(self, log_snr: Tensor) -> Tensor:
        """B = log(1 + exp(-log_snr))."""
        return torch.nn.functional.softplus(-log_snr, threshold=40)
