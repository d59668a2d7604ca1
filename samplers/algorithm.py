"""Predictor and Corrector: the interfaces of a step in time, and of a move at one time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from sde_lib.base import SDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["Corrector", "Predictor", "Step"]


class Step(NamedTuple):
    """The result of a step: the new state, the same before its last noise was added, and the memory for the next step."""

    x: Tensor
    mean: Tensor
    memory: Any = None


class Predictor(ABC):
    """A step back in time. Subclasses are frozen dataclasses, with one method to write: step.

    order is the order of convergence on the probability flow, and is measured by the tests; convergence says it where a paper
    counts otherwise. requires is the kind of process that the step can use, and check refuses at the door what requires cannot
    say. The memory of a multistep predictor is begun anew whenever something else moves the state.
    """

    order: ClassVar[int]
    requires: ClassVar[type[SDE]] = SDE
    multistep: ClassVar[bool] = False

    @property
    def convergence(self) -> int:
        """The order of convergence on the probability flow: order, unless the literature counts otherwise; 0 without an order."""
        return getattr(self, "order", 0)  # a predictor of one's own may declare none

    def check(self, rsde: ReverseSDE) -> None:
        """Refuse, with a sentence, a process or a score function that the step cannot use.

        Raises:
            ValueError, TypeError: where a subclass refuses one.
        """

    def init(self, rsde: ReverseSDE, x: Tensor, t: Tensor) -> Any:
        """The memory before the first step."""
        return None

    @abstractmethod
    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """From x, (B, *shape), at time t to time s < t, both 0-d float64 tensors on the CPU."""


class Corrector(ABC):
    """A move that keeps the law of the state at one time. Subclasses are frozen dataclasses, with one method: correct.

    requires is the kind of process that the move can use; bias says how far a move of finite length changes the law, and is
    held against the law of Gaussian data by the tests; check refuses at the door what requires cannot say.
    """

    requires: ClassVar[type[SDE]] = SDE

    def bias(self, sde: SDE, t: Tensor, std: Tensor) -> float:
        """A bound on the change that one correct makes in N(m, std^2) at time t: |variance / std^2 - 1| and |mean - m| / std.

        0, unless a subclass declares otherwise: the law is kept exactly. math.inf: nothing is promised here.
        """
        return 0.0

    def check(self, rsde: ReverseSDE) -> None:
        """Refuse, with a sentence, a process or a score function that the move cannot use.

        Raises:
            ValueError, TypeError: where a subclass refuses one.
        """

    @abstractmethod
    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """From x, (B, *shape), at time t to another state at time t."""
