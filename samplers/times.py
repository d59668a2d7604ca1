"""Grids: the decreasing times that a sampler visits, from T to t_min."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.linear import LinearSDE

__all__ = ["Grid", "LogSNR", "Quadratic", "Uniform"]


@dataclass(frozen=True)
class Grid(ABC):
    """steps + 1 times from sde.T down to t_min (the process's own unless given), ends included.

    A process with a table of times moves each to the nearest it has, and times that fall together become one.
    """

    steps: int
    t_min: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self!r}: at least one step is needed")

    @abstractmethod
    def between(self, sde: SDE, t_min: float, u: Tensor) -> Tensor:
        """Times for u in [0, 1], 0 at T and 1 at t_min."""

    def __call__(self, sde: SDE) -> Tensor:
        """The grid for a process, float64, on the CPU. Raises ValueError when t_min is not inside (0, T)."""
        t_min = sde.valid_t_min(self.t_min)
        times = self.between(sde, t_min, torch.linspace(0, 1, self.steps + 1, dtype=torch.float64))
        times[0], times[-1] = sde.T, t_min
        return torch.unique_consecutive(sde.snap(times))


@dataclass(frozen=True)
class Uniform(Grid):
    """Steps of equal length in t. Reference: Song et al., 2021, arXiv 2011.13456, appendix G.

    >>> from sde_lib import VPSDE
    >>> Uniform(2, t_min=0.5)(VPSDE())
    tensor([1.0000, 0.7500, 0.5000], dtype=torch.float64)
    """

    steps: int = 1000

    def between(self, sde: SDE, t_min: float, u: Tensor) -> Tensor:
        """T + u (t_min - T)."""
        return torch.lerp(torch.tensor(sde.T, dtype=u.dtype), torch.tensor(t_min, dtype=u.dtype), u)


@dataclass(frozen=True)
class Quadratic(Grid):
    """Steps of equal length in sqrt(t): finer near the data. Reference: Song, Meng, Ermon, 2021, arXiv 2010.02502, appendix D.2.

    >>> from sde_lib import VPSDE
    >>> Quadratic(2, t_min=0.25)(VPSDE())
    tensor([1.0000, 0.5625, 0.2500], dtype=torch.float64)
    """

    def between(self, sde: SDE, t_min: float, u: Tensor) -> Tensor:
        """(sqrt(T) + u (sqrt(t_min) - sqrt(T)))^2."""
        return (sde.T**0.5 + u * (t_min**0.5 - sde.T**0.5)) ** 2


@dataclass(frozen=True)
class LogSNR(Grid):
    """Steps of equal length in log-SNR. Reference: Lu et al., 2022, arXiv 2206.00927, section 3.

    >>> from sde_lib import VESDE
    >>> LogSNR(2, t_min=0.5)(VESDE())
    tensor([1.0000, 0.7500, 0.5000], dtype=torch.float64)
    """

    def between(self, sde: SDE, t_min: float, u: Tensor) -> Tensor:
        """The times whose log-SNR is evenly spaced. Raises TypeError for a process without a log-SNR."""
        if not isinstance(sde, LinearSDE):
            raise TypeError(f"LogSNR needs a LinearSDE, and got {sde!r}: use Uniform")
        low, high = sde.at(sde.T).log_snr, sde.at(t_min).log_snr
        return sde.t_of_log_snr(low + u * (high - low))
