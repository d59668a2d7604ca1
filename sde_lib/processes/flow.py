"""Rectified flow: the straight path from data to noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE, Rates
from sde_lib.tensors import Time, as_time

__all__ = ["RectifiedFlow"]


@dataclass(frozen=True)
class RectifiedFlow(LinearSDE):
    """The straight path x_t = (1 - t) x0 + t eps, also called the optimal-transport path; time runs from data to noise.

    alpha(1) = 0, where the score says nothing of x0, so that T is 0.999. For a network that predicts the velocity
    dx/dt = eps - x0 use the parameterization Velocity(). Papers that run time from noise to data have 1 - t.

    Reference: Liu, Gong, Liu, 2023, arXiv 2209.03003, equation 1; Lipman et al., 2023, arXiv 2210.02747, equation 20.

    >>> RectifiedFlow().at(0.25).alpha
    tensor(0.7500, dtype=torch.float64)
    """

    T: float = 0.999

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def log_alpha(self, t: Tensor) -> Tensor:
        """log(1 - t)."""
        return torch.log1p(-t)

    def sigma(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def rates(self, t: Time) -> Rates:
        """f = -1 / (1 - t), g^2 = 2 t / (1 - t)."""
        t = as_time(t)
        return Rates(-1 / (1 - t), 2 * t / (1 - t))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = 1 / (1 + exp(log_snr/2))."""
        return torch.sigmoid(-0.5 * as_time(log_snr)).clamp(self.t_min, self.T)
