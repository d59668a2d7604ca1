"""Heun's method, with EDM's churn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.grid_cache import cached_step, grid_length
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun(Predictor):
    """In y = x / alpha and v = sigma / alpha: y_s = y + (v_s - v_t) (eps(x_t, t) + eps(x', s)) / 2, x' by Euler's step.

    With churn, noise is added first: v becomes (1 + gamma) v, and y gains noise_scale sqrt(gamma (2 + gamma)) v z. There gamma =
    min(churn / N, sqrt(2) - 1) where churn_min <= v <= churn_max, and 0 elsewhere. N is the number of times of the grid (1 for
    a time on no grid). Noise never goes beyond T, and on a table it goes to a level of the table. churn = 0 is deterministic.
    The paper's last step, to no noise, is Sampler(..., last="denoise").

    Raises:
        ValueError: when churn or noise_scale is negative.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, Algorithms 1 and 2.

    >>> Heun(churn=40.0, churn_min=0.05, churn_max=50.0, noise_scale=1.003)
    Heun(churn=40.0, churn_min=0.05, churn_max=50.0, noise_scale=1.003)
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    noise_scale: float = 1.0
    order = 2
    requires = LinearSDE

    def __post_init__(self) -> None:
        if self.churn < 0 or self.noise_scale < 0:
            raise ValueError(f"{self!r}: churn and noise_scale of at least 0 are needed")

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; two network calls."""
        if self.churn:
            x, t = self._churned(rsde.sde, x, t, s, noise)
        (alpha_t, sigma_t, _), (alpha_s, sigma_s, _) = rsde.sde.at(t), rsde.sde.at(s)
        ratio, h = alpha_s / alpha_t, sigma_s - sigma_t * alpha_s / alpha_t
        eps, x = rsde.predict(x, t).eps, ratio * x
        x = x + (0.5 * h) * (eps + rsde.predict(x + h * eps, s).eps)
        return Step(x, x)

    def _churned(self, sde: LinearSDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """More noise in the state, and the time that has it."""
        gamma = min(self.churn / grid_length(t), math.sqrt(2) - 1)
        later = cached_step(sde, _later, t, s, gamma, self.churn_min, self.churn_max)
        (alpha_t, _, log_snr), (alpha, sigma, noisier) = sde.at(t), sde.at(later)
        std = sigma * torch.sqrt(-torch.expm1(noisier - log_snr))
        return (alpha / alpha_t) * x + (self.noise_scale * std) * noise(x), later


def _later(sde: LinearSDE, t: Tensor, _: Tensor, gamma: float, least: float, most: float) -> Tensor:
    """The time whose sigma / alpha is 1 + gamma times that of t, or t itself where that is not from least to most."""
    alpha, sigma, log_snr = sde.at(t)
    v = sigma / alpha
    later = sde.snap(sde.t_of_log_snr(log_snr - 2 * math.log1p(gamma)))
    return torch.where((v >= least) & (v <= most), torch.maximum(later, t), t)
