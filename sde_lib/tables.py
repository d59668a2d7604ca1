"""The noise tables of the papers: betas of DDPM and its successors, sigmas of NCSN, and subsets of their levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

__all__ = ["BETAS", "cosine_betas", "geometric_sigmas", "linear_betas", "quadratic_betas", "sigmoid_betas", "strided"]


def linear_betas(steps: int = 1000) -> Tensor:
    """beta from 1e-4 to 0.02 in equal steps, times 1000/N: (N,), float64.

    Raises:
        ValueError: when steps is below 21, where the last beta reaches 1.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4; Nichol and Dhariwal, 2021, arXiv 2102.09672 (1000/N).

    >>> float(linear_betas()[0])
    0.0001
    """
    if steps < 21:
        raise ValueError(f"linear_betas({steps}): at least 21 steps are needed, for the last beta, 20/N, to be below 1")
    return torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)


def quadratic_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """sqrt(beta) from sqrt(first) to sqrt(last) in equal steps: (N,), float64.

    Reference: the code released with Song, Meng, Ermon, 2021, arXiv 2010.02502 (DDIM).

    >>> quadratic_betas(3).sqrt().diff().diff().abs() < 1e-16
    tensor([True])
    """
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2


def sigmoid_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """first + (last - first) / (1 + exp(-u)), u from -6 to 6 in equal steps: (N,), float64.

    Reference: the code released with Song, Meng, Ermon, 2021, arXiv 2010.02502 (DDIM).

    >>> sigmoid_betas(11)[5]
    tensor(0.0101, dtype=torch.float64)
    """
    return first + (last - first) * torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64))


def cosine_betas(steps: int = 1000, s: float = 0.008, largest: float = 0.999) -> Tensor:
    """beta_i = min(1 - f(i/N) / f((i-1)/N), largest), f(u) = cos^2((u + s) / (1 + s) pi / 2): (N,), float64.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, equation 17 and the clipping below it.

    >>> float(cosine_betas()[-1])
    0.999
    """
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    signal = torch.cos((u + s) / (1 + s) * (math.pi / 2)) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp_max(largest)


def geometric_sigmas(sigma_min: float, sigma_max: float, levels: int) -> Tensor:
    """sigma from sigma_max down to sigma_min in equal ratios, as NCSN counts them: (levels,), float64.

    Reference: Song and Ermon, 2019, arXiv 1907.05600, section 4.2.

    >>> geometric_sigmas(0.01, 1.0, 3)
    tensor([1.0000, 0.1000, 0.0100], dtype=torch.float64)
    """
    return torch.logspace(math.log(sigma_max), math.log(sigma_min), levels, base=math.e, dtype=torch.float64)


BETAS: dict[str, Callable[[int], Tensor]] = {
    "linear": linear_betas,
    "quadratic": quadratic_betas,
    "sigmoid": sigmoid_betas,
    "cosine": cosine_betas,
}
"""The betas of the papers by name, each a function of the number of steps."""


def strided(length: int, steps: int | str | Sequence[int]) -> list[int]:
    """Places of a table of the given length, 0-based and rising, that a description of fewer steps keeps.

    steps is a count, or counts of equal sections, "10,15,20" or (10, 15, 20). Each section keeps as many places as its count,
    evenly from its first to its last. "ddim25" keeps 25 places at one integer stride, from 0.

    Raises:
        ValueError: when the table, or a section, does not have as many.

    >>> strided(10, 4), strided(10, "ddim5"), strided(10, "2,3")
    ([0, 3, 6, 9], [0, 2, 4, 6, 8], [0, 4, 5, 7, 9])
    """
    if isinstance(steps, str) and steps.startswith("ddim"):
        count = _count(steps.removeprefix("ddim"), steps)
        for stride in range(1, length + 1):
            if len(range(0, length, stride)) == count:
                return list(range(0, length, stride))
        raise ValueError(f"{steps!r}: no integer stride takes {count} of {length} levels; choose another count, or {count} itself")
    counts = [_count(part, steps) for part in steps.split(",")] if isinstance(steps, str) else steps
    counts = [counts] if isinstance(counts, int) else list(counts)
    places: list[int] = []
    start = 0
    for i, count in enumerate(counts):
        size = length // len(counts) + (i < length % len(counts))
        if not 1 <= count <= size:
            raise ValueError(f"steps={steps!r}: {count} levels were asked of a section of {size}; ask for 1 to {size}")
        gap = (size - 1) / max(count - 1, 1)
        # Summed, not multiplied: where a multiple falls half-way, released models were sampled on these.
        places += [start + round(at) for at in accumulate([0.0, *[gap] * (count - 1)])]
        start += size
    return places


def _count(text: str, whole: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"steps={whole!r}: a number, counts such as '10,15,20', or 'ddim25' was needed")
    return int(text)
