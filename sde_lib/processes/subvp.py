"""sub-VP: the mean of VP, and a smaller variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.linear import Rates
from sde_lib.processes.beta import BetaSDE
from sde_lib.schedules import integral_of
from sde_lib.tensors import Time, as_time

__all__ = ["SubVPSDE"]


@dataclass(frozen=True, init=False)
class SubVPSDE(BetaSDE):  # type: ignore[misc]
    """sub-VP: the mean of VP and a smaller variance, sigma = 1 - exp(-B(t)), g^2 = beta (1 - exp(-2 B)).

    Takes what VPSDE takes. t_min is 1e-3: at 1e-5 sigma is 1e-6, below what a float32 state can hold.

    Reference: Song et al., 2021, arXiv 2011.13456, equations 12 and 29.

    >>> SubVPSDE().t_min
    0.001
    """

    t_min: float = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        """1 - exp(-B(t)), a standard deviation."""
        return -torch.expm1(-integral_of(self.beta, t))

    def rates(self, t: Time) -> Rates:
        """f = -beta/2, g^2 = beta (1 - exp(-2 B))."""
        t = as_time(t)
        beta = self.beta(t)
        return Rates(-0.5 * beta, -beta * torch.expm1(-2 * integral_of(self.beta, t)))

    def integral_at(self, log_snr: Tensor) -> Tensor:
        """B = 2 asinh(exp(-log_snr/2) / 2), since exp(-log_snr/2) = 2 sinh(B/2)."""
        return 2 * torch.asinh(0.5 * torch.exp(-0.5 * log_snr))
