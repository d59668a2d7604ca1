"""Times and states as tensors: float64 times, broadcasting over the rows, and checks of arguments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Time",
    "as_shape",
    "as_time",
    "by_row",
    "check_floating",
    "check_same_shape",
    "check_state",
    "check_tensor",
    "check_time",
    "expand",
    "sum_over_state",
]

Time = Tensor | float


def as_time(t: Time) -> Tensor:
    """Give a time in the precision of the schedules, float64, on whatever device it is."""
    return torch.as_tensor(t, dtype=torch.float64)


def expand(c: Tensor, x: Tensor) -> Tensor:
    """Shape a function of time so that it multiplies the state x, (B, *shape), row by row.

    A 0-d float64 tensor on the CPU multiplies any x without promoting it or moving, and passes as it is. One of shape (B,) would
    promote x to float64, or broadcast along the wrong axis; it is cast and reshaped.

    Raises:
        ValueError: when c is neither 0-d nor (B,).
        TypeError: when the state holds integers, in which the cast would lose c.
    """
    if c.ndim == 0:
        return c
    check_time(c, x)
    return by_row(c.to(device=x.device, dtype=x.dtype), x)


def by_row(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value for each row, (B,), of any dtype, so that it broadcasts to the state x, (B, *shape)."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def check_time(c: Tensor, x: Tensor) -> None:
    """Refuse a function of time that is neither 0-d nor (B,), and a state of integers. No value is looked at.

    Raises:
        ValueError: when c has another shape.
        TypeError: when x is no floating-point tensor.
    """
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
    """A shape as a tuple.

    Raises:
        TypeError: when it is a bare number; the message has what was needed.
    """
    try:
        return tuple(shape)
    except TypeError:
        raise TypeError(f"a shape of {shape!r} was given, and {needed} was needed") from None


def check_tensor(x: Any, name: str) -> None:
    """Refuse anything but a tensor: arrays of numpy, lists, None.

    Raises:
        TypeError: when x is no tensor.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is of type {type(x).__name__}, and a tensor was needed: torch.as_tensor makes one of an array")


def check_same_shape(answer: Tensor, x: Tensor, who: str, advice: str) -> None:
    """Refuse an answer that is not shaped like the state that was asked about.

    Raises:
        ValueError: when the shapes differ; the message says who answered, and ends with the advice.
    """
    if answer.shape != x.shape:
        raise ValueError(f"{who} answered with shape {tuple(answer.shape)} to a state of shape {tuple(x.shape)}: {advice}")


def check_floating(x: Tensor, name: str) -> None:
    """Refuse anything but a floating-point tensor. No value is looked at.

    Raises:
        TypeError: when x is no tensor, or holds integers.
    """
    check_tensor(x, name)
    if not x.is_floating_point():
        raise TypeError(
            f"{name} has dtype {x.dtype}, and a floating-point tensor was needed: "
            "encode integers first, for example with Images(levels=256).encode"
        )


def check_state(x: Tensor, name: str = "x") -> None:
    """Refuse what no algorithm can use: integers, a missing batch axis, and values that are not finite.

    Raises:
        TypeError: when x is no floating-point tensor.
        ValueError: when x has no axis for the rows, or a value is not finite.
    """
    check_floating(x, name)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, and (rows, *shape) was needed: add the missing axis")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite, of {math.prod(x.shape)}: clean or mask them first")
