"""The choice of NCSN's noise levels and Langevin step from the data: techniques 1, 2 and 4 of NCSNv2."""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr
from torch import Tensor

__all__ = ["langevin_step", "largest_distance", "level_count", "spacing", "variance_ratio"]


def largest_distance(x: Tensor, chunk: int = 1024) -> float:
    """The largest Euclidean distance between two data, (N, *shape): technique 1's sigma_max. All pairs, chunk rows at a time.

    Reference: Song and Ermon, 2020, arXiv 2006.09011, technique 1.

    >>> largest_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
    5.0
    """
    flat = x.flatten(1).double()
    return max(torch.cdist(part, flat).max().item() for part in flat.split(chunk))


def spacing(dims: int, overlap: float = 0.5) -> float:
    """The ratio gamma of neighbouring sigmas at which their shells overlap as asked, for data of dims entries: technique 2.

    Phi(sqrt(2 D) (gamma - 1) + 3 gamma) - Phi(sqrt(2 D) (gamma - 1) - 3 gamma) = overlap.

    Raises:
        ValueError: when overlap is outside (0, 0.99), or every ratio overlaps by more.

    Reference: Song and Ermon, 2020, arXiv 2006.09011, technique 2.

    >>> round(spacing(3072), 4)
    1.0398
    """
    if not 0 < overlap < 0.99:
        raise ValueError(f"overlap={overlap}: a number inside (0, 0.99) is needed")

    def excess(gamma: float) -> float:
        move = math.sqrt(2 * dims) * (gamma - 1)
        return float(ndtr(move + 3 * gamma) - ndtr(move - 3 * gamma)) - overlap

    far = 2.0
    while excess(far) > 0 and far < 1e6:
        far *= 2
    if excess(far) > 0:
        raise ValueError(f"in {dims} dimensions neighbouring levels overlap by more than {overlap} at any ratio: ask for more")
    return float(brentq(excess, 1.0, far, xtol=1e-14))


def level_count(sigma_min: float, sigma_max: float, gamma: float) -> int:
    """The number of geometric levels, in a ratio of at most gamma, from sigma_max to sigma_min, both included.

    >>> level_count(0.01, 50.0, 1.0398)
    220
    """
    return math.ceil(math.log(sigma_max / sigma_min) / math.log(gamma)) + 1


def variance_ratio(epsilon: float, sigma_min: float, gamma: float, steps: int) -> float:
    """s_T^2 / sigma^2: the variance after steps Langevin moves at a level, started from the level before, over the level's own.

    x <- x + a score + sqrt(2 a) z with a = epsilon sigma^2 / sigma_min^2, on data that are a point.
    Reference: Song and Ermon, 2020, arXiv 2006.09011, proposition 3.
    """
    e = epsilon / sigma_min**2
    q = 2 * e / (1 - (1 - e) ** 2)
    return (1 - e) ** (2 * steps) * (gamma**2 - q) + q


def langevin_step(sigma_min: float, gamma: float, steps: int) -> float:
    """The step epsilon at which variance_ratio is nearest to 1: technique 4, given how many moves a level one can afford.

    Reference: Song and Ermon, 2020, arXiv 2006.09011, technique 4.

    >>> f"{langevin_step(0.01, (50 / 0.01) ** (1 / 231), steps=5):.2e}"
    '6.18e-06'
    """

    def off(log_e: float) -> float:
        return abs(variance_ratio(math.exp(log_e) * sigma_min**2, sigma_min, gamma, steps) - 1)

    found = minimize_scalar(off, bounds=(math.log(1e-6), math.log(0.999)), method="bounded", options={"xatol": 1e-10})
    return math.exp(found.x) * sigma_min**2
