"""The N-step ancestors as processes on the same clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE, Rates
from sde_lib.tensors import Time, as_time

__all__ = ["Tabulated"]


@dataclass(frozen=True, repr=False)
class Tabulated(LinearSDE):
    """A process that exists at N times i/N, i = 1..N, where its log alpha and log sigma are a table.

    Grids and training times are snapped to the table (snap), and a network trained on indices is given index(t), 0 for the
    least noise. Between the entries, where only the rates of the SDE and the flow look, both logarithms are linear.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 4; Song et al., 2021, arXiv 2011.13456, section 3.

    >>> sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000))
    >>> sde
    Tabulated(1000 levels, log-SNR 9.21 to -10.12)
    >>> sde.index(sde.snap(torch.tensor([0.0, 0.3137, 1.0])))
    tensor([  0, 313, 999])
    """

    log_alphas: tuple[float, ...]
    log_sigmas: tuple[float, ...]

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> Tabulated:
        """DDPM's table: alpha_i^2 = prod_{j <= i} (1 - beta_j), sigma_i^2 = 1 - alpha_i^2; betas (N,), each in (0, 1)."""
        table = torch.as_tensor(betas, dtype=torch.float64)
        if table.ndim != 1 or len(table) < 2 or not bool(((table > 0) & (table < 1)).all()):
            raise ValueError(
                f"betas of shape {tuple(table.shape)} between {table.min():g} and {table.max():g}: "
                "a table (N,) of at least two values inside (0, 1) is needed"
            )
        log_alpha2 = torch.log1p(-table).cumsum(0)
        log_sigma2 = torch.log(-torch.expm1(log_alpha2))
        return cls(tuple((0.5 * log_alpha2).tolist()), tuple((0.5 * log_sigma2).tolist()), t_min=1 / len(table))

    def __repr__(self) -> str:
        ends = [2 * (self.log_alphas[i] - self.log_sigmas[i]) for i in (0, -1)]
        return f"Tabulated({len(self.log_alphas)} levels, log-SNR {ends[0]:.2f} to {ends[1]:.2f})"

    def index(self, t: Time) -> Tensor:
        """Place of a time in the table, 0..N-1, int64, shaped like t: 0 is the least noise."""
        n = len(self.log_alphas)
        return (torch.round(as_time(t) * n).long() - 1).clamp(0, n - 1)

    def snap(self, t: Tensor) -> Tensor:
        """The table's time (index + 1) / N nearest to t."""
        return (self.index(t) + 1).to(torch.float64) / len(self.log_alphas)

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha, linear between the entries."""
        return _interpolate(self._tables[0], t)[0]

    def alpha(self, t: Tensor) -> Tensor:
        """exp(log_alpha(t))."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """exp of log sigma, linear between the entries."""
        return _interpolate(self._tables[1], t)[0].exp()

    def rates(self, t: Time) -> Rates:
        """f = (log alpha)', g^2 = 2 sigma^2 ((log sigma)' - f)."""
        t = as_time(t)
        (_, f), (log_sigma, slope) = (_interpolate(table, t) for table in self._tables)
        return Rates(f, 2 * torch.exp(2 * log_sigma) * (slope - f))

    @cached_property
    def _tables(self) -> Tensor:
        return torch.tensor((self.log_alphas, self.log_sigmas), dtype=torch.float64)


def _interpolate(table: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The table at i/N = t, linear between the entries, and its slope."""
    table = table.to(t.device)
    place = t * len(table) - 1
    below = place.detach().floor().long().clamp(0, len(table) - 2)
    low, high = torch.take(table, below), torch.take(table, below + 1)
    return torch.lerp(low, high, place - below), (high - low) * len(table)
