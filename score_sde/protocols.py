"""Optional capabilities of networks, samplers, objectives and laws of training times, with one function that asks for each.

These objects may be instances of a user's classes. A capability that they lack is no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard

from torch import Tensor

from sde_lib import LinearSDE

__all__ = ["LearnsFromLosses", "Streams", "arguments_of", "is_of_levels", "learns_from_losses", "streams", "t_min_of"]


class Streams(Protocol):
    """A sampler that yields each state on its way, as `samplers.Sampler.stream` does; times is its grid."""

    times: Any

    def stream(self, sde: LinearSDE, score_fn: Any, shape: tuple[int, ...], **options: Any) -> Iterator[Any]: ...  # noqa: D102


class LearnsFromLosses(Protocol):
    """A law of training times that depends on earlier losses, as `sde_lib.LossAwareTime` does."""

    def observe(self, sde: LinearSDE, t: Tensor, loss: Tensor) -> None: ...  # noqa: D102
    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor: ...  # noqa: D102


def streams(sampler: Any) -> TypeGuard[Streams]:
    """Whether a sampler yields each state on its way."""
    return hasattr(sampler, "stream")


def t_min_of(sampler: Any) -> float | None:
    """The time at which a sampler ends, if it sets one; None for the process's own."""
    return getattr(sampler, "t_min", None)


def learns_from_losses(times: Any) -> TypeGuard[LearnsFromLosses]:
    """Whether a law of training times depends on earlier losses."""
    return hasattr(times, "observe")


def is_of_levels(objective: Any) -> bool:
    """Whether an objective is defined for integer data alone, as `sde_lib.VariationalBound` is."""
    return bool(getattr(objective, "of_levels", False))


def arguments_of(network: Any) -> dict[str, Any]:
    """The constructor arguments of a registered network; empty for any other network."""
    return dict(getattr(network, "arguments", None) or {})
