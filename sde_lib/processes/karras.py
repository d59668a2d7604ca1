"""The process of Karras et al.: variance exploding, with sigma(t) = t."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE, Rates
from sde_lib.tensors import Time, as_time

__all__ = ["KarrasSDE"]


@dataclass(frozen=True)
class KarrasSDE(LinearSDE):
    """Variance exploding with time itself as the noise: sigma(t) = t, alpha = 1, on [0.002, 80].

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, section 3 and table 1.

    >>> KarrasSDE().at(3.0).sigma
    tensor(3., dtype=torch.float64)
    """

    T: float = 80.0
    t_min: float = 2e-3

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def rates(self, t: Time) -> Rates:
        """f = 0, g^2 = 2 t."""
        t = as_time(t)
        return Rates(torch.zeros_like(t), 2 * t)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = exp(-log_snr/2)."""
        return torch.exp(-0.5 * as_time(log_snr)).clamp(self.t_min, self.T)
