"""Euler-Maruyama on the reverse SDE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True)
class EulerMaruyama(Predictor):
    """x_s = x - h [f - (1 + eta^2)/2 g^2 score] + eta g sqrt(h) z, h = t - s.

    eta = 1 is the reverse SDE, eta = 0 Euler's method on the probability-flow ODE; serves every process.

    Reference: Song et al., 2021, arXiv 2011.13456, equation 6 and appendix G.

    >>> EulerMaruyama(eta=0.0)
    EulerMaruyama(eta=0.0)
    """

    eta: float = 1.0
    order = 1

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call."""
        h = t - s
        mean = x - h * rsde.drift(x, t, self.eta)
        if self.eta == 0:
            return Step(mean, mean)
        return Step(mean + rsde.diffusion(x, t, self.eta) * torch.sqrt(h) * noise(x), mean)
