"""The cheapest settings of bits_per_dim that leave a wanted error in the mean of a set."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.dequantize import Dequantizer, UniformDequantizer
from likelihood.divergence import Probing
from likelihood.results import standard_error
from sde_lib.data import Images
from sde_lib.linear import LinearSDE

__all__ = ["Budget", "plan"]

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
DRAWS = 4  # from which a variance is estimated, of each image


class Budget(NamedTuple):
    """Settings for bits_per_dim, and the noise and solver error in bits/dim that they are expected to leave in the mean.

    noise is a standard deviation, put so high that nine in ten plans leave no more. nfe is the cost of the plan, in network calls.
    """

    divergence: Probing
    dequantize: Dequantizer
    tolerance: float
    noise: float
    solver: float
    nfe: int

    def __str__(self) -> str:
        return (
            f"{self.divergence.probes} probes, {self.dequantize.draws} draws, tolerance {self.tolerance:g}: expected noise "
            f"{self.noise:.2g} and solver error {self.solver:.2g} bits/dim in the mean (found in {self.nfe} network calls)"
        )


def plan(
    sde: LinearSDE,
    score_fn: Any,
    codes: Tensor,
    images_in_all: int,
    target_error: float,
    *,
    images: Images,
    dequantize: Any = UniformDequantizer(),  # noqa: B008  (frozen)
    method: str = "dopri5",
    t_min: float | None = None,
    seed: int = 0,
) -> Budget:
    """The cheapest settings whose noise and solver error leave target_error, in bits/dim, in the mean of images_in_all images.

    The variance v_K of a value from one draw with K probes is measured on codes, some of these images (32 will do). With M draws
    the mean over n images has the variance v_K / (M n), at a cost of M (1 + K) for each evaluation of the flow. v_K is taken as
    its mean over the images and 1.28 standard errors more, so that nine in ten plans are kept. The tolerance is the loosest that
    changes the mean by less than a third of the target. No setting changes the error of having these images and no others. The
    slack of the bound is not an error of this kind.

    Raises:
        ValueError: when target_error is not positive, or the tightest tolerance does not reach it.

    >>> import torch
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(VPSDE())
    >>> plan(VPSDE(), score_fn, torch.full((8, 1, 2, 2), 128), 100, 0.01, images=Images(256)).divergence.probes
    1
    """
    if not target_error > 0:
        raise ValueError(f"target_error is {target_error}, and a positive number of bits/dim was needed")
    common: dict[str, Any] = {"images": images, "method": method, "t_min": t_min, "seed": seed, "solver_images": 0}
    nfe = 0

    def measure(probes: int, draws: int, tolerance: float) -> BitsPerDim:
        nonlocal nfe
        settings: dict[str, Any] = {"divergence": Probing(probes), "dequantize": replace(dequantize, draws=draws)}
        result = bits_per_dim(sde, score_fn, codes, tolerance=tolerance, **settings, **common)
        nfe += result.nfe
        return result

    coarse = measure(1, 1, TOLERANCES[0]).per_image
    for tolerance, finer in pairwise(TOLERANCES):  # noqa: B007  (the one that was enough)
        fine = measure(1, 1, finer).per_image
        solver, coarse = (fine - coarse).abs().mean().item(), fine
        if solver <= target_error / 3:
            break
    else:
        raise ValueError(
            f"at a tolerance of {tolerance:g} the solver's error is still {solver:.2g} bits/dim, more than a third of the "
            f"target_error of {target_error:g}: give a target_error above {3 * solver:.2g}"
        )
    allowed = (target_error**2 - solver**2) * images_in_all
    best, least = None, math.inf
    probes = 1
    while probes <= codes[0].numel():
        variances = DRAWS * measure(probes, DRAWS, TOLERANCES[0]).noise_variance  # which need no tight tolerance
        variance = variances.mean().item() + 1.28 * standard_error(variances).item() if len(codes) > 1 else variances.item()
        draws = max(1, math.ceil(variance / allowed))
        cost = draws * (1 + probes)
        if cost < least:
            noise = (variance / draws / images_in_all) ** 0.5
            best, least = (Probing(probes), replace(dequantize, draws=draws), tolerance, noise, solver), cost
        if draws == 1 or cost > 1.5 * least:
            break
        probes *= 2
    assert best is not None
    return Budget(*best, nfe)
