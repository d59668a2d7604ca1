"""Solution: the answer of an adaptive solver for each row, and the reason for each row that failed."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sde_lib.tensors import by_row

__all__ = ["Solution", "Status", "Unfinished"]

Result = TypeVar("Result")


class Status(IntEnum):
    """The end of a row's integration; str() gives a sentence."""

    DONE = 0
    TOO_MANY_STEPS = 1
    STEP_TOO_SMALL = 2
    NOT_FINITE = 3

    def __str__(self) -> str:
        return (
            "reached the end of the interval",
            "used all its steps before the end: loosen the tolerance, or give integrate more max_steps",
            "needed a step below the resolution of time: the score is too rough there; raise t_min, or loosen the tolerance",
            "met NaN or infinity: check that the score is finite on the whole interval",
        )[self]


class Unfinished(RuntimeError):
    """Some rows did not reach the end. reasons has a sentence for each row; result is what was asked for, NaN where a row failed.

    >>> error = Unfinished("1 of 2 rows failed", torch.tensor([0, 3]), torch.tensor([1.0, torch.nan]))
    >>> error.reasons[1]
    'met NaN or infinity: check that the score is finite on the whole interval'
    """

    def __init__(self, text: str, status: Tensor, result: Any) -> None:
        super().__init__(text)
        self.reasons = [str(Status(number)) for number in status.tolist()]
        self.result = result


class Solution(NamedTuple):
    """The end of an integration: y as given; per row the time reached and the status; evaluations in calls and in rows."""

    y: Tensor
    t: Tensor
    status: Tensor
    calls: int
    rows: int

    def failures(self, index: int = 0) -> str:
        """A sentence on the rows that did not reach the end, counted from index; empty when all did."""
        lost = self.status.nonzero().flatten().tolist()
        if not lost:
            return ""
        first = lost[0]
        return (
            f"{len(lost)} of {len(self.status)} rows failed, the first being row {index + first}, which at t = "
            f"{self.t[first].item():.4g} {Status(int(self.status[first]))}"
        )

    def reached(self) -> Tensor:
        """y, with NaN in the rows that did not reach the end."""
        return torch.where(by_row(self.status == Status.DONE, self.y), self.y, torch.nan)

    def require_all(self, what: str, result: Result, index: int = 0) -> Result:
        """The result, made of reached().

        Raises:
            Unfinished: when a row did not reach the end. It has the result, and says what could not be done.
        """
        if self.failures():
            raise Unfinished(f"{what}: {self.failures(index)}", self.status, result)
        return result
