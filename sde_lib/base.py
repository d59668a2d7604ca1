"""SDE: a diffusion process from data to a prior, with its drift, diffusion, kernel and prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sde_lib.gaussian import Gaussian
from sde_lib.tensors import Time

__all__ = ["SDE", "require_kind"]


@dataclass(frozen=True, kw_only=True)
class SDE(ABC):
    """A process dx = f(x, t) dt + g(x, t) dw from data at t = 0 to a prior at t = T.

    States are (B, *shape), of any shape; a time is a number, a 0-d tensor or a tensor (B,), one for each row.
    t_min is where training and solving stop unless told otherwise: nothing is evaluated at t = 0.
    Processes are frozen dataclasses: == compares them, and repr pastes back into Python.

    Reference: Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, 2021, arXiv 2011.13456, equation 5.
    """

    T: float = 1.0
    t_min: float = 1e-5
    # Adaptive solvers step in t^(1 / clock_power): 2 for a process whose sigma grows as sqrt(t), where slopes go as 1 / sqrt(t).
    clock_power: ClassVar[float] = 1.0
    # Whether it exists at the N levels of a table alone. Such a process also has what Tabulated has: times, place, index, before.
    has_table: ClassVar[bool] = False

    @abstractmethod
    def drift(self, x: Tensor, t: Time) -> Tensor:
        """f(x, t), shaped like x."""

    @abstractmethod
    def diffusion(self, x: Tensor, t: Time) -> Tensor:
        """g(x, t); broadcasts to x."""

    @abstractmethod
    def kernel(self, x0: Tensor, t: Time) -> Gaussian:
        """Law of x_t given the data x0."""

    @abstractmethod
    def prior(self, like: Tensor) -> Gaussian:
        """Law of x_T, for states shaped like the given tensor."""

    def std(self, x: Tensor, t: Time) -> Tensor:
        """Standard deviation of the noise in a state x at time t, given the data; broadcasts to x.

        It is the kernel's std. A process whose states are not shaped like its data overrides it.
        """
        return self.kernel(x, t).std

    def valid_t_min(self, t_min: float | None) -> float:
        """The given t_min, or the process's own for None.

        Raises:
            ValueError: when t_min is not inside (0, T).
        """
        if t_min is None:
            return self.t_min
        if not 0 < t_min < self.T:
            raise ValueError(f"t_min={t_min} with {self!r}: a t_min inside (0, T = {self.T}) is needed")
        return t_min

    def time_at(self, u: Tensor, t_min: float) -> Tensor:
        """The time at a fraction u of [t_min, T], uniform on it for u uniform on (0, 1); float64."""
        return t_min + u * (self.T - t_min)

    def snap(self, t: Tensor) -> Tensor:
        """Move times to the nearest ones that the process has; a continuous process has them all."""
        return t


def require_kind(sde: SDE, kind: type[SDE], who: str) -> Any:
    """The process, if it is of the kind that an algorithm needs.

    Raises:
        TypeError: when it is of another kind.
    """
    if not isinstance(sde, kind):
        raise TypeError(
            f"{who} needs a process that is a {kind.__name__}, and got {sde!r}: "
            "use EulerMaruyama, or FlowSampler, which serve every process"
        )
    return sde
