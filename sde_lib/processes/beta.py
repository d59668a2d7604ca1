"""BetaSDE: the base of VP and sub-VP, a process with a schedule beta(t)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.schedules import LinearBeta, integral_of, time_of_integral
from sde_lib.tensors import as_time

__all__ = ["Beta", "BetaSDE"]

Beta = Callable[[Tensor], Tensor]


@dataclass(frozen=True, init=False)
class BetaSDE(LinearSDE):
    """A process with a schedule beta(t): alpha = exp(-B/2), where B is the integral of beta from 0. The base of VP and sub-VP."""

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
        if beta is not None and (isinstance(beta, type) or not callable(beta)):
            raise TypeError(
                f"{type(self).__name__} got beta={beta!r}, and a function of t was needed, such as CosineBeta(): "
                "for a linear one give beta_min and beta_max"
            )
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

    def t_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The schedule's own inverse at B, or a bisection where the schedule has none."""
        t = time_of_integral(self.beta, self.integral_at(as_time(log_snr)))
        return super().t_of_log_snr(log_snr) if t is None else t.clamp(self.t_min, self.T)

    @abstractmethod
    def integral_at(self, log_snr: Tensor) -> Tensor:
        """B at a log-SNR."""
