"""The adaptive integrator against scipy, closed forms, and the ways in which an integration fails."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from sde_lib.ode import METHODS, integrate, integrate_on_clock
from sde_lib.solution import Status

methods = pytest.mark.parametrize("method", METHODS)


def pendulum(y, t, rows=None):
    return torch.stack([y[:, 1], -torch.sin(y[:, 0]) + 0.3 * torch.cos(t).to(y)], dim=1)


@methods
def test_agrees_with_scipy_row_by_row(method):
    y0 = torch.tensor([[0.5, 0.0], [2.0, -1.0], [3.1, 0.2]], dtype=torch.float64)
    ours = integrate(pendulum, y0, 0.3, 7.0, rtol=1e-10, atol=1e-10, method=method)
    for row, start in zip(ours.y, y0, strict=True):
        field = lambda t, y: pendulum(torch.from_numpy(y)[None], torch.tensor(t))[0].numpy()
        theirs = solve_ivp(field, (0.3, 7.0), start.numpy(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(row.numpy(), theirs, atol=1e-8)
    assert (ours.status == Status.DONE).all() and (ours.t == 7.0).all() and ours.failures() == ""


@methods
def test_error_follows_the_tolerance_at_the_order_of_the_method(method):
    y0 = torch.tensor([[1.0]], dtype=torch.float64)
    errors, rows = [], []
    for tol in (1e-4, 1e-6, 1e-8):
        solution = integrate(lambda y, t, rows: -y * torch.cos(t)[:, None], y0, 0.0, 5.0, rtol=tol, atol=tol, method=method)
        errors.append(abs(solution.y.item() - np.exp(-np.sin(5.0))))
        rows.append(solution.rows)
        assert errors[-1] < 10 * tol
    order = {"dopri5": 5, "dop853": 8}[method]
    assert rows[2] / rows[1] < 100 ** (1 / order) * 1.5


@methods
def test_forward_and_back_is_the_identity(method):
    y0 = torch.tensor([[0.5, 0.0], [2.0, -1.0]], dtype=torch.float64)
    there = integrate(pendulum, y0, 0.0, 3.0, rtol=1e-9, atol=1e-9, method=method).y
    back = integrate(pendulum, there, 3.0, 0.0, rtol=1e-9, atol=1e-9, method=method).y
    torch.testing.assert_close(back, y0, rtol=0, atol=1e-7)


@methods
def test_a_row_does_not_depend_on_its_neighbours(method):
    """Easy and stiff rows together and alone; and with the finished rows kept."""
    rate = torch.tensor([0.1, 1.0, 300.0, 3.0], dtype=torch.float64)
    y0 = torch.ones(4, 3, dtype=torch.float64)

    def field(y, t, rows):
        return -rate[rows][:, None] * (y - torch.sin(t)[:, None])

    together = integrate(field, y0, 0.0, 2.0, rtol=1e-6, atol=1e-6, method=method)
    for i in range(4):
        alone = integrate(
            lambda y, t, rows, i=i: field(y, t, rows + i), y0[i : i + 1], 0.0, 2.0, rtol=1e-6, atol=1e-6, method=method
        )
        torch.testing.assert_close(alone.y[0], together.y[i], rtol=0, atol=1e-13)
    kept = integrate(field, y0, 0.0, 2.0, rtol=1e-6, atol=1e-6, method=method, keep_rows=True)
    torch.testing.assert_close(kept.y, together.y, rtol=0, atol=1e-13)
    assert together.rows < kept.rows == kept.calls * 4


@methods
@pytest.mark.parametrize(("t0", "t1"), [(1e-5, 1.0), (1.0, 1e-5)])
def test_time_never_leaves_the_interval_and_ends_on_its_end(method, t0, t1):
    seen = []

    def field(y, t, rows):
        seen.append(t)
        return y / (t[:, None] + 1e-6)

    end = integrate(field, torch.ones(3, 2, dtype=torch.float64), t0, t1, rtol=1e-6, atol=1e-6, method=method)
    times = torch.cat(seen)
    assert times.min() >= 1e-5 and times.max() <= 1.0
    assert (end.t == t1).all()


@methods
@pytest.mark.parametrize(("t0", "t1"), [(1e-5, 1.0), (1.0, 1e-5)])
def test_another_clock_gives_the_same_solution_with_fewer_evaluations(method, t0, t1):
    """y' = y / sqrt(t), whose solution exp(2 sqrt(t)) is smooth in u = sqrt(t) and not in t."""
    seen = []

    def field(y, t, rows):
        seen.append(t)
        return y / t.sqrt()[:, None]

    y0, options = torch.ones(2, 1, dtype=torch.float64), {"rtol": 1e-8, "atol": 1e-8, "method": method}
    exact = np.exp(2 * (np.sqrt(t1) - np.sqrt(t0)))
    ours = integrate_on_clock(2.0, field, y0, t0, t1, **options)
    times = torch.cat(seen)
    np.testing.assert_allclose(ours.y.numpy(), exact, rtol=1e-7)
    assert times.min() >= 1e-5 and times.max() <= 1.0
    torch.testing.assert_close(ours.t, torch.full((2,), t1, dtype=torch.float64), rtol=1e-14, atol=0)
    assert ours.calls < 0.6 * integrate(field, y0, t0, t1, **options).calls


def test_evaluations_are_counted():
    calls = rows = 0

    def field(y, t, which):
        nonlocal calls, rows
        calls, rows = calls + 1, rows + len(y)
        return -y

    solution = integrate(field, torch.ones(5, 2), 0.0, 1.0)
    assert (solution.calls, solution.rows) == (calls, rows)


def test_failures_are_reported_row_by_row():
    def field(y, t, rows):
        blow_up = y**2  # y = 1 / (1 - t) from 1: no solution beyond t = 1
        poison = torch.where(t[:, None] > 0.5, torch.nan, 1.0).expand_as(y)
        return torch.where((rows == 1)[:, None], blow_up, torch.where((rows == 2)[:, None], poison, -y))

    solution = integrate(field, torch.ones(3, 1, dtype=torch.float64), 0.0, 2.0, rtol=1e-6, atol=1e-6)
    assert solution.status[0] == Status.DONE
    assert solution.status[1] in (Status.STEP_TOO_SMALL, Status.NOT_FINITE) and abs(solution.t[1] - 1) < 1e-3
    assert solution.status[2] == Status.NOT_FINITE and solution.t[2] <= 0.5
    assert solution.failures().startswith("2 of 3 rows failed, the first being row 1")
    assert solution.y.isfinite().all()


def test_too_many_steps_are_reported():
    solution = integrate(pendulum, torch.ones(2, 2, dtype=torch.float64), 0.0, 100.0, rtol=1e-10, atol=1e-10, max_steps=5)
    assert (solution.status == Status.TOO_MANY_STEPS).all() and "max_steps" in solution.failures()


@methods
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_errors_are_measured_in_the_units_that_are_given(method, power):
    """(e^-t, 1e4 + sin 30t): where the second's share of rtol counts, it may be wrong by 1; units are asked for at times."""
    start = torch.tensor([[1.0, 1e4]], dtype=torch.float64)
    asked = []

    def field(y, t, rows):
        return torch.stack([-y[:, 0], 30 * torch.cos(30 * t)], dim=1)

    def units(y, t):
        asked.append(t)
        return torch.tensor([1.0, 0.01])

    def error(**tolerances):
        end = integrate_on_clock(power, field, start, 4.0, 9.0, method=method, **tolerances).y[0, 1].item()
        return abs(end - 1e4 - np.sin(270.0) + np.sin(120.0))

    assert error(rtol=0.0, atol=1e-4) < 1e-3 < 1e-2 < error(rtol=1e-4, atol=1e-4)
    assert error(rtol=0.0, atol=1e-4, units=units) < 1e-5
    assert min(asked) >= 4.0 and max(asked) == 9.0


@methods
def test_the_estimate_compares_with_a_rule_of_the_order_that_is_named(method):
    """Of the integral of t^k over (0, 1) the error of a rule of order p is 0 for k < p, and is not for k = p."""
    m = METHODS[method]
    nodes = torch.cat([m.nodes, torch.ones(1, dtype=torch.float64)])
    estimates = torch.stack([m.errors @ nodes**k for k in range(m.order + 1)]).abs()
    assert (estimates[:-1] < 1e-14).all() and estimates[-1] > 1e-6


@methods
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_stages_without_weight_need_no_integrand(method, power):
    """y' = -y and the integral of y^2, (1 - e^-2t) / 2: one stage in 6 of dopri5 and 4 in 12 of dop853 do without y^2."""
    without = 0

    def field(y, t, rows):
        return torch.stack([-y[:, 0], y[:, 0] ** 2], dim=1)

    def state_alone(y, t, rows):
        nonlocal without
        without += 1
        return torch.stack([-y[:, 0], torch.full_like(y[:, 0], 1e9)], dim=1)

    y0, options = torch.tensor([[1.0, 0.0]], dtype=torch.float64), {"rtol": 1e-9, "atol": 1e-9, "method": method}
    whole = integrate_on_clock(power, field, y0, 0.0, 3.0, **options)
    part = integrate_on_clock(power, field, y0, 0.0, 3.0, unweighted=state_alone, **options)
    assert torch.equal(part.y, whole.y) and part.calls == whole.calls
    assert part.y[0, 1].item() == pytest.approx((1 - np.exp(-6)) / 2, abs=1e-8)
    steps = (part.calls - 2) / {"dopri5": 6, "dop853": 12}[method]  # two evaluations choose the first step
    assert without == steps * {"dopri5": 1, "dop853": 4}[method]


@methods
def test_no_rows_and_an_empty_interval_end_at_once(method):
    none = integrate(pendulum, torch.ones(0, 2), 0.0, 1.0, method=method)
    assert none.y.shape == (0, 2) and none.calls == 0 and none.failures() == ""
    nowhere = integrate(pendulum, torch.ones(3, 2), 1.0, 1.0, method=method)
    assert (nowhere.status == Status.DONE).all() and torch.equal(nowhere.y, torch.ones(3, 2)) and nowhere.calls < 20


def test_slopes_too_large_to_measure_end_at_once():
    """Their square is infinite in float32, and so the first step 0: it moves nothing, and its error is always small enough."""
    solution = integrate(lambda y, t, rows: -1e18 * y, torch.ones(2, 2), 0.0, 1e-17)
    assert (solution.status == Status.STEP_TOO_SMALL).all() and solution.calls < 20


def test_the_state_keeps_its_precision_whatever_the_field_answers_in():
    solution = integrate(lambda y, t, rows: -y.double(), torch.ones(2, 2), 0.0, 1.0)
    assert solution.y.dtype == torch.float32
    torch.testing.assert_close(solution.y, torch.full((2, 2), float(np.exp(-1))), rtol=1e-4, atol=0)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="'dopri5', 'dop853'"):
        integrate(pendulum, torch.ones(1, 2), 0.0, 1.0, method="euler")
    for rtol, atol in [(-1e-5, 1e-5), (1e-5, 0.0), (np.nan, 1e-5), (1e-5, np.nan)]:
        with pytest.raises(ValueError, match="atol must be positive"):
            integrate(pendulum, torch.ones(1, 2), 0.0, 1.0, rtol=rtol, atol=atol)
