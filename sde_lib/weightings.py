"""Weightings lambda(t) of the squared error of the score in denoising score matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.fields import check_numbers
from sde_lib.linear import LinearSDE, posterior_coefficients
from sde_lib.tabulated import require_table
from sde_lib.training_times import LogNormalTime

__all__ = ["WEIGHTINGS", "EDMWeighting", "MinSNR", "Weighting", "weighting_of"]

Weighting = Callable[[LinearSDE, Tensor], Tensor]


def _previous(sde: LinearSDE, t: Tensor) -> Tensor:
    level = sde.at(t)
    _, of_x0, _ = posterior_coefficients(level, require_table(sde, "weighting 'previous'").before(t))
    return (of_x0 * level.sigma**2 / level.alpha) ** 2


def _v(sde: LinearSDE, t: Tensor) -> Tensor:
    alpha, sigma, _ = sde.at(t)
    return (sigma * (alpha**2 + sigma**2) / alpha) ** 2


@dataclass(frozen=True)
class MinSNR:
    """lambda = sigma^2 min(1, gamma / SNR): the squared error of x0 with weights SNR, but no more than gamma.

    Raises:
        ValueError: when gamma is not positive.

    Reference: Hang, Gu, Li, Bao, Chen, Hu, Geng, Guo, 2023, arXiv 2303.09556, equation 8.

    >>> from sde_lib import VPSDE
    >>> MinSNR(gamma=5.0)(VPSDE(), torch.tensor([1.0], dtype=torch.float64))
    tensor([1.0000], dtype=torch.float64)
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.gamma <= 0:
            raise ValueError(f"{self!r}: gamma must be positive")

    def __call__(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """lambda(t), shaped like t."""
        _, sigma, log_snr = sde.at(t)
        return sigma**2 * (self.gamma * torch.exp(-log_snr)).clamp_max(1.0)


@dataclass(frozen=True)
class EDMWeighting:
    """EDM's weight (s^2 + sd^2) / (s sd)^2 on the squared error of x0, s = sigma / alpha and sd = sigma_data.

    EDM's training times have log s ~ N(mean, std^2), and lambda contains their density. With times=LogNormalTime(mean, std) the
    density cancels, and the loss is EDM's over T - t_min.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, table 1.

    >>> from sde_lib import KarrasSDE
    >>> EDMWeighting()(KarrasSDE(), torch.tensor([0.5], dtype=torch.float64)).shape
    torch.Size([1])
    """

    sigma_data: float = 0.5
    mean: float = -1.2
    std: float = 1.2

    def __call__(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """lambda(t), shaped like t."""
        alpha, sigma, _ = sde.at(t)
        s = sigma / alpha
        of_x0 = (s**2 + self.sigma_data**2) / (s * self.sigma_data) ** 2
        # The error of x0 is sigma^2 / alpha times that of the score.
        return of_x0 * (sigma * s) ** 2 * LogNormalTime(self.mean, self.std).density(sde, t)


WEIGHTINGS: dict[str, Weighting] = {
    "sigma2": lambda sde, t: sde.at(t).sigma ** 2,
    "likelihood": lambda sde, t: sde.rates(t).g2,
    "x0": lambda sde, t: (sde.at(t).sigma ** 2 / sde.at(t).alpha) ** 2,
    "v": _v,
    "previous": _previous,
    "min_snr": MinSNR(),
    "edm": EDMWeighting(),
}
"""By name: sigma2, x0, v and previous are the squared errors of eps, x0, v and the previous mean as they are; likelihood is g^2."""


def weighting_of(given: str | Weighting) -> Weighting:
    """The weighting of a name, or the given one.

    Raises:
        ValueError: when the name is not known.
    """
    if callable(given):
        return given
    if given not in WEIGHTINGS:
        raise ValueError(f"weighting {given!r} is not known: use one of {', '.join(map(repr, WEIGHTINGS))}")
    return WEIGHTINGS[given]
