"""The processes of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE, Rates
from sde_lib.schedules import LinearBeta, integral_of
from sde_lib.tensors import Time, as_time

__all__ = ["VESDE", "VPSDE", "GeometricVPSDE", "KarrasSDE", "RectifiedFlow", "SubVPSDE"]

Beta = Callable[[Tensor], Tensor]


@dataclass(frozen=True, init=False)
class _BetaSDE(LinearSDE):
    """What VP and sub-VP share: the schedule beta, its integral B, and alpha = exp(-B/2)."""

    beta: Any  # a function of t that may bring integral and inverse_integral

    def __init__(
        self,
        beta_min: float | None = None,
        beta_max: float | None = None,
        *,
        beta: Beta | None = None,
        T: float | None = None,
        t_min: float | None = None,
    ) -> None:
        if beta is not None and not (beta_min is None and beta_max is None):
            raise ValueError(f"{type(self).__name__} got a schedule beta and also beta_min or beta_max: give one or the other")
        if beta is None:
            beta = LinearBeta(0.1 if beta_min is None else beta_min, 20.0 if beta_max is None else beta_max)
        object.__setattr__(self, "beta", beta)
        object.__setattr__(self, "T", getattr(beta, "T", 1.0) if T is None else T)
        object.__setattr__(self, "t_min", type(self).t_min if t_min is None else t_min)
        self.__post_init__()

    def alpha(self, t: Tensor) -> Tensor:
        """exp(-B(t)/2)."""
        return self.log_alpha(t).exp()

    def log_alpha(self, t: Tensor) -> Tensor:
        """-B(t)/2."""
        return -0.5 * integral_of(self.beta, t)

    def _t_of_integral(self, B: Tensor) -> Tensor:
        return self.beta.inverse_integral(B).clamp(self.t_min, self.T)


@dataclass(frozen=True, init=False)
class VPSDE(_BetaSDE):
    """Variance preserving: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, alpha^2 + sigma^2 = 1.

    VPSDE(beta_min=0.1, beta_max=20.0) has a linear beta; VPSDE(beta=CosineBeta()), or any callable beta(t), another.
    Raises ValueError when a schedule is given together with beta_min or beta_max.

    Reference: Song et al., 2021, arXiv 2011.13456, equations 11 and 29 (the limit of DDPM, arXiv 2006.11239).

    >>> VPSDE().at(0.5).alpha
    tensor(0.2812, dtype=torch.float64)
    """

    clock_power = 2.0

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - exp(-B(t)))."""
        return torch.sqrt(-torch.expm1(-integral_of(self.beta, t)))

    def rates(self, t: Time) -> Rates:
        """f = -beta/2, g^2 = beta."""
        beta = self.beta(as_time(t))
        return Rates(-0.5 * beta, beta)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """B = log(1 + exp(-log_snr)), then the schedule's inverse."""
        if not hasattr(self.beta, "inverse_integral"):
            return super().t_of_log_snr(log_snr)
        return self._t_of_integral(torch.nn.functional.softplus(-as_time(log_snr), threshold=40))


@dataclass(frozen=True, init=False)
class SubVPSDE(_BetaSDE):  # type: ignore[misc]
    """sub-VP: the mean of VP and a smaller variance, sigma = 1 - exp(-B(t)), g^2 = beta (1 - exp(-2 B)).

    Takes what VPSDE takes. t_min is 1e-3: at 1e-5 sigma is 1e-6, below what a float32 state can hold.

    Reference: Song et al., 2021, arXiv 2011.13456, equations 12 and 29.

    >>> SubVPSDE().t_min
    0.001
    """

    t_min: float = 1e-3

    def sigma(self, t: Tensor) -> Tensor:
        """1 - exp(-B(t)), a standard deviation."""
        return -torch.expm1(-integral_of(self.beta, t))

    def rates(self, t: Time) -> Rates:
        """f = -beta/2, g^2 = beta (1 - exp(-2 B))."""
        t = as_time(t)
        beta = self.beta(t)
        return Rates(-0.5 * beta, -beta * torch.expm1(-2 * integral_of(self.beta, t)))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """exp(-log_snr/2) = 2 sinh(B/2), then the schedule's inverse."""
        if not hasattr(self.beta, "inverse_integral"):
            return super().t_of_log_snr(log_snr)
        return self._t_of_integral(2 * torch.asinh(0.5 * torch.exp(-0.5 * as_time(log_snr))))


@dataclass(frozen=True)
class VESDE(LinearSDE):
    """Variance exploding: dx = g dw with sigma(t) = sigma_min (sigma_max / sigma_min)^t, alpha = 1.

    sigma(0) is sigma_min, not 0: what the process calls x_0 is the data plus noise of standard deviation sigma_min.
    sigma_max should be about the largest distance between two data (arXiv 2006.09011, technique 1).

    Reference: Song et al., 2021, arXiv 2011.13456, equations 9 and 30 (the limit of NCSN, arXiv 1907.05600).

    >>> VESDE(sigma_max=100.0).at(1.0).sigma
    tensor(100.0000, dtype=torch.float64)
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_min (sigma_max / sigma_min)^t."""
        return self.sigma_min * torch.exp(t * self._log_ratio)

    def rates(self, t: Time) -> Rates:
        """f = 0, g^2 = 2 sigma^2 log(sigma_max / sigma_min)."""
        t = as_time(t)
        return Rates(torch.zeros_like(t), 2 * self._log_ratio * self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = (-log_snr/2 - log sigma_min) / log(sigma_max / sigma_min)."""
        t = (-0.5 * as_time(log_snr) - math.log(self.sigma_min)) / self._log_ratio
        return t.clamp(self.t_min, self.T)


@dataclass(frozen=True)
class GeometricVPSDE(LinearSDE):
    """Variance preserving, with a variance that grows geometrically: sigma^2 = variance_min (r^t - 1), alpha^2 = 1 - sigma^2.

    r = variance_max / variance_min; f = -g^2/2. Raises ValueError unless 0 < variance_min < variance_max <= 1.

    Reference: Vahdat, Kreis, Kautz, 2021, arXiv 2106.05931, appendix B (geometric VPSDE).

    >>> GeometricVPSDE().at(1.0).sigma
    tensor(0.9995, dtype=torch.float64)
    """

    variance_min: float = 3e-5
    variance_max: float = 0.999
    clock_power = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.variance_min < self.variance_max <= 1:
            raise ValueError(f"{self!r}: 0 < variance_min < variance_max <= 1 is needed")
        super().__post_init__()

    @property
    def _log_ratio(self) -> float:
        return math.log(self.variance_max / self.variance_min)

    def _variance(self, t: Tensor) -> Tensor:
        return self.variance_min * torch.expm1(t * self._log_ratio)

    def log_alpha(self, t: Tensor) -> Tensor:
        """log(1 - sigma^2) / 2."""
        return 0.5 * torch.log1p(-self._variance(t))

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(1 - sigma^2)."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(variance_min (r^t - 1))."""
        return self._variance(t).sqrt()

    def rates(self, t: Time) -> Rates:
        """f = -g^2/2, g^2 = variance_min r^t log r / (1 - sigma^2)."""
        t = as_time(t)
        g2 = self.variance_min * torch.exp(t * self._log_ratio) * self._log_ratio / (1 - self._variance(t))
        return Rates(-0.5 * g2, g2)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """sigma^2 = 1 / (1 + exp(log_snr)), then t = log(1 + sigma^2 / variance_min) / log r."""
        t = torch.log1p(torch.sigmoid(-as_time(log_snr)) / self.variance_min) / self._log_ratio
        return t.clamp(self.t_min, self.T)


@dataclass(frozen=True)
class KarrasSDE(LinearSDE):
    """Variance exploding with time itself as the noise: sigma(t) = t, alpha = 1, on [0.002, 80].

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, section 3 and table 1.

    >>> KarrasSDE().at(3.0).sigma
    tensor(3., dtype=torch.float64)
    """

    T: float = 80.0
    t_min: float = 2e-3

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def rates(self, t: Time) -> Rates:
        """f = 0, g^2 = 2 t."""
        t = as_time(t)
        return Rates(torch.zeros_like(t), 2 * t)

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = exp(-log_snr/2)."""
        return torch.exp(-0.5 * as_time(log_snr)).clamp(self.t_min, self.T)


@dataclass(frozen=True)
class RectifiedFlow(LinearSDE):
    """The straight path x_t = (1 - t) x0 + t eps, also called the optimal-transport path; time runs from data to noise.

    alpha(1) = 0, where the score says nothing of x0, so that T is 0.999. For a network that predicts the velocity
    dx/dt = eps - x0 use the parameterization Velocity(). Papers that run time from noise to data have 1 - t.

    Reference: Liu, Gong, Liu, 2023, arXiv 2209.03003, equation 1; Lipman et al., 2023, arXiv 2210.02747, equation 20.

    >>> RectifiedFlow().at(0.25).alpha
    tensor(0.7500, dtype=torch.float64)
    """

    T: float = 0.999

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def log_alpha(self, t: Tensor) -> Tensor:
        """log(1 - t)."""
        return torch.log1p(-t)

    def sigma(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def rates(self, t: Time) -> Rates:
        """f = -1 / (1 - t), g^2 = 2 t / (1 - t)."""
        t = as_time(t)
        return Rates(-1 / (1 - t), 2 * t / (1 - t))

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """t = 1 / (1 + exp(log_snr/2))."""
        return torch.sigmoid(-0.5 * as_time(log_snr)).clamp(self.t_min, self.T)
