"""SDE-DPM-Solver++: a multistep solver of the reverse SDE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from samplers.predictors.exponential import integrate_exponential
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["SDEDPMSolver"]


@dataclass(frozen=True)
class SDEDPMSolver(Predictor):
    """x_s = (sigma_s / sigma_t) e^(-k h) x - alpha_s expm1(-(1 + k) h) D + sigma_s sqrt(-expm1(-2 k h)) z, k = eta^2.

    D = x0 + (x0 - x0_before) h / (2 h_before), h = lambda_s - lambda_t, lambda = log-SNR / 2 (2M). eta multiplies g in the
    reverse SDE: 1 is SDE-DPM-Solver++(2M), and 0 is DPMSolver(order=2). The first step, D = x0, is the exponential integrator of
    that SDE. Second-order in law.

    Raises:
        ValueError: when eta is negative.

    Reference: Lu, Zhou, Bao, Chen, Li, Zhu, 2022, arXiv 2211.01095, equation 19 and appendix A (SDE-DPM-Solver++ 2M).

    >>> SDEDPMSolver()
    SDEDPMSolver(eta=1.0)
    """

    eta: float = 1.0
    order = 2
    requires = LinearSDE
    multistep = True

    def __post_init__(self) -> None:
        if self.eta < 0:
            raise ValueError(f"{self!r}: an eta of at least 0 is needed")

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call. memory is the estimate and the log-SNR of the call before."""
        x0, from_, to = rsde.predict(x, t).x0, rsde.sde.at(t), rsde.sde.at(s)
        before = ((), ()) if memory is None else memory
        mean = integrate_exponential(x, from_, to, (x0, *before[0]), (from_.log_snr, *before[1]), eta=self.eta)
        now = (x0,), (from_.log_snr,)
        if not self.eta:
            return Step(mean, mean, now)
        std = to.sigma * torch.sqrt(-torch.expm1(self.eta**2 * (from_.log_snr - to.log_snr)))
        return Step(mean + std * noise(x), mean, now)
