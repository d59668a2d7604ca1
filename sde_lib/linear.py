"""LinearSDE: a diffusion process that two functions of time, alpha and sigma, define.

The theory in short, S for arXiv 2011.13456 (Song et al.) and K for arXiv 2107.00630 (Kingma et al.).

The SDE. From t = 0 to T it turns data x_0 into noise. w is a Wiener process (S, equation 5, with a drift linear in x):
    dx = f(t) x dt + g(t) dw

The kernel. Since the SDE is linear, x_t given x_0 is Gaussian (S, equation 29; K, equation 1):
    x_t = alpha(t) x_0 + sigma(t) eps,    eps ~ N(0, I),    alpha(0) = 1
Its mean obeys alpha' = f alpha, and its variance (sigma^2)' = 2 f sigma^2 + g^2. So alpha and sigma define the SDE:
    f = alpha' / alpha,    g^2 = (sigma^2)' - 2 f sigma^2
VE has alpha = 1, and VP has alpha^2 + sigma^2 = 1.

Log-SNR. log-SNR(t) = log(alpha^2 / sigma^2) falls from data to noise (K, equation 2), at the rate
    d log-SNR / dt = -g^2 / sigma^2
It is the natural clock: two processes at one log-SNR have the same states up to a factor (K, section 5.1).

Transition and posterior, s < t and r = SNR(t) / SNR(s) (K, appendix A; Ho et al., arXiv 2006.11239, equations 6 and 7):
    x_t given x_s:        N(a x_s, sigma_t^2 (1 - r)),    a = alpha_t / alpha_s
    x_s given x_t, x_0:   N(r x_t / a + alpha_s (1 - r) x_0, sigma_s^2 (1 - r))

The reverse SDE. With score(x, t) = grad log p_t(x), this SDE has the same laws p_t and runs from noise to data (S, equation 6):
    dx = [f x - g^2 score(x, t)] dt + g dw,    backward in time

The probability flow. This ODE has them, too. It has no noise, and gives latents and densities (S, equations 13 and 39):
    dx/dt = f x - g^2 score(x, t) / 2

The score follows from a prediction of the noise or of the data:
    score(x_t, t) = -E[eps | x_t] / sigma = (alpha E[x_0 | x_t] - x_t) / sigma^2
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.fields import check_numbers
from sde_lib.gaussian import Gaussian
from sde_lib.grid_cache import cached_at, cached_step
from sde_lib.tensors import Time, as_time, expand, sum_over_state

__all__ = ["Level", "LinearSDE", "Rates", "posterior_coefficients"]


class Level(NamedTuple):
    """The signal and the noise of a state, shaped like t: x = alpha x0 + sigma eps, log_snr = log(alpha^2 / sigma^2)."""

    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor


def posterior_coefficients(level_t: Level, level_s: Level) -> tuple[Tensor, Tensor, Tensor]:
    """The coefficients of x_t, x0 and z in x_s given x_t and x0, s < t; each is shaped like the levels.

    With r = SNR_t / SNR_s: r alpha_s / alpha_t, alpha_s (1 - r) and sigma_s sqrt(1 - r).

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equations 6 and 7.
    """
    log_r = level_t.log_snr - level_s.log_snr
    rest = -torch.expm1(log_r)
    return log_r.exp() * level_s.alpha / level_t.alpha, level_s.alpha * rest, level_s.sigma * rest.sqrt()


class Rates(NamedTuple):
    """The coefficients of dx = f x dt + sqrt(g2) dw, shaped like t."""

    f: Tensor
    g2: Tensor


@dataclass(frozen=True, kw_only=True)
class LinearSDE(SDE):
    """A process whose kernel is N(alpha(t) x0, sigma(t)^2), given by these two functions.

    A subclass writes alpha and sigma with torch operations on a float64 tensor t, and has everything else: f = alpha' / alpha and
    g^2 = (sigma^2)' - 2 f sigma^2 come from forward-mode differentiation.

    Raises:
        ValueError: when 0 < t_min < T does not hold.
        ValueError: when the log-SNR does not strictly decrease from t_min to T.

    Reference: Kingma, Salimans, Poole, Ho, 2021, arXiv 2107.00630, section 3 (alpha, sigma, SNR).

    >>> class Sine(LinearSDE):
    ...     def alpha(self, t): return torch.cos(1.5 * t)
    ...     def sigma(self, t): return torch.sin(1.5 * t)
    >>> Sine().rates(0.5).g2
    tensor(2.7948, dtype=torch.float64)
    """

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 < self.t_min < self.T:
            raise ValueError(f"{type(self).__name__} got t_min={self.t_min} and T={self.T}: 0 < t_min < T is needed")
        log_snr = self.at(torch.linspace(self.t_min, self.T, 257, dtype=torch.float64)).log_snr
        if not bool((log_snr.diff() < 0).all() and log_snr.isfinite().all()):
            raise ValueError(
                f"the log-SNR of {self!r} is not finite and strictly decreasing on [t_min, T]: "
                "alpha must fall, or sigma grow, at every time; check both, or move t_min and T"
            )

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the data in x_t, shaped like t, in (0, 1] for shipped processes."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise in x_t, shaped like t, positive."""

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha(t). A process whose alpha underflows overrides it."""
        return self.alpha(t).log()

    def at(self, t: Time) -> Level:
        """Signal, noise and log-SNR at a time; never differentiates."""
        return cached_at(self, self._level, as_time(t))

    def _level(self, t: Tensor) -> Level:
        log_alpha, sigma = self.log_alpha(t), self.sigma(t)
        return Level(log_alpha.exp(), sigma, 2 * (log_alpha - sigma.log()))

    def rates(self, t: Time) -> Rates:
        """f = alpha' / alpha and g^2 = (sigma^2)' - 2 f sigma^2 at a time."""
        t = as_time(t)
        f = _with_slope(self.log_alpha, t)[1]
        sigma, sigma_slope = _with_slope(self.sigma, t)
        return Rates(f, 2 * sigma * (sigma_slope - f * sigma))

    def path_slopes(self, t: Time) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t): the velocity of the path x = alpha x0 + sigma eps is alpha' x0 + sigma' eps."""
        t = as_time(t)
        return _with_slope(self.alpha, t)[1], _with_slope(self.sigma, t)[1]

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The time in [t_min, T] at which the log-SNR is the given one (clamped to the ends), by bisection."""
        low = torch.full_like(log_snr, self.t_min, dtype=torch.float64)
        high = torch.full_like(low, self.T)
        for _ in range(60):
            middle = 0.5 * (low + high)
            earlier = self.at(middle).log_snr < log_snr
            low, high = torch.where(earlier, low, middle), torch.where(earlier, middle, high)
        return 0.5 * (low + high)

    def between(self, t: Tensor, s: Tensor, fraction: float, power: float = 0.0) -> Tensor:
        """The time a fraction of the way from t to s, in log-SNR or, with a power, in (sigma/alpha)^power.

        A table gives the nearest time it has, and s where that is t itself.
        """
        return cached_step(self, LinearSDE._between, t, s, fraction, power)

    def _between(self, t: Tensor, s: Tensor, fraction: float, power: float) -> Tensor:
        start, end = self.at(t).log_snr, self.at(s).log_snr
        if power:
            place = torch.lerp(torch.exp(-0.5 * power * start), torch.exp(-0.5 * power * end), fraction).log() * (-2 / power)
        else:
            place = torch.lerp(start, end, fraction)
        middle = self.snap(self.t_of_log_snr(place))
        return torch.where((t - middle) * (t - s) > 0, middle, s)

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """f(t) x."""
        return expand(cached_at(self, self.rates, as_time(t)).f, x) * x

    def diffusion(self, x: Tensor, t: Time) -> Tensor:
        """g(t)."""
        return expand(cached_at(self, self._g, as_time(t)), x)

    def _g(self, t: Tensor) -> Tensor:
        return self.rates(t).g2.sqrt()

    def kernel(self, x0: Tensor, t: Time) -> Gaussian:
        """Law of x_t given x0: N(alpha x0, sigma^2)."""
        alpha, sigma, _ = self.at(t)
        return Gaussian(expand(alpha, x0) * x0, expand(sigma, x0))

    def std(self, x: Tensor, t: Time) -> Tensor:
        """sigma(t)."""
        return expand(self.at(t).sigma, x)

    def transition(self, x_s: Tensor, s: Time, t: Time) -> Gaussian:
        """Law of x_t given x_s, s < t: N(a x_s, sigma_t^2 - a^2 sigma_s^2), a = alpha_t / alpha_s."""
        a, std = self.transition_coefficients(s, t)
        return Gaussian(expand(a, x_s) * x_s, expand(std, x_s))

    def transition_coefficients(self, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        """Scale and standard deviation of x_t given x_s, s < t.

        The variance sigma_t^2 - a^2 sigma_s^2 is sigma_t^2 (1 - SNR_t / SNR_s), which does not cancel when s is close to t.
        """
        from_, to = self.at(s), self.at(t)
        return to.alpha / from_.alpha, to.sigma * torch.sqrt(-torch.expm1(to.log_snr - from_.log_snr))

    def posterior(self, x_t: Tensor, x0: Tensor, s: Time, t: Time) -> Gaussian:
        """Law of x_s given x_t and x0, s < t.

        With r = SNR_t / SNR_s: mean r (alpha_s / alpha_t) x_t + alpha_s (1 - r) x0, variance sigma_s^2 (1 - r).
        Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equations 6 and 7.
        """
        of_x, of_x0, std = posterior_coefficients(self.at(t), self.at(s))
        return Gaussian(expand(of_x, x_t) * x_t + expand(of_x0, x_t) * x0, expand(std, x_t))

    def prior(self, like: Tensor) -> Gaussian:
        """N(0, sigma(T)^2)."""
        return Gaussian(torch.zeros_like(like), self.at(self.T).sigma)

    def prior_mismatch(self, x0: Tensor) -> Tensor:
        """Bound on KL(law of x_T given x0 || prior), in nats, (B,): alpha_T^2 |x0|^2 / (2 sigma_T^2)."""
        return sum_over_state(x0**2) * (0.5 * self.at(self.T).log_snr.exp())


def _with_slope(fn: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """fn(t) and its derivative. Forward mode: reverse mode fails under inference_mode and vmap, and breaks compiled graphs."""
    value, slope = torch.func.jvp(fn, (t,), (torch.ones_like(t),))  # type: ignore[misc]
    return value, slope
