"""Impulse response: the exact law of a sampler's output on Gaussian data, without a random number."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.sampler import Sampler
from sde_lib.linear import LinearSDE
from sde_lib.oracles import GaussianOracle

__all__ = ["ImpulseResponse", "impulse_response"]


class ImpulseResponse(NamedTuple):
    """Errors of the output's law at t_min: of the mean, in true standard deviations, and of the variance, as ratio - 1.

    nfe is the number of network calls that one run of the sampler takes.
    """

    mean_error: float
    variance_error: float
    nfe: int


class _Impulses:
    """Noise whose k-th draw is 1 in row k + 2 and 0 elsewhere."""

    def __init__(self) -> None:
        self.draws = 0

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        z = torch.zeros_like(like)
        z[self.draws + 1 : self.draws + 2] = 1
        return z


def impulse_response(sampler: Sampler, sde: LinearSDE, mean: float = 0.7, var: float = 0.09) -> ImpulseResponse:
    """How far the output of a sampler is from its exact law when the data are N(mean, var) and the score is exact.

    The score of Gaussian data is affine, and so is every step. The output is then m + sum_k r_k z_k for independent draws z_k. One
    batch holds m (row 0, no noise), the response to the start (row 1) and the response to each draw (rows 2 on). The mean is
    row 0, and the variance is the sum of the squared responses, exactly. The start has the exact law of x_T, and the result is the
    state at t_min. Samplers that are not affine cannot be measured so: constraints, clipping, steps that depend on the state.

    >>> from samplers import EulerMaruyama, LogSNR
    >>> from sde_lib import VPSDE
    >>> response = impulse_response(Sampler(EulerMaruyama(), times=LogSNR(200)), VPSDE())
    >>> abs(response.variance_error) < 0.05
    True
    """
    sampler = replace(sampler, last="sample")
    score_fn = GaussianOracle(torch.tensor([mean], dtype=torch.float64), var**0.5).score(sde)
    counter = _Impulses()
    start = torch.zeros(1, 1, dtype=torch.float64)
    nfe = sampler.sample(sde, score_fn, (1, 1), x_T=start, noise=counter, dtype=torch.float64).nfe
    rows = counter.draws + 2

    def law(t: float) -> tuple[float, float]:
        alpha, sigma, _ = sde.at(t)
        return float(alpha * mean), float(torch.sqrt(alpha**2 * var + sigma**2))

    first_mean, first_std = law(sde.T)
    x_T = torch.full((rows, 1), first_mean, dtype=torch.float64)
    x_T[1] += first_std
    x = sampler.sample(sde, score_fn, (rows, 1), x_T=x_T, noise=_Impulses(), dtype=torch.float64).x[:, 0]
    true_mean, true_std = law(float(sampler.times(sde)[-1]))
    variance = ((x[1:] - x[0]) ** 2).sum()
    return ImpulseResponse(float((x[0] - true_mean) / true_std), float(variance / true_std**2 - 1), nfe)
