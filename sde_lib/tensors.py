"""How times meet states: in float64, expanded in one way, and for a whole grid at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice, repeat
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = [
    "Time",
    "as_shape",
    "as_time",
    "check_floating",
    "check_state",
    "check_tensor",
    "check_time",
    "expand",
    "grid_length",
    "of_step",
    "of_time",
    "on_grid",
    "sum_over_state",
]

Time = Tensor | float
V = TypeVar("V")


def on_grid(times: Tensor) -> tuple[Tensor, ...]:
    """The times of a grid, (N,), as N 0-d tensors that know their grid: of_time then answers for all of them at once.

    A step stays a function of one time, and what it needs of the process costs 3 microseconds instead of 40.
    """
    values: dict[Any, Any] = {}
    alone = times.unbind()
    for i, t in enumerate(alone):
        t.grid = (times, i, values)  # type: ignore[attr-defined]
    return alone


def of_time(owner: object, fn: Callable[[Tensor], V], t: Tensor) -> V:
    """fn(t), a method of owner that depends on t alone; for a time of on_grid it is evaluated once, on the whole grid."""
    grid = getattr(t, "grid", None)
    if grid is None:
        return fn(t)
    times, i, values = grid
    key = id(owner), fn.__name__
    if key not in values:
        values[key] = list(islice(_rows(fn(times)), len(times))), owner  # keeping the owner, that no other gets its id
    return values[key][0][i]


def of_step(owner: Any, fn: Callable[..., V], t: Tensor, s: Tensor, *settings: float) -> V:
    """fn(owner, t, s, *settings): what a step from t to s needs; for neighbours of on_grid it is evaluated once, on the whole grid.

    fn gives coefficients, as a tuple, or a time, as a tensor: the times that come of a grid are a grid themselves.
    """
    now, then = getattr(t, "grid", None), getattr(s, "grid", None)
    if now is None or then is None or now[0] is not then[0] or then[1] != now[1] + 1:
        return fn(owner, t, s, *settings)
    times, i, values = now
    key = id(owner), fn.__qualname__, settings
    if key not in values:
        of_all = fn(owner, times[:-1], times[1:], *settings)
        values[key] = on_grid(of_all) if isinstance(of_all, Tensor) else list(_rows(of_all)), owner
    return values[key][0][i]


def grid_length(t: Tensor) -> int:
    """How many times the grid of a time has: 1 for a time that is on none."""
    grid = getattr(t, "grid", None)
    return 1 if grid is None else len(grid[0])


def _rows(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.unbind() if value.ndim else repeat(value)
    if isinstance(value, tuple):
        parts = zip(*map(_rows, value), strict=False)  # plain numbers repeat without end
        return (type(value)(*part) for part in parts) if hasattr(value, "_fields") else parts
    return repeat(value)


def as_time(t: Time) -> Tensor:
    """Give a time in the precision of the schedules, float64, on whatever device it is."""
    return torch.as_tensor(t, dtype=torch.float64)


def expand(c: Tensor, x: Tensor) -> Tensor:
    """Shape a function of time so that it multiplies the state x, (B, *shape), row by row.

    A 0-d float64 tensor on the CPU multiplies any x without promoting it or moving, and passes as it is; one of shape (B,)
    would promote x to float64, or broadcast along the wrong axis, and is cast and reshaped.
    Raises ValueError when c is neither 0-d nor (B,), and TypeError for integers, in which the cast would lose c.
    """
    if c.ndim == 0:
        return c
    check_time(c, x)
    return c.to(device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def check_time(c: Tensor, x: Tensor) -> None:
    """Refuse a function of time that is neither 0-d nor (B,), and a state of integers; looks at no value."""
    check_floating(x, "the state")
    if c.ndim and c.shape != x.shape[:1]:
        raise ValueError(
            f"a time of shape {tuple(c.shape)} meets a state of shape {tuple(x.shape)}: "
            "give one time for all rows, or one for each row, of shape (B,)"
        )


def sum_over_state(x: Tensor) -> Tensor:
    """Sum everything but the rows: (B, *shape) to (B,)."""
    return x.flatten(1).sum(1)


def as_shape(shape: Any, needed: str) -> tuple[int, ...]:
    """A shape as a tuple. Raises TypeError, with what was needed, for a bare number."""
    try:
        return tuple(shape)
    except TypeError:
        raise TypeError(f"a shape of {shape!r} was given, and {needed} was needed") from None


def check_tensor(x: Any, name: str) -> None:
    """Refuse what is no tensor: arrays of numpy, lists, nothing at all."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is of type {type(x).__name__}, and a tensor was needed: torch.as_tensor makes one of an array")


def check_floating(x: Tensor, name: str) -> None:
    """Refuse what is no tensor, and integers; looks at no value."""
    check_tensor(x, name)
    if not x.is_floating_point():
        raise TypeError(
            f"{name} has dtype {x.dtype}, and a floating-point tensor was needed: "
            "encode integers first, for example with Images(levels=256).encode"
        )


def check_state(x: Tensor, name: str = "x") -> None:
    """Refuse what no algorithm can use: integers, a missing batch axis, and values that are not finite."""
    check_floating(x, name)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, and (rows, *shape) was needed: add the missing axis")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite, of {math.prod(x.shape)}: clean or mask them first")
