"""Adaptive Runge-Kutta integration, in which every row has its own step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import DOP853, RK45
from torch import Tensor

from sde_lib.solution import Solution, Status
from sde_lib.tensors import Time, as_time, by_row, expand

__all__ = ["METHODS", "check_options", "check_round_off", "integrate", "integrate_on_clock", "smallest_tolerance"]


Field = Callable[[Tensor, Tensor, Tensor], Tensor]
Units = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class _Method:
    order: int  # of the result that the error estimate compares with
    nodes: Tensor
    stages: Tensor
    weights: Tensor
    errors: Tensor
    weighted: Tensor  # whether a stage has a weight, in the result or in its error, or only leads to other stages


def _method(order: int, scipy_method: type, errors: str) -> _Method:
    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(getattr(scipy_method, name), dtype=np.float64))

    weights, estimate = tensor("B"), tensor(errors)
    weighted = (weights != 0) | (estimate[:-1] != 0)
    return _Method(order, tensor("C"), tensor("A"), weights, estimate, weighted)


METHODS = {"dopri5": _method(4, RK45, "E"), "dop853": _method(5, DOP853, "E5")}
"""Dormand and Prince, 1980, order 5(4); Hairer, Norsett, Wanner, 1993, order 8(5,3): coefficients as scipy keeps them.

dop853 goes by its estimate of order 5 alone: divided by that of order 3, as its authors have it, it can be small by chance where
a step is far too long.
"""

SAFETY, SMALLEST, LARGEST = 0.9, 0.1, 10.0
FIRST = 1e-4  # error that the first step aims at, of what is allowed: to be rejected costs more than to begin with care
LEAST = 1e-4  # error that the controller takes a step to have had


def check_options(rtol: float, atol: float, method: str) -> None:
    """Refuse unknown methods, and tolerances that no step can hold.

    Raises:
        ValueError: when method is another word, atol is not positive, or rtol is negative.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not known: use one of {', '.join(map(repr, METHODS))}")
    if not (rtol >= 0 and atol > 0):
        raise ValueError(f"rtol={rtol} and atol={atol}: atol must be positive, and rtol not negative")


def smallest_tolerance(dtype: torch.dtype) -> float:
    """The smallest tolerance that states of a dtype can be solved to: 2^-4 of the dtype's round-off."""
    return torch.finfo(dtype).eps / 16


def check_round_off(tolerance: float, dtype: torch.dtype, given: str) -> None:
    """Refuse a tolerance below the round-off of the states: steps shrink without end, and the error does not fall any more.

    given says what the caller was given. The smallest tolerance is 1/16 of the distance from 1 to the next number, 7.5e-9 in
    float32: with an exact score there are twice the calls of one 16 times larger, and at 1e-10 there is no end.

    Raises:
        ValueError: when the tolerance is smaller.
    """
    least = smallest_tolerance(dtype)
    if tolerance < least:
        raise ValueError(
            f"{given} is below the round-off of {str(dtype).removeprefix('torch.')}, in which the states are: "
            f"use {least:.3g} or more, or states in float64"
        )


def integrate(
    fn: Field,
    y0: Tensor,
    t0: Time,
    t1: Time,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    units: Units | None = None,
    gains: tuple[float, float] = (0.7, 0.4),
    method: str = "dopri5",
    max_steps: int = 10_000,
    keep_rows: bool = False,
    unweighted: Field | None = None,
) -> Solution:
    """Integrate dy/dt = fn(y, t, rows) from t0 to t1, forward or backward, each row on its own.

    y0 is (B, *shape). fn gets the b rows under way: y (b, *shape), t (b,) float64 inside [t0, t1], and their numbers rows (b,).
    It answers in the shape of y. A row's error is the root mean square over its entries of error / (atol + rtol |y|). With
    units(y, t), which broadcast to y, the error is measured in these units.

    A step is accepted when its error is below 1. A PI controller chooses the next one: for the gains (a, b) it grows by 0.9
    error^(-a/p) last_error^(b/p), p being the order of the error. Steps are powers of 2^(1/16), so that a row takes the same
    steps in every batch. Times land on t1 exactly, and never beyond.

    Rows that end leave the batch. With keep_rows they stay, for a fn that cannot do without them. No rows, no calls.

    unweighted answers in place of fn at the stages that have no weight in the result and only lead to others (1 in 6 of dopri5, 4
    in 12 of dop853). For an integral over the path, on which no slope depends, it may answer 0.

    Where autograd records, y can be differentiated with respect to y0 and whatever fn depends on, at the steps that were taken. A
    row that fails says so in status.

    Raises:
        ValueError: when method is another word, atol is not positive, or rtol is negative.
        ValueError: when rtol + atol is below the round-off of y0.

    Reference: Dormand and Prince, 1980; Hairer, Norsett, Wanner, 1993, sections II.4 (first step) and II.5 (dop853); Gustafsson,
    1991 (PI control).

    >>> integrate(lambda y, t, rows: -y, torch.ones(1, 1, dtype=torch.float64), 0.0, 1.0, rtol=1e-9, atol=1e-9).y
    tensor([[0.3679]], dtype=torch.float64)
    """
    check_options(rtol, atol, method)
    check_round_off(rtol + atol, y0.dtype, f"rtol + atol = {rtol + atol:.3g}")
    B, device = y0.shape[0], y0.device
    start, end = as_time(t0).to(device).expand(B), as_time(t1).to(device).expand(B)
    out, times = y0.clone(), start.clone()
    status = torch.full((B,), int(Status.TOO_MANY_STEPS), device=device)
    if B == 0:
        return Solution(out, times, status, 0, 0)
    problem = _Problem(fn, unweighted, units, rtol, atol, gains, METHODS[method], start, end, torch.sign(end - start))
    now = problem.begin(y0)
    for _ in range(max_steps):
        trial = problem.attempt(now)
        now, arrived, stuck = problem.judge(now, trial)
        leaving = arrived | stuck
        if bool(leaving.any()):
            gone = now.rows[leaving]
            out[gone], times[gone] = now.y[leaving], now.t[leaving]
            fate = torch.where(trial.error.isfinite(), int(Status.STEP_TOO_SMALL), int(Status.NOT_FINITE))
            status[gone] = torch.where(arrived, int(Status.DONE), fate)[leaving]
            now = now._replace(active=now.active & ~leaving)
            if not bool(now.active.any()):
                break
            if not keep_rows:
                now = _UnderWay(*(v[~leaving] for v in now))
    else:
        lost = now.active
        out[now.rows[lost]], times[now.rows[lost]] = now.y[lost], now.t[lost]
    return Solution(out, times, status, problem.calls, problem.evaluated)


class _UnderWay(NamedTuple):
    """The b rows under way: their numbers, state, time and slope; the next step, the last error, and who is still active."""

    rows: Tensor
    y: Tensor
    t: Tensor
    slope: Tensor
    h: Tensor
    last_error: Tensor
    rejected: Tensor  # whether the last step was
    active: Tensor


class _Trial(NamedTuple):
    """A step that was tried: where it ends, its error in units of what is allowed, and whether it is the row's last."""

    y: Tensor
    t: Tensor
    slope: Tensor
    h: Tensor
    error: Tensor
    final: Tensor


@dataclass(eq=False)
class _Problem:
    """The arguments of integrate, and its three operations: begin, attempt, judge."""

    fn: Field
    unweighted: Field | None
    units: Units | None
    rtol: float
    atol: float
    gains: tuple[float, float]
    method: _Method
    start: Tensor
    end: Tensor
    direction: Tensor
    calls: int = 0
    evaluated: int = 0

    def f(self, y: Tensor, t: Tensor, rows: Tensor, field: Field | None = None) -> Tensor:
        """The slope, counted."""
        self.calls, self.evaluated = self.calls + 1, self.evaluated + len(rows)
        return (field or self.fn)(y, t, rows).to(y.dtype)

    def allowed(self, size: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The error that is allowed in each entry of a state of this size."""
        return (self.atol + self.rtol * size) * (1 if self.units is None else self.units(y, t))

    def begin(self, y: Tensor) -> _UnderWay:
        """All rows at the start, with the first step they will try: two calls."""
        t, rows = self.start.clone(), torch.arange(len(y), device=y.device)
        slope = self.f(y, t, rows)
        h = _rounded(_first_step(self.f, self.allowed(y.abs(), y, t), self.method.order, y, t, self.end, slope, rows))
        active = torch.ones_like(t, dtype=torch.bool)
        return _UnderWay(rows, y, t, slope, h, torch.full_like(t, LEAST), ~active, active)

    def attempt(self, now: _UnderWay) -> _Trial:
        """One step of every row, by the stages of the method."""
        m, (rows, y, t) = self.method, now[:3]
        start, end = self.start[rows], self.end[rows]
        remaining = (end - t).abs()
        final = now.h >= remaining * (1 - 1e-12)
        h = torch.where(final, remaining, now.h)
        signed = self.direction[rows] * h
        scale = expand(signed, y)
        stages = [now.slope]
        for i in range(1, len(m.nodes)):
            y_stage = y + scale * _combine(m.stages[i, :i], stages)
            t_stage = _inside(t + m.nodes[i] * signed, start, end)
            field = self.fn if self.unweighted is None or m.weighted[i] else self.unweighted
            stages.append(self.f(y_stage, t_stage, rows, field))
        y_new = y + scale * _combine(m.weights, stages)
        t_new = torch.where(final, end, t + signed)
        slope = self.f(y_new, t_new, rows)
        stages.append(slope)
        allowed = self.allowed(torch.maximum(y.abs(), y_new.abs()), y_new, t_new)
        return _Trial(y_new, t_new, slope, h, h * _norm(_combine(m.errors, stages), allowed), final)

    def judge(self, now: _UnderWay, trial: _Trial) -> tuple[_UnderWay, Tensor, Tensor]:
        """The rows after the trial, each with its next step; which have arrived, and which are stuck.

        An accepted step grows by the PI rule, and not right after a rejection; a rejected one shrinks by the I rule.
        """
        finite = trial.error.isfinite()
        accept = (trial.error < 1) & finite & now.active
        exponent = 1 / (self.method.order + 1)
        safe = trial.error.clamp_min(1e-10)
        grow = SAFETY * safe ** (-self.gains[0] * exponent) * now.last_error ** (self.gains[1] * exponent)
        grow = grow.clamp(SMALLEST, LARGEST)
        grow = torch.where(now.rejected, grow.clamp_max(1.0), grow)
        shrink = torch.where(finite, SAFETY * safe**-exponent, torch.full_like(safe, SMALLEST)).clamp(SMALLEST, 1.0)
        h = _rounded(trial.h * torch.where(accept, grow, shrink))
        last_error = torch.where(accept, safe.clamp_min(LEAST), now.last_error)
        of_row = by_row(accept, now.y)
        y, slope = torch.where(of_row, trial.y, now.y), torch.where(of_row, trial.slope, now.slope)
        t = torch.where(accept, trial.t, now.t)
        arrived = now.active & accept & trial.final
        smallest = 4 * torch.finfo(torch.float64).eps * torch.maximum(t.abs(), self.end[now.rows].abs())
        stuck = now.active & ~arrived & torch.where(accept, h == 0, h <= smallest)  # a step of 0 is always accepted
        return _UnderWay(now.rows, y, t, slope, h, last_error, ~accept, now.active), arrived, stuck


def integrate_on_clock(
    power: float,
    fn: Field,
    y0: Tensor,
    t0: float,
    t1: float,
    *,
    units: Units | None = None,
    unweighted: Field | None = None,
    **options: Any,
) -> Solution:
    """integrate, with steps in u = t^(1/power). Slopes that grow as t^(1/power - 1) near t = 0 are smooth in u."""
    if power == 1:
        return integrate(fn, y0, t0, t1, units=units, unweighted=unweighted, **options)
    low, high = sorted((t0, t1))

    def time(u: Tensor) -> Tensor:
        return (u**power).clamp(low, high)

    def on_clock(field: Field) -> Field:
        return lambda y, u, rows: expand(power * u ** (power - 1), y) * field(y, time(u), rows)

    others: Any = {
        "units": units and (lambda y, u: units(y, time(u))),
        "unweighted": unweighted and on_clock(unweighted),
    }
    solution = integrate(on_clock(fn), y0, t0 ** (1 / power), t1 ** (1 / power), **others, **options)
    return solution._replace(t=solution.t**power)


def _rounded(h: Tensor) -> Tensor:
    """The nearest power of 2^(1/16): round-off in an error estimate, which depends on the batch, leaves the step as it is."""
    return torch.exp2(torch.round(16 * torch.log2(h)) / 16)


def _inside(t: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(t, torch.maximum(start, end)), torch.minimum(start, end))


def _combine(weights: Tensor, stages: list[Tensor]) -> Tensor:
    return sum((w * k for w, k in zip(weights, stages, strict=True) if w != 0), torch.zeros_like(stages[0]))


def _norm(v: Tensor, scale: Tensor) -> Tensor:
    return ((v / scale).detach() ** 2).flatten(1).mean(1).double().sqrt()  # no derivative goes through a step's size


def _first_step(f: Field, scale: Tensor, order: int, y: Tensor, t: Tensor, end: Tensor, k: Tensor, rows: Tensor) -> Tensor:
    """Hairer, Norsett, Wanner, 1993, section II.4: a step over which both slope and curvature change y little."""
    span = (end - t).abs()
    size, slope = _norm(y, scale), _norm(k, scale)
    h0 = torch.where((size < 1e-5) | (slope < 1e-5), torch.full_like(size, 1e-6), FIRST * size / slope)
    h0 = torch.minimum(h0.nan_to_num(1e-6), span)
    signed = torch.sign(end - t) * h0
    y1 = y + expand(signed, y) * k
    curvature = _norm(f(y1, _inside(t + signed, t, end), rows) - k, scale) / h0
    steepest = torch.maximum(slope, curvature).nan_to_num(1e15)
    h1 = torch.where(steepest <= 1e-15, (h0 * 1e-3).clamp_min(1e-6), (FIRST / steepest) ** (1 / (order + 1)))
    return torch.minimum(torch.minimum(100 * h0, h1), span)
