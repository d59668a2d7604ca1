"""Laws of the training times, and their densities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sde_lib.fields import check_numbers
from sde_lib.linear import LinearSDE
from sde_lib.tensors import as_time

__all__ = ["ImportanceTime", "LogNormalTime", "LossAwareTime", "LowDiscrepancy", "TimeLaw", "UniformTime"]


class TimeLaw(Protocol):
    """A law of training times: sample carries u in (0, 1), shape (B,), to times; weight is the uniform density over the law's."""

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor: ...  # noqa: D102
    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor: ...  # noqa: D102


def _require_continuous(law: object, sde: LinearSDE) -> None:
    if sde.has_table:
        raise ValueError(f"{law!r} has a density, and {sde!r} has levels: use UniformTime or LossAwareTime")


@dataclass(frozen=True)
class UniformTime:
    """Times uniform on [t_min, T]; on a table, all its levels from t_min on alike.

    Reference: Song et al., 2021, arXiv 2011.13456, equation 7; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, Algorithm 1.

    >>> from sde_lib import VPSDE
    >>> UniformTime().sample(VPSDE(), torch.tensor([0.5]))
    tensor([0.5000], dtype=torch.float64)
    """

    t_min: float | None = None

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """t_min + u (T - t_min), or its like on a table."""
        return sde.time_at(as_time(u), sde.valid_t_min(self.t_min))

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))


@dataclass(frozen=True)
class ImportanceTime:
    """Times in proportion to g^2 / sigma^2, that is, uniform in log-SNR, since d(log-SNR)/dt = -g^2 / sigma^2.

    With the likelihood weighting every time then weighs the same, and the loss has the least variance.

    Raises:
        ValueError: when the process is a table, which has no density of times.

    Reference: Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258, section 5 and appendix A.

    >>> from sde_lib import VESDE
    >>> ImportanceTime().sample(VESDE(), torch.tensor([0.5]))
    tensor([0.5000], dtype=torch.float64)
    """

    t_min: float | None = None

    def _ends(self, sde: LinearSDE) -> tuple[Tensor, Tensor]:
        return sde.at(sde.valid_t_min(self.t_min)).log_snr, sde.at(sde.T).log_snr

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """The time whose log-SNR is a fraction u of the way down."""
        _require_continuous(self, sde)
        high, low = self._ends(sde)
        return sde.t_of_log_snr(high + as_time(u) * (low - high))

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """sigma^2 Z / (g^2 (T - t_min)), Z = log-SNR(t_min) - log-SNR(T)."""
        high, low = self._ends(sde)
        return sde.at(t).sigma ** 2 * (high - low) / (sde.rates(t).g2 * (sde.T - sde.valid_t_min(self.t_min)))


@dataclass(frozen=True)
class LogNormalTime:
    """Times at which log(sigma / alpha) is normal, cut to the process's interval.

    Raises:
        ValueError: when std is not positive, or the process is a table.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, table 1 (P_mean, P_std).

    >>> from sde_lib import KarrasSDE
    >>> LogNormalTime().sample(KarrasSDE(), torch.tensor([0.5])).log()
    tensor([-1.2000], dtype=torch.float64)
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.std <= 0:
            raise ValueError(f"{self!r}: std must be positive")

    def _normal(self, sde: LinearSDE, t: float | Tensor) -> Tensor:
        return (-0.5 * sde.at(t).log_snr - self.mean) / self.std

    def _mass(self, sde: LinearSDE) -> tuple[Tensor, Tensor]:
        low, high = (torch.special.ndtr(self._normal(sde, t)) for t in (sde.t_min, sde.T))
        return low, high

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """The time at which log(sigma / alpha) is the u-th quantile."""
        _require_continuous(self, sde)
        low, high = self._mass(sde)
        return sde.t_of_log_snr(-2 * (self.mean + self.std * torch.special.ndtri(low + as_time(u) * (high - low))))

    def density(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """Density of the time: the normal one times d log(sigma / alpha)/dt = g^2 / (2 sigma^2)."""
        low, high = self._mass(sde)
        normal = torch.exp(-0.5 * self._normal(sde, t) ** 2) / (self.std * math.sqrt(2 * math.pi) * (high - low))
        return normal * sde.rates(t).g2 / (2 * sde.at(t).sigma ** 2)

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """1 / ((T - t_min) density)."""
        return 1 / ((sde.T - sde.t_min) * self.density(sde, t))


@dataclass(frozen=True)
class LowDiscrepancy:
    """Another law of times, with the batch's u spread evenly: u_i = (u_0 + i/B) mod 1. Less noise, the same mean.

    Reference: Kingma, Salimans, Poole, Ho, 2021, arXiv 2107.00630, appendix I.1.

    >>> from sde_lib import VPSDE
    >>> LowDiscrepancy().sample(VPSDE(), torch.tensor([0.3, 0.9]))
    tensor([0.3000, 0.8000], dtype=torch.float64)
    """

    of: TimeLaw = UniformTime()

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """The other law's times at u_0, u_0 + 1/B, ..."""
        u = as_time(u)
        return self.of.sample(sde, (u[0] + torch.arange(len(u), device=u.device) / len(u)) % 1)

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """The weight of the other law."""
        return self.of.weight(sde, t)


class LossAwareTime(nn.Module):
    """Levels of a table in proportion to sqrt(E[loss^2]) of the last losses seen there, and uniform until each has been seen.

    p_i = (1 - uniform) p'_i + uniform / N. observe is told each batch's losses. The memory is in buffers, and saved with them.

    Raises:
        ValueError: when levels, history or uniform is out of range.
        ValueError: when the process is not a table of this many levels.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, equation 18.

    >>> from sde_lib import Tabulated
    >>> law = LossAwareTime(levels=2, history=1, uniform=0.0)
    >>> law.observe(Tabulated.from_betas([0.1, 0.2]), torch.tensor([0.5, 1.0]), torch.tensor([1.0, 3.0]))
    >>> law.probabilities()
    tensor([0.2500, 0.7500], dtype=torch.float64)
    """

    losses: Tensor
    seen: Tensor

    def __init__(self, levels: int = 1000, history: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        if levels < 2 or history < 1 or not 0 <= uniform <= 1:
            raise ValueError(
                f"LossAwareTime({levels}, {history}, {uniform}): levels >= 2, history >= 1, 0 <= uniform <= 1 are needed"
            )
        self.uniform = uniform
        self.register_buffer("losses", torch.zeros(levels, history, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(levels, dtype=torch.long))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"levels={self.losses.shape[0]}, history={self.losses.shape[1]}, uniform={self.uniform}"

    def probabilities(self) -> Tensor:
        """p_i, (N,), float64."""
        levels, history = self.losses.shape
        size = (self.losses**2).mean(1).sqrt()
        ready = (self.seen >= history).all() & (size.sum() > 0)
        size = torch.where(ready, size, torch.ones_like(size))
        return (1 - self.uniform) * size / size.sum() + self.uniform / levels

    def _place(self, sde: LinearSDE, t: Tensor) -> Tensor:
        levels = len(self.losses)
        if not sde.has_table or len(sde.log_alphas) != levels:  # type: ignore[attr-defined]
            raise ValueError(f"{self!r} met {sde!r}: a table of {levels} levels is needed; use Tabulated, or set levels")
        return sde.place(t)  # type: ignore[attr-defined]

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """The level in whose share of (0, 1) u falls."""
        self._place(sde, torch.ones(1, dtype=torch.float64))
        levels = len(self.losses)
        place = torch.searchsorted(self.probabilities().cumsum(0), as_time(u).contiguous(), right=True).clamp_max(levels - 1)
        return (place + 1).to(torch.float64) / levels

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """1 / (N p)."""
        return 1 / (len(self.losses) * self.probabilities()[self._place(sde, t)])

    @torch.no_grad()
    def observe(self, sde: LinearSDE, t: Tensor, loss: Tensor) -> None:
        """Keep losses (B,) at times (B,), unweighted, in the order of the batch; the oldest of a level are dropped.

        A loss that is not finite is not kept, since it would make every later time NaN.
        """
        finite = loss.isfinite()
        place, loss = self._place(sde, t)[finite], loss[finite]
        levels, history = self.losses.shape
        count = torch.bincount(place, minlength=levels)
        shifted = torch.arange(history, device=place.device) + count[:, None]
        kept = torch.where(shifted < history, self.losses.gather(1, shifted.clamp_max(history - 1)), 0.0)
        later = (place[:, None] == place).triu(1).sum(1)  # rows of the batch that come after at the same level
        recent = later < history
        kept[place[recent], history - 1 - later[recent]] = loss.double()[recent]
        self.losses.copy_(kept)
        self.seen.copy_((self.seen + count).clamp_max(history))
