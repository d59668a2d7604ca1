"""DPM-Solver++, multistep, predicting the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["DPMSolver"]


@dataclass(frozen=True)
class DPMSolver(Predictor):
    """x_s = (sigma_s / sigma_t) x - alpha_s expm1(-h) D, h = lambda_s - lambda_t, lambda = log-SNR / 2.

    order = 1: D = x0(x, t), which is deterministic DDIM. order = 2: D = x0 + (x0 - x0_before) h / (2 h_before), from the
    second step on. Deterministic; one network call a step. Raises ValueError for another order.

    Reference: Lu, Zhou, Bao, Chen, Li, Zhu, 2022, arXiv 2211.01095, Algorithm 2 (2M) and equation 9;
    Song, Meng, Ermon, 2021, arXiv 2010.02502, equation 12 (DDIM).

    >>> DPMSolver(order=2)
    DPMSolver(order=2)
    """

    order: int = 2  # type: ignore[misc]
    requires = LinearSDE

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"DPMSolver has orders 1 and 2, and got order={self.order}")

    @property
    def multistep(self) -> bool:  # type: ignore[override]
        """Whether a step uses the one before."""
        return self.order > 1

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call. memory is the estimate of x0 and the step h of the call before."""
        from_, to = rsde.sde.at(t), rsde.sde.at(s)
        h = 0.5 * (to.log_snr - from_.log_snr)
        x0 = D = rsde.predict(x, t).x0
        if memory is not None:
            x0_before, h_before = memory
            D = x0 + (0.5 * h / h_before) * (x0 - x0_before)
        x = (to.sigma / from_.sigma) * x - (to.alpha * torch.expm1(-h)) * D
        return Step(x, x, (x0, h) if self.multistep else None)
