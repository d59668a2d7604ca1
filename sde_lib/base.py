"""SDE: a diffusion process as the laws of its states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from sde_lib.gaussian import Gaussian
from sde_lib.tensors import Time

__all__ = ["SDE"]


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

    def snap(self, t: Tensor) -> Tensor:
        """Move times to the nearest ones that the process has; a continuous process has them all."""
        return t
