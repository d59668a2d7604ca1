"""Tabulated: the discrete processes of DDPM and NCSN, as a linear SDE with N levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.linear import Level, LinearSDE, Rates
from sde_lib.tables import BETAS, geometric_sigmas, strided
from sde_lib.tensors import Time, as_time

__all__ = ["Tabulated", "ddpm", "ncsn", "require_table"]


@dataclass(frozen=True, repr=False)
class Tabulated(LinearSDE):
    """A process that exists at N times i/N, i = 1..N, where its log alpha and log sigma are a table.

    Grids and training times are snapped to the table (snap). A network trained on indices is given index(t): the place that the
    level had in the table as it was first written. The rates of the SDE and the flow are needed between the entries, too. There
    log alpha and log-SNR are cubics with continuous slopes, which rise and fall with the table; beyond its ends they are lines.

    Raises:
        ValueError: when there are fewer than two levels, or the noise does not grow from level to level.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 4; Song et al., 2021, arXiv 2011.13456, section 3; Hyman,
    1983, SIAM J. Sci. Stat. Comput. 4, 645 (monotone cubics).

    >>> sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000))
    >>> sde
    Tabulated(1000 levels, log-SNR 9.21 to -10.12)
    >>> sde.index(sde.snap(torch.tensor([0.0, 0.3137, 1.0]))), sde.respace("ddim25")
    (tensor([  0, 313, 999]), Tabulated(25 levels, log-SNR 9.21 to -9.34))
    """

    log_alphas: tuple[float, ...]
    log_sigmas: tuple[float, ...]
    indices: tuple[int, ...]
    full_length: int  # of the table that the indices are places in
    has_table: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not len(self.log_alphas) == len(self.log_sigmas) == len(self.indices) >= 2:
            raise ValueError(f"a table of {len(self.log_alphas)} levels: at least two are needed, each with alpha, sigma and index")
        log_alphas, log_sigmas = (torch.tensor(table, dtype=torch.float64) for table in (self.log_alphas, self.log_sigmas))
        steps = (log_alphas - log_sigmas).diff()
        if not bool(((steps < 0) & steps.isfinite()).all()):
            raise ValueError(f"{self!r}: the log-SNR must be finite and fall strictly from each level to the next")
        super().__post_init__()

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> Tabulated:
        """DDPM's table: alpha_i^2 = prod_{j <= i} (1 - beta_j), sigma_i^2 = 1 - alpha_i^2; betas (N,), each in (0, 1).

        Index 0 is the least noise. sde_lib.tables has the betas of the papers.

        Raises:
            ValueError: when there are fewer than two betas, or one is outside (0, 1).
        """
        table = torch.as_tensor(betas, dtype=torch.float64)
        if table.ndim != 1 or len(table) < 2 or not bool(((table > 0) & (table < 1)).all()):
            ends = f" between {table.min():g} and {table.max():g}" if table.numel() else ""
            raise ValueError(
                f"betas of shape {tuple(table.shape)}{ends}: a table (N,) of at least two values inside (0, 1) is needed"
            )
        log_alpha2 = torch.log1p(-table).cumsum(0)
        log_sigma2 = torch.log(-torch.expm1(log_alpha2))
        n = len(table)
        return cls(tuple((0.5 * log_alpha2).tolist()), tuple((0.5 * log_sigma2).tolist()), tuple(range(n)), n, t_min=1 / n)

    @classmethod
    def from_sigmas(cls, sigmas: Tensor | Sequence[float]) -> Tabulated:
        """NCSN's table: alpha = 1 and the given sigmas (N,), positive and strictly monotone, in either order.

        index(t) is the place of a sigma in the table as given: 0 is the most noise when they fall, as NCSN's do.

        Raises:
            ValueError: when there are fewer than two sigmas, one is not positive, or they are not monotone.
        """
        table = torch.as_tensor(sigmas, dtype=torch.float64)
        steps = table.diff() if table.ndim == 1 else table
        if table.ndim != 1 or len(table) < 2 or bool((table <= 0).any()) or not bool((steps > 0).all() or (steps < 0).all()):
            raise ValueError(
                f"sigmas of shape {tuple(table.shape)}: a table (N,) of at least two positive values, rising or falling, is needed"
            )
        n = len(table)
        falling = bool(steps[0] < 0)
        indices = tuple(range(n - 1, -1, -1)) if falling else tuple(range(n))
        log_sigmas = (table.flip(0) if falling else table).log()
        return cls((0.0,) * n, tuple(log_sigmas.tolist()), indices, n, t_min=1 / n)

    def respace(self, steps: int | str | Sequence[int]) -> Tabulated:
        """The process at some of its levels, on a clock of its own; index(t) still is the place in the full table.

        steps is a number of levels, evenly strided from the first to the last. "ddim25" is 25 levels at one integer stride.
        Counts such as "10,15,20" or (10, 15, 20) are of levels in equal sections of the table, the least noisy first.

        Raises:
            ValueError: when the table does not have the levels.

        Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, section 4; Song, Meng, Ermon, 2021, arXiv 2010.02502, section 4.2.
        """
        kept = strided(len(self.log_alphas), steps)
        log_alphas, log_sigmas = (tuple(table[i] for i in kept) for table in (self.log_alphas, self.log_sigmas))
        indices = tuple(self.indices[i] for i in kept)
        return Tabulated(log_alphas, log_sigmas, indices, self.full_length, t_min=1 / max(len(kept), 2))

    def __repr__(self) -> str:
        ends = [2 * (self.log_alphas[i] - self.log_sigmas[i]) for i in (0, -1)]
        return f"Tabulated({len(self.log_alphas)} levels, log-SNR {ends[0]:.2f} to {ends[1]:.2f})"

    @property
    def times(self) -> Tensor:
        """The N times i/N of the table, rising, float64."""
        n = len(self.log_alphas)
        return torch.arange(1, n + 1, dtype=torch.float64) / n

    def place(self, t: Time) -> Tensor:
        """Place of the level nearest to a time, 0..N-1, int64, shaped like t: 0 is the least noise."""
        n = len(self.log_alphas)
        return (torch.round(as_time(t) * n).long() - 1).clamp(0, n - 1)

    def index(self, t: Time) -> Tensor:
        """The index that a network trained on the full table is given: the level's place there, int64, shaped like t."""
        place = self.place(t)
        return self._indices.to(place.device)[place]

    def fractional_index(self, t: Time) -> Tensor:
        """index(t) at the table's times, and a smooth function between them: float64, shaped like t."""
        return self._interpolate(2, as_time(t))[0]

    def snap(self, t: Tensor) -> Tensor:
        """The table's time (place + 1) / N nearest to t."""
        return (self.place(t) + 1).to(torch.float64) / len(self.log_alphas)

    def time_at(self, u: Tensor, t_min: float) -> Tensor:
        """The level that a fraction u of those from t_min to T lies in: each as often as the others for u uniform on (0, 1)."""
        n, first = len(self.log_alphas), int(self.place(t_min))
        return (first + 1 + (u * (n - first)).floor().clamp_max(n - first - 1)).to(torch.float64) / n

    def before(self, t: Time) -> Level:
        """The level one place before a time. Before the first level come the data, alpha = 1 and sigma = 0."""
        place = self.place(t)
        first = place == 0
        level = self.at(place.clamp_min(1).to(torch.float64) / len(self.log_alphas))
        return Level(
            torch.where(first, 1.0, level.alpha), torch.where(first, 0.0, level.sigma), torch.where(first, torch.inf, level.log_snr)
        )

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha, cubic between the entries."""
        return self._interpolate(0, t)[0]

    def alpha(self, t: Tensor) -> Tensor:
        """exp(log_alpha(t))."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """exp of log alpha - log-SNR / 2, cubic between the entries."""
        return self._interpolate(1, t)[0].exp()

    def rates(self, t: Time) -> Rates:
        """f = (log alpha)', g^2 = 2 sigma^2 ((log sigma)' - f) = -sigma^2 (log-SNR)'."""
        t = as_time(t)
        (_, f), (log_sigma, slope) = self._interpolate(0, t), self._interpolate(1, t)
        return Rates(f, 2 * torch.exp(2 * log_sigma) * (slope - f))

    def _interpolate(self, which: int, t: Tensor) -> tuple[Tensor, Tensor]:
        """log alpha (0), log sigma (1) or the index (2) at a time, and its slope; at the table's times, the entries to the bit."""
        n = len(self.log_alphas)
        place, nearest = t * n - 1, torch.round(t.detach() * n)
        place = place + torch.where(nearest / n == t, nearest - 1 - place, 0.0).detach()  # (i / n) n may not be i in floats
        below = place.detach().floor().long().clamp(-1, n - 1)
        u, piece = place - below, below + 1
        a, b, c, d = (torch.take(row, piece) for row in self._pieces[which].to(t.device))
        return a + u * (b + u * (c + u * d)), (b + u * (2 * c + 3 * u * d)) * n

    @cached_property
    def _pieces(self) -> Tensor:
        """Coefficients of the powers 0..3 of the place within a piece, (3, 4, N + 1): a line, N - 1 cubics, a line."""
        tables = (self.log_alphas, self.log_sigmas, self.indices)
        values = torch.tensor(tables, dtype=torch.float64, device="cpu")  # scipy's, whatever torch's default device is
        log_alpha, log_sigma, index = values
        slope, half_fall, index_slope = (_slopes(table) for table in (log_alpha, log_alpha - log_sigma, index))
        slopes = torch.stack([slope, slope - half_fall, index_slope])
        low, high, step = slopes[:, :-1], slopes[:, 1:], values.diff()
        flat = torch.zeros_like(values[:, :1])
        cubics = [values[:, :-1], low, 3 * step - 2 * low - high, low + high - 2 * step]
        before = [values[:, :1] - slopes[:, :1], slopes[:, :1], flat, flat]
        after = [values[:, -1:], slopes[:, -1:], flat, flat]
        return torch.stack([torch.cat(parts, dim=1) for parts in zip(before, cubics, after, strict=True)], dim=1)

    @cached_property
    def _indices(self) -> Tensor:
        return torch.tensor(self.indices)


def require_table(sde: SDE, who: str, otherwise: str = "") -> Any:
    """The process, if it has a table. otherwise is what else the message offers.

    Raises:
        ValueError: when it has none.
    """
    if not sde.has_table:
        raise ValueError(
            f"{who} needs a process with a table of levels, and got {sde!r}: use Tabulated{otherwise and ', or '}{otherwise}"
        )
    return sde


def _slopes(table: Tensor) -> Tensor:
    """Slopes of the cubic spline through a table at its entries, limited so that each piece is monotone, (N,) to (N,).

    They are between 1/2 and 2 times the smaller of the steps on both sides, and 0 where the steps differ in sign. Then no piece
    turns back or has a flat place: 3 times would allow a turn, and 0 would be flat at the entry.
    """
    places, steps = np.arange(len(table)), table.diff()
    spline = torch.from_numpy(CubicSpline(places, table.numpy())(places, 1))
    left, right = torch.cat([steps[:1], steps]), torch.cat([steps, steps[-1:]])
    least = torch.where(left * right > 0, torch.minimum(left.abs(), right.abs()) * left.sign(), 0.0)
    return spline.clamp(torch.minimum(0.5 * least, 2 * least), torch.maximum(0.5 * least, 2 * least))


def ddpm(schedule: str = "linear", steps: int = 1000) -> Tabulated:
    """The table of DDPM and its successors: schedule is linear, quadratic, sigmoid or cosine.

    Raises:
        ValueError: when schedule is another word.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4; Nichol and Dhariwal, 2021, arXiv 2102.09672, section 3.2.

    >>> ddpm("cosine", steps=100)
    Tabulated(100 levels, log-SNR 7.37 to -15.23)
    """
    if schedule not in BETAS:
        raise ValueError(f"schedule {schedule!r} is not known: use one of {', '.join(map(repr, BETAS))}")
    return Tabulated.from_betas(BETAS[schedule](steps))


def ncsn(sigma_min: float = 0.01, sigma_max: float = 50.0, levels: int = 232) -> Tabulated:
    """The table of NCSN: geometric sigmas, counted from the largest. The defaults are NCSNv2's for CIFAR-10.

    Raises:
        ValueError: when 0 < sigma_min < sigma_max does not hold.

    Reference: Song and Ermon, 2019, arXiv 1907.05600, section 4.2; 2020, arXiv 2006.09011, table 3.

    >>> ncsn(0.01, 2.0, levels=10)
    Tabulated(10 levels, log-SNR 9.21 to -1.39)
    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"ncsn got sigma_min={sigma_min} and sigma_max={sigma_max}: 0 < sigma_min < sigma_max is needed")
    return Tabulated.from_sigmas(geometric_sigmas(sigma_min, sigma_max, levels))
