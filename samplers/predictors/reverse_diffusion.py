"""Reverse diffusion sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import expand

__all__ = ["ReverseDiffusion"]


@dataclass(frozen=True)
class ReverseDiffusion(Predictor):
    """x_s = (2 - a) x + (1 + eta^2)/2 G^2 score + eta G z, where x_t = a x_s + G z is the exact transition from s to t.

    For VP a = sqrt(1 - beta_i) and G^2 = beta_i, for VE a = 1 and G^2 = sigma_t^2 - sigma_s^2: the predictors of Algorithms 3
    and 2. Where a step loses most of the signal (a near 0: the first steps of a cosine schedule on a uniform grid) it is poor;
    use a log-SNR grid there.

    Reference: Song et al., 2021, arXiv 2011.13456, equation 46 and Algorithms 2 and 3.

    >>> ReverseDiffusion()
    ReverseDiffusion(eta=1.0)
    """

    eta: float = 1.0
    order = 1
    requires = LinearSDE

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call."""
        a, G = (expand(c, x) for c in rsde.sde.transition_coefficients(s, t))
        mean = (2 - a) * x + (0.5 * (1 + self.eta**2) * G**2) * rsde.score(x, t)
        if self.eta == 0:
            return Step(mean, mean)
        return Step(mean + self.eta * G * noise(x), mean)
