"""Grids: the decreasing times that a sampler visits, from T to t_min."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.linear import LinearSDE
from sde_lib.tables import strided
from sde_lib.tabulated import require_table
from sde_lib.tensors import as_time

__all__ = ["From", "Grid", "Karras", "LogSNR", "Quadratic", "Respaced", "Table", "Uniform", "times_of"]


@dataclass(frozen=True)
class Grid(ABC):
    """steps + 1 times from sde.T down to t_min (the process's own unless given), ends included.

    A process with a table of times moves each to the nearest it has, and times that fall together become one. Subclasses are
    frozen dataclasses with one method to write: between. requires is the kind of process that the grid can serve.

    Raises:
        ValueError: when steps is below 1, and, for a process, when t_min is not inside (0, T).
        TypeError: when the process is not of the kind that the grid requires.
    """

    steps: int
    t_min: float | None = None
    requires: ClassVar[type[SDE]] = SDE

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self!r}: at least one step is needed")

    @abstractmethod
    def between(self, sde: Any, t_min: float, u: Tensor) -> Tensor:
        """Times for u in [0, 1], 0 at T and 1 at t_min."""

    def __call__(self, sde: SDE) -> Tensor:
        """The grid for a process, float64, on the CPU."""
        if not isinstance(sde, self.requires):
            raise TypeError(f"{type(self).__name__} needs a {self.requires.__name__}, and got {sde!r}: use Uniform")
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

    requires = LinearSDE

    def between(self, sde: LinearSDE, t_min: float, u: Tensor) -> Tensor:
        """The times whose log-SNR is evenly spaced."""
        low, high = _ends(sde, t_min)
        return sde.t_of_log_snr(low + u * (high - low))


@dataclass(frozen=True)
class Karras(Grid):
    """Steps of equal length in (sigma/alpha)^(1/rho): EDM's. rho = 1 is uniform in sigma/alpha; the larger, the nearer to LogSNR.

    The paper's N values of sigma are steps = N - 1, and its last step, to 0, is Sampler(..., last="denoise").

    Raises:
        ValueError: when rho is not positive.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, equation 5.

    >>> from sde_lib import KarrasSDE
    >>> Karras(2, rho=1.0)(KarrasSDE())
    tensor([8.0000e+01, 4.0001e+01, 2.0000e-03], dtype=torch.float64)
    """

    rho: float = 7.0
    requires = LinearSDE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rho <= 0:
            raise ValueError(f"{self!r}: a positive rho is needed")

    def between(self, sde: LinearSDE, t_min: float, u: Tensor) -> Tensor:
        """The times whose (sigma/alpha)^(1/rho) is evenly spaced."""
        first, last = (torch.exp(-0.5 * end / self.rho) for end in _ends(sde, t_min))
        return sde.t_of_log_snr(-2 * self.rho * torch.log(first + u * (last - first)))


def _ends(sde: LinearSDE, t_min: float) -> tuple[Tensor, Tensor]:
    """The log-SNR at T and at t_min."""
    return sde.at(sde.T).log_snr, sde.at(t_min).log_snr


@dataclass(frozen=True)
class Table:
    """Every time that a process with a table has, from T down to t_min.

    Raises:
        TypeError: when the process has no table.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, Algorithm 2; Song and Ermon, 2019, arXiv 1907.05600, Algorithm 1.

    >>> from sde_lib import Tabulated
    >>> Table()(Tabulated.from_betas([0.1, 0.2, 0.3, 0.4]))
    tensor([1.0000, 0.7500, 0.5000, 0.2500], dtype=torch.float64)
    """

    t_min: float | None = None

    def __call__(self, sde: SDE) -> Tensor:
        """The grid, float64, on the CPU."""
        return _kept(self, sde, self.t_min)


@dataclass(frozen=True)
class Respaced:
    """Some of the times of a process with a table, as Tabulated.respace chooses them: "ddim25", "10,15,20" or a number of levels.

    The grid ends at the least noisy level, and begins with the noisiest one that is kept. The strides of "ddim" leave T out, and
    the prior is taken at the first time that is left.

    Raises:
        TypeError: when the process has no table.
        ValueError: when the table does not have the levels.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, section 4; Song, Meng, Ermon, 2021, arXiv 2010.02502, section 4.2.

    >>> from sde_lib import Tabulated
    >>> Respaced("ddim2")(Tabulated.from_betas([0.1, 0.2, 0.3, 0.4]))
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    levels: int | str | Sequence[int]

    def __call__(self, sde: SDE) -> Tensor:
        """The grid, float64, on the CPU."""
        table = _kept(self, sde, None).flip(0)
        return table[torch.tensor(strided(len(table), self.levels))].flip(0)


@dataclass(frozen=True)
class From:
    """The times of another grid that are left from t on: for a state that is at t already, given as x_T.

    The first is the one nearest to t, From(t, grid)(sde)[0].

    Raises:
        ValueError: when the time nearest to t is the last of the grid.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, figures 7 and 8 (what it serves).

    >>> from sde_lib import VPSDE
    >>> From(0.6, Uniform(4, t_min=0.2))(VPSDE())
    tensor([0.6000, 0.4000, 0.2000], dtype=torch.float64)
    """

    t: float
    times: Callable[[SDE], Tensor]

    def __call__(self, sde: SDE) -> Tensor:
        """The times, float64, on the CPU."""
        times = times_of(self.times, sde)
        rest = times[int((times - self.t).abs().argmin()) :]
        if len(rest) < 2:
            raise ValueError(f"{self!r} leaves no step: a t nearer to T than to the grid's end, {times[-1].item():.4g}, is needed")
        return rest


def times_of(times: Callable[[SDE], Tensor], sde: SDE) -> Tensor:
    """The times that a grid gives for a process, float64, on the CPU: falling, from T or below, to 0 or above.

    Two equal times are a step that leads nowhere. Times that were rounded to float32 may lie above T by that much.

    Raises:
        ValueError: when the times are no list of finite numbers, rise, or leave [0, T].
    """
    grid = as_time(times(sde)).cpu()
    what = ""
    if grid.ndim != 1 or len(grid) < 1:
        what = f"has shape {tuple(grid.shape)}"
    elif not bool(grid.isfinite().all()):
        what = f"has {int((~grid.isfinite()).sum())} times that are NaN or infinite"
    elif bool((grid.diff() > 0).any()):
        i = int((grid.diff() > 0).nonzero()[0])
        what = f"rises from {grid[i]:.6g} to {grid[i + 1]:.6g}"
    elif grid[0] > sde.T * (1 + 1e-6) or grid[-1] < 0:
        what = f"goes from {grid[0]:.6g} to {grid[-1]:.6g}"
    if what:
        raise ValueError(
            f"the grid {times!r} {what}, and falling times between T = {sde.T:.6g} and 0 were needed: "
            "sort them with times.sort(descending=True).values, or use a grid of this package, such as Uniform(100)"
        )
    return grid


def _kept(grid: object, sde: SDE, t_min: float | None) -> Tensor:
    """The times of a table from T down to t_min."""
    times = require_table(sde, repr(grid), otherwise="the grids Uniform or LogSNR").times
    least = sde.snap(torch.tensor(sde.valid_t_min(t_min), dtype=torch.float64))
    return times[times >= least].flip(0)
