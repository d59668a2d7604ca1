"""Where to spend, so that the mean of a set comes out with a wanted error."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.dequantize import Dequantizer, Uniform
from likelihood.divergence import Probing
from sde_lib.data import Images
from sde_lib.linear import LinearSDE

__all__ = ["Budget", "plan"]

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


class Budget(NamedTuple):
    """Settings for bits_per_dim, and the noise and solver error in bits/dim that they are expected to leave in the mean."""

    divergence: Probing
    dequantize: Dequantizer
    tolerance: float
    noise: float
    solver: float

    def __str__(self) -> str:
        return (
            f"{self.divergence.probes} probes, {self.dequantize.draws} draws, tolerance {self.tolerance:g}: "
            f"expected noise {self.noise:.2g} and solver error {self.solver:.2g} bits/dim in the mean"
        )


def plan(
    sde: LinearSDE,
    score_fn: Any,
    codes: Tensor,
    images_in_all: int,
    target_error: float,
    *,
    images: Images,
    dequantize: Any = Uniform(),  # noqa: B008  (frozen)
    t_min: float | None = None,
    seed: int = 0,
) -> Budget:
    """The cheapest settings whose noise and solver error leave target_error, in bits/dim, in the mean of images_in_all images.

    Measured on codes, some of these images (16 to 32 will do): the variance of one draw, v_d, and of the estimate with K probes,
    v_K; with M draws the mean over n images has the variance (v_d + v_K) / (M n), at a cost of M (1 + K) for each evaluation of
    the flow. The tolerance is the loosest that changes the mean by less than a third of the target. The error of having these
    images and no others is not bought here, and the slack of the bound is not an error of this kind.
    Raises ValueError for a target that is not positive or cannot be reached by the tightest tolerance.

    >>> import torch
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(VPSDE())
    >>> plan(VPSDE(), score_fn, torch.full((8, 1, 2, 2), 128), 100, 0.01, images=Images(256)).divergence.probes
    1
    """
    if not target_error > 0:
        raise ValueError(f"target_error is {target_error}, and a positive number of bits/dim was needed")
    common: dict[str, Any] = {"images": images, "t_min": t_min, "seed": seed}

    def measure(divergence: Probing, draws: int, tolerance: float) -> BitsPerDim:
        settings: dict[str, Any] = {"divergence": divergence, "dequantize": replace(dequantize, draws=draws)}
        return bits_per_dim(sde, score_fn, codes, rtol=tolerance, atol=tolerance, solver_images=0, **settings, **common)

    coarse = measure(Probing(1), 1, TOLERANCES[0]).per_image
    for tolerance, finer in pairwise(TOLERANCES):  # noqa: B007  (the one that was enough)
        fine = measure(Probing(1), 1, finer).per_image
        solver, coarse = (fine - coarse).abs().mean().item(), fine
        if solver <= target_error / 3:
            break
    else:
        raise ValueError(f"at a tolerance of {tolerance:g} the solver's error is still {solver:.2g} bits/dim: aim higher")
    budget = (target_error**2 - solver**2) * images_in_all
    of_draws, best, best_cost = None, None, math.inf
    probes = 1
    while probes <= codes[0].numel():
        loose = measure(Probing(probes, repeats=2), 2 if of_draws is None else 1, 1e-2)  # variances need no tight tolerance
        of_probes = 2 * loose.probe_variance.mean().item() * (2 if of_draws is None else 1)  # of one repeat, one draw
        if of_draws is None:
            of_draws = max(2 * loose.noise_variance.mean().item() - of_probes / 2, 0.0)
        draws = max(1, math.ceil((of_draws + of_probes) / budget))
        cost = draws * (1 + probes)
        if cost < best_cost:
            noise = ((of_draws + of_probes) / draws / images_in_all) ** 0.5
            best, best_cost = Budget(Probing(probes), replace(dequantize, draws=draws), tolerance, noise, solver), cost
        if draws == 1:
            break
        probes *= 2
    assert best is not None
    return best
