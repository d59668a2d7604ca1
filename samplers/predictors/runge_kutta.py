"""A stochastic Runge-Kutta method of strong order 3/2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["StochasticRungeKutta"]


@dataclass(frozen=True)
class StochasticRungeKutta(Predictor):
    """SRA1 on the reverse SDE of y = x / alpha in the clock tau = sigma^2 / alpha^2, where its noise is additive, and a Brownian W.

    Back in tau, dy = f |dtau| + dW with f = (x0 - y) / tau. A step has the length h of tau. W = sqrt(h) z_1 is its increment, and
    I = int W = h^(3/2) (z_1 + z_2 / sqrt(3)) / 2. Then

        y' = y + c h f(y, tau) + 2 c I / h,   y_s = y + h [(1 - 1 / 2c) f(y, tau) + f(y', tau - c h) / 2c] + W,   c = 3/4.

    On a table c is as near to 3/4 as its levels are. Strong order 3/2 for the same path, 2 in law; two draws a step.

    Reference: Rossler, 2010, SIAM Journal on Numerical Analysis 48, 922-952, table 6.3 (SRA1) and equation 6.3.

    >>> StochasticRungeKutta()
    StochasticRungeKutta()
    """

    order = 2
    requires = LinearSDE

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; two network calls."""
        r = rsde.sde.between(t, s, 0.75, power=2.0)
        from_, middle, to = rsde.sde.at(t), rsde.sde.at(r), rsde.sde.at(s)
        tau, h = (from_.sigma / from_.alpha) ** 2, _fallen(from_, to)
        c = _fallen(from_, middle) / h
        W, other = h.sqrt() * noise(x), h.sqrt() * noise(x)
        y = x / from_.alpha
        slope = (rsde.predict(x, t).x0 - y) / tau
        stage = y + (c * h) * slope + c * (W + other * 3**-0.5)
        slope_there = (rsde.predict(middle.alpha * stage, r).x0 - stage) / (tau - c * h)
        end = 0.5 / c
        mean = y + (h * (1 - end)) * slope + (h * end) * slope_there
        return Step(to.alpha * (mean + W), to.alpha * mean)


def _fallen(from_: Any, to: Any) -> Tensor:
    """tau at one level less tau at another: no digits are lost where they are near."""
    return -((from_.sigma / from_.alpha) ** 2) * torch.expm1(from_.log_snr - to.log_snr)
