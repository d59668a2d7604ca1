"""DDIM: denoising diffusion implicit models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.grid_cache import cached_step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["DDIM", "coefficients"]


@dataclass(frozen=True)
class DDIM(Predictor):
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) eps + std z, std = eta sigma_s sqrt(1 - SNR_t / SNR_s).

    eta, from 0 to 1, is the paper's share of a step's noise. In terms of the paper's table, std = eta sqrt((1 - a') / (1 - a))
    sqrt(1 - a / a') with a = alpha_t^2 and a' = alpha_s^2. eta = 0 is also DPMSolver(order=1) and the exponential integrator of
    the probability flow (DEIS of order 0). eta = 1 is also Ancestral("small"), SDEDPMSolver's first step and the exponential
    integrator of the reverse SDE.

    Raises:
        ValueError: when eta is outside [0, 1].

    Reference: Song, Meng, Ermon, 2021, arXiv 2010.02502, equations 12 and 16; Zhang and Chen, 2022, arXiv 2204.13902, equation 10.

    >>> DDIM(eta=0.5)
    DDIM(eta=0.5)
    """

    eta: float = 0.0
    order = 1
    requires = LinearSDE

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"{self!r}: an eta from 0 to 1 is needed, since a step cannot add more noise than its end holds")

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call."""
        of_x, of_x0, std = cached_step(rsde.sde, coefficients, t, s, self.eta)
        mean = of_x * x + of_x0 * rsde.predict(x, t).x0
        return Step(mean + std * noise(x) if self.eta else mean, mean)


def coefficients(sde: LinearSDE, t: Tensor, s: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """The coefficients of x, x0 and z: (sigma_s / sigma_t) k, alpha_s (1 - k e^-h), eta sigma_s sqrt(1 - e^-2h).

    e^-2h = SNR_t / SNR_s and k^2 = 1 - eta^2 (1 - e^-2h).
    """
    from_, to = sde.at(t), sde.at(s)
    h = 0.5 * (to.log_snr - from_.log_snr)
    if not eta:
        return to.sigma / from_.sigma, -to.alpha * torch.expm1(-h), torch.zeros_like(h)
    rest = -torch.expm1(-2 * h)
    log_k = 0.5 * torch.log1p(-(eta**2) * rest)
    return to.sigma / from_.sigma * log_k.exp(), -to.alpha * torch.expm1(log_k - h), eta * to.sigma * rest.sqrt()
